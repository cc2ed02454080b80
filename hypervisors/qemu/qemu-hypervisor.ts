/**
 * The adapter `qemu`: the VM is a plain QEMU process, no libvirt needed. The process is nobody's child that matters: it
 * survives module and supervisor. (Where a service manager ends whole control groups, it must be told not to.)
 *
 * Files in the run-time directory: `MODULE.qmp.sock` (monitor of the module), `MODULE.qmp-supervisor.sock`, `MODULE.qga.sock` (guest agent),
 * `MODULE.vm.json` (record of the process), `MODULE.vm.log` (its output).
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../src/base/clock.ts';
import type { Log } from '../../src/base/log.ts';
import { modulePaths } from '../../src/config/runtime-paths.ts';
import { parseYaml } from '../../src/config/yaml-document.ts';
import { checkSocketPath } from '../../src/platform/socket-path.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import type { Hypervisor, HypervisorHealth, VmDefinition, VmNeeds, VolumeAttachment, Wait } from '../port.ts';
import { runTool } from '../run-tool.ts';
import { vmMark } from '../vm-process.ts';
import { chooseAccelerator, probeAccelerator } from './accelerator.ts';
import { qemuArguments } from './command-line.ts';
import { type Accelerator, type QemuVmConfig, qemuVmSchema } from './config.ts';
import { type Launch, type LaunchPlan, MonitoredVm } from './monitored-vm.ts';

export interface VmPlace {
  /** Name of the module. */
  readonly module: string;
  /** Exists; the same for every start of the module. */
  readonly runtimeDirectory: string;
}

export interface QemuHypervisorOptions extends VmPlace {
  readonly config: QemuVmConfig;
  readonly attachments: readonly VolumeAttachment[];
  readonly log: Log;
  readonly clock?: Clock;
}

export interface VmFiles {
  readonly mark: string;
  readonly recordFile: string;
  readonly logFile: string;
  readonly moduleMonitor: string;
  readonly supervisorMonitor: string;
  readonly agentSocket: string;
}

/** Throws `socket-path-too-long`. */
export function vmFiles({ module, runtimeDirectory }: VmPlace): VmFiles {
  const file = (suffix: string) => join(runtimeDirectory, `${module}.${suffix}`);
  const { supervisorMonitor } = modulePaths(runtimeDirectory, module);
  checkSocketPath(supervisorMonitor);
  return {
    mark: vmMark(module, runtimeDirectory),
    recordFile: file('vm.json'),
    logFile: file('vm.log'),
    moduleMonitor: file('qmp.sock'),
    supervisorMonitor,
    agentSocket: file('qga.sock'),
  };
}

/** Sockets of a process that is gone are refused by those who connect; a new process makes its own. */
export function removeStaleMonitors({ moduleMonitor, supervisorMonitor, agentSocket }: VmFiles): void {
  rmSync(moduleMonitor, { force: true });
  rmSync(supervisorMonitor, { force: true });
  rmSync(agentSocket, { force: true });
}

class QemuLaunchPlan implements LaunchPlan {
  readonly kind = 'qemu';
  readonly reconnectsDisks = true;
  readonly #options: QemuHypervisorOptions;
  readonly #files: VmFiles;
  #config: QemuVmConfig;
  /** A probe that succeeded or failed stays true until the definition changes. */
  #accelerator: Accelerator | undefined;

  constructor(options: QemuHypervisorOptions, files: VmFiles) {
    this.#options = options;
    this.#files = files;
    this.#config = options.config;
  }

  define({ text }: VmDefinition): void {
    this.#config = parseYaml('the definition of the VM', text, qemuVmSchema);
    this.#accelerator = undefined;
  }

  needs(): VmNeeds {
    return { memoryBytes: this.#config.memory, cpus: this.#config.cpus };
  }

  hasAgent(): boolean {
    return this.#config.guestAgent;
  }

  async prepare(wait: Wait): Promise<Launch> {
    this.#accelerator ??= await chooseAccelerator(this.#config, wait);
    removeStaleMonitors(this.#files);
    const { runtimeDirectory, attachments } = this.#options;
    return {
      program: this.#config.binary,
      arguments: qemuArguments({
        config: this.#config,
        accelerator: this.#accelerator,
        runtimeDirectory,
        attachments,
        ...this.#files,
      }),
    };
  }

  async health(wait: Wait): Promise<HypervisorHealth> {
    const { binary, accelerator } = this.#config;
    const { status, output, problem } = await runTool(binary, ['--version'], wait.timeoutMs);
    if (status !== 0) return { usable: false, because: problem };
    const [version = ''] = output.toString('utf8').split('\n');
    if (accelerator === 'tcg') return { usable: true, because: `${version}, with TCG as configured` };
    const kvm = await probeAccelerator(this.#config, 'kvm', wait);
    if (kvm.works) return { usable: true, because: `${version}, with KVM` };
    const usable = accelerator === 'auto';
    return {
      usable,
      because: `${version}, ${usable ? 'with TCG because' : 'but'} KVM does not work: ${kvm.because}`,
    };
  }
}

/** The adapter of one VM. Touches nothing until it is used. */
export function createQemuHypervisor(options: QemuHypervisorOptions): Hypervisor {
  const files = vmFiles(options);
  return new MonitoredVm({
    files,
    monitorSocket: files.moduleMonitor,
    agentSocket: files.agentSocket,
    plan: new QemuLaunchPlan(options, files),
    clock: options.clock ?? systemClock,
    log: options.log,
  });
}
