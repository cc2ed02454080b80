/** The adapter that a module's configuration asks for. */
import type { z } from 'zod';
import type { Hypervisor, VolumeAttachment } from '../../hypervisors/port.ts';
import { createQemuHypervisor } from '../../hypervisors/qemu/qemu-hypervisor.ts';
import { createSimulatedProcess } from '../../hypervisors/simulated/simulated-process.ts';
import type { vmSchema } from '../../hypervisors/vm-schema.ts';
import type { Log } from '../../src/base/log.ts';
import type { ModuleConfig } from '../../src/config/module-config.ts';
import { modulePaths } from '../../src/config/runtime-paths.ts';

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
