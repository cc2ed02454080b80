/** Whether a module of this host may be let go: asks the module itself, which alone knows. */
import { z } from 'zod';
import { callOnce } from './control-client.ts';

/** How long a module may take to answer, ms. */
const statusDeadlineMs = 2000;

const statusSchema = z.object({ axes: z.object({ run: z.string(), vm: z.string() }) });

/** The operator has stopped it and its VM does not run. Throws `control-unreachable` or `control-refused` when it does not say. */
export async function moduleIsAtRest(controlSocket: string): Promise<boolean> {
  const status = statusSchema.safeParse(await callOnce(controlSocket, 'status', {}, statusDeadlineMs));
  if (!status.success) return false;
  const { run, vm } = status.data.axes;
  return run === 'stopped' && (vm === 'none' || vm === 'stopped');
}
