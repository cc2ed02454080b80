/** Names of the files that a module and its supervisor share in the run-time directory of a node. */
import { join } from 'node:path';

export interface ModulePaths {
  /** Control socket of the module process. */
  readonly control: string;
  /** NBD listening socket of one volume. */
  readonly nbd: (volume: string) => string;
  /** Standard output and standard error of the module process. */
  readonly log: string;
  readonly errorLog: string;
  /** Which process runs the module: written and read by the supervisor. */
  readonly processRecord: string;
  /** That a disk of the module is in doubt, until its superblock says so; lives as long as the page cache of the host. */
  readonly doubtMark: string;
  /** Monitor of a QEMU guest that only the supervisor uses. */
  readonly supervisorMonitor: string;
  /** The last cold start of the VM on this node. */
  readonly vmStart: string;
}

/** What the modules of a node tell each other of the starts of their VMs, and the slots for them. */
export function startsDirectory(runtimeDir: string): string {
  return join(runtimeDir, 'starts');
}

/** Control socket of the supervisor, unless its configuration names another. */
export function supervisorSocket(runtimeDir: string): string {
  return join(runtimeDir, 'supervisor.control.sock');
}

/** Socket of the agent for this host, unless its configuration names another. */
export function agentSocket(runtimeDir: string): string {
  return join(runtimeDir, 'agent.sock');
}

export function modulePaths(runtimeDir: string, module: string): ModulePaths {
  const file = (suffix: string) => join(runtimeDir, `${module}.${suffix}`);
  return {
    control: file('control.sock'),
    nbd: (volume) => file(`${volume}.nbd.sock`),
    log: file('log'),
    errorLog: file('error.log'),
    processRecord: file('process.json'),
    doubtMark: file('disk-doubt'),
    supervisorMonitor: file('qmp-supervisor.sock'),
    vmStart: file('vm-start.json'),
  };
}

/** URI by which NBD clients reach a volume. */
export function nbdUri(volume: string, socketPath: string): string {
  return `nbd+unix:///${volume}?socket=${socketPath}`;
}
