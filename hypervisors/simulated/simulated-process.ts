/**
 * The adapter `simulated`: the VM is the process of `guest-main.ts`. Real processes, sockets and disk requests without
 * QEMU: for labs and tests on machines that have none.
 */
import { isAbsolute, join } from 'node:path';
import type { Clock } from '../../src/base/clock.ts';
import { WorldError } from '../../src/base/errors.ts';
import type { Log } from '../../src/base/log.ts';
import { parseYaml } from '../../src/config/yaml-document.ts';
import { programPath } from '../../src/platform/program-path.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import type { Hypervisor, HypervisorHealth, VmDefinition, VmNeeds, VolumeAttachment } from '../port.ts';
import { type Launch, type LaunchPlan, MonitoredVm } from '../qemu/monitored-vm.ts';
import { removeStaleMonitors, type VmFiles, vmFiles, type VmPlace } from '../qemu/qemu-hypervisor.ts';
import { type SimulatedVmConfig, simulatedVmSchema } from './config.ts';

export interface SimulatedProcessOptions extends VmPlace {
  readonly config: SimulatedVmConfig;
  readonly attachments: readonly VolumeAttachment[];
  readonly log: Log;
  readonly clock?: Clock;
  /** Arguments of Node that run the guest; default: the compiled program. */
  readonly guestProgram?: readonly string[];
}

class SimulatedLaunchPlan implements LaunchPlan {
  readonly kind = 'simulated';
  readonly reconnectsDisks = true;
  readonly #options: SimulatedProcessOptions;
  readonly #files: VmFiles;
  #config: SimulatedVmConfig;

  constructor(options: SimulatedProcessOptions, files: VmFiles) {
    this.#options = options;
    this.#files = files;
    this.#config = options.config;
  }

  define({ text }: VmDefinition): void {
    this.#config = parseYaml('the definition of the VM', text, simulatedVmSchema);
  }

  needs(): VmNeeds | undefined {
    const { memory, cpus } = this.#config;
    return memory === undefined ? undefined : { memoryBytes: memory, cpus };
  }

  hasAgent(): boolean {
    return true;
  }

  async prepare(): Promise<Launch> {
    const { guestProgram, runtimeDirectory } = this.#options;
    const { serial, recordsPerSecond } = this.#config;
    const { socketPath, exportName } = this.#attachment();
    removeStaleMonitors(this.#files);
    const file = serial?.file;
    const serialFile = file === undefined || isAbsolute(file) ? file : join(runtimeDirectory, file);
    return {
      program: process.execPath,
      arguments: [
        guestProgram ?? [programPath('hypervisors/simulated/guest-main')],
        ['--mark', this.#files.mark, '--nbd-socket', socketPath, '--export', exportName],
        ['--monitor', this.#files.moduleMonitor, '--monitor', this.#files.supervisorMonitor],
        ['--agent', this.#files.agentSocket],
        serialFile === undefined ? [] : ['--serial', serialFile],
        ['--interval-ms', String(Math.round(1000 / recordsPerSecond))],
      ].flat(),
    };
  }

  async health(): Promise<HypervisorHealth> {
    return { usable: true, because: 'the guest is simulated' };
  }

  #attachment(): VolumeAttachment {
    const { attachments } = this.#options;
    const wanted = this.#config.volume ?? attachments[0]?.volume;
    const found = attachments.find(({ volume }) => volume === wanted);
    if (found !== undefined) return found;
    throw new WorldError('config-invalid', {
      wanted: 'the VM to name a volume of the module',
      found: `${wanted ?? 'none'}; volumes are ${attachments.map(({ volume }) => volume).join(', ')}`,
      next: 'Correct the volume of the VM; nothing was changed.',
    });
  }
}

/** The adapter of one VM. Touches nothing until it is used. */
export function createSimulatedProcess(options: SimulatedProcessOptions): Hypervisor {
  const files = vmFiles(options);
  return new MonitoredVm({
    files,
    monitorSocket: files.moduleMonitor,
    agentSocket: files.agentSocket,
    plan: new SimulatedLaunchPlan(options, files),
    clock: options.clock ?? systemClock,
    log: options.log,
  });
}
