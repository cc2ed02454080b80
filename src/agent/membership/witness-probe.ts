/** Whether the witnesses that the modules of this node name would work with another identity than the one in use. Asks, changes nothing. */
import { z } from 'zod';
import { endpoint } from '../../config/link-config.ts';
import { readYamlFile } from '../../config/yaml-file.ts';
import type { TlsIdentity } from '../../platform/tls.ts';
import { WitnessArbiter } from '../../platform/witness-client.ts';

/** Of a `module.yaml`, what leads to its record. */
const schema = z.looseObject({
  module: z.looseObject({ id: z.string() }),
  arbiter: z.union([
    z.looseObject({ kind: z.literal('witness'), ...endpoint }),
    z.looseObject({ kind: z.enum(['etcd', 'none']) }),
  ]),
});

/** The reason of the first witness that does not answer; `undefined`: all do, or there is none. */
export async function witnessProblem(
  moduleFiles: readonly string[],
  identity: TlsIdentity,
): Promise<string | undefined> {
  for (const file of moduleFiles) {
    const { module, arbiter } = readYamlFile(file, schema);
    if (arbiter.kind !== 'witness') continue;
    const { host, port } = arbiter as { readonly host: string; readonly port: number };
    const witness = new WitnessArbiter({ address: { host, port }, identity, moduleId: module.id });
    const answer = await new Promise<Parameters<Parameters<WitnessArbiter['read']>[0]>[0]>((resolve) =>
      witness.read(resolve),
    );
    if (answer.kind === 'no-answer') return `${host}:${port}: ${answer.because}`;
  }
  return undefined;
}
