/** The adapter that a module's configuration asks for. */
import { z } from 'zod';
import type { Hypervisor, VolumeAttachment } from '../../hypervisors/port.ts';
import { qemuVmSchema } from '../../hypervisors/qemu/config.ts';
import { createQemuHypervisor } from '../../hypervisors/qemu/qemu-hypervisor.ts';
import { createSimulatedProcess, simulatedVmSchema } from '../../hypervisors/simulated/simulated-process.ts';
import type { Log } from '../../src/base/log.ts';
import type { ModuleConfig } from '../../src/config/module-config.ts';
import { modulePaths } from '../../src/config/runtime-paths.ts';

/** Every kind of VM that `module.yaml` can name. */
export const vmSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('none') }),
  qemuVmSchema,
  simulatedVmSchema,
]);

/** `undefined`: no VM; whoever connects to the exports is the guest. */
export function chooseHypervisor(
  config: ModuleConfig,
  runtimeDirectory: string,
  log: Log,
): Hypervisor | undefined {
  // Read with `vmSchema`, which has validated and converted it.
  const vm = config.vm as z.infer<typeof vmSchema>;
  if (vm.kind === 'none') return undefined;
  const paths = modulePaths(runtimeDirectory, config.name);
  const attachments: VolumeAttachment[] = config.volumes.map(({ name }) => ({
    volume: name,
    socketPath: paths.nbd(name),
    exportName: name,
  }));
  const place = { module: config.name, runtimeDirectory, attachments, log };
  return vm.kind === 'qemu'
    ? createQemuHypervisor({ ...place, config: vm })
    : createSimulatedProcess({ ...place, config: vm });
}
