/** The adapter that a module's configuration asks for. */
import { z } from 'zod';
import type { Hypervisor, VolumeAttachment } from '../../hypervisors/port.ts';
import { qemuVmSchema } from '../../hypervisors/qemu/config.ts';
import { createQemuHypervisor } from '../../hypervisors/qemu/qemu-hypervisor.ts';
import type { Log } from '../../src/base/log.ts';
import type { ModuleConfig } from '../../src/config/module-config.ts';
import { modulePaths } from '../../src/config/runtime-paths.ts';

/** Every kind of VM that `module.yaml` can name. */
export const vmSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('none') }),
  qemuVmSchema,
]);

/** `undefined`: no VM; whoever connects to the exports is the guest. */
export function chooseHypervisor(
  config: ModuleConfig,
  runtimeDirectory: string,
  log: Log,
): Hypervisor | undefined {
  const vm = vmSchema.parse(config.vm);
  if (vm.kind === 'none') return undefined;
  const paths = modulePaths(runtimeDirectory, config.name);
  const attachments: VolumeAttachment[] = config.volumes.map(({ name }) => ({
    volume: name,
    socketPath: paths.nbd(name),
    exportName: name,
  }));
  return createQemuHypervisor({ module: config.name, runtimeDirectory, config: vm, attachments, log });
}
