/**
 * Whether this node could run the VMs that a failover would bring to it, looked at all the time and shown before it is needed.
 * It never keeps a VM from being started.
 *
 * What is free is the smaller of two figures: what the kernel calls available, and what is left of all memory when every VM
 * that runs here has used what it was promised (a guest touches its memory bit by bit). VMs that do not run here take from it
 * in the order in which they would start; those for which nothing is left are named.
 */
import { sizeText } from '../base/size-text.ts';
import type { StartNotice, VmNeeds } from './start-notice.ts';

export interface HostFacts {
  readonly memoryBytes: number;
  /** What programs could still get without swapping. */
  readonly availableBytes: number;
  readonly cpus: number;
}

export interface CapacityLimits {
  /** Virtual CPUs per CPU of the host. */
  readonly cpuOvercommit: number;
  /** Memory that is left to the host. */
  readonly memoryReserveBytes: number;
}

type Claimant = Pick<StartNotice, 'module' | 'priority' | 'vm' | 'wouldRun' | 'needs'>;

/** Why this node could not run the VM of `module` beside the others; `undefined`: it could, or the VM runs here. */
export function capacityProblem(
  module: string,
  claimants: readonly Claimant[],
  host: HostFacts,
  limits: CapacityLimits,
): string | undefined {
  const here = sum(claimants.filter(({ vm }) => vm === 'here'));
  const promised = host.memoryBytes - here.memoryBytes;
  let freeBytes = Math.max(0, Math.min(promised, host.availableBytes) - limits.memoryReserveBytes);
  let freeCpus = Math.max(0, Math.floor(host.cpus * limits.cpuOvercommit) - here.cpus);
  const toCome = claimants
    .filter(({ vm, wouldRun }) => vm !== 'here' && wouldRun)
    .toSorted((a, b) => b.priority - a.priority || (a.module < b.module ? -1 : 1));
  for (const { module: name, needs } of toCome) {
    const { memoryBytes, cpus } = needs ?? none;
    const memoryShort = memoryBytes > freeBytes;
    const cpusShort = cpus > freeCpus;
    if (name === module) {
      const beside = toCome.length > 1 ? ' beside the other VMs that a failover would start' : '';
      if (memoryShort) return `${sizeText(memoryBytes)} wanted, ${sizeText(freeBytes)} free${beside}`;
      if (cpusShort) {
        const room = `${freeCpus} left (${host.cpus} CPUs, ${limits.cpuOvercommit} for each)`;
        return `${cpus} virtual CPUs wanted, ${room}${beside}`;
      }
      return undefined;
    }
    if (memoryShort || cpusShort) continue;
    freeBytes -= memoryBytes;
    freeCpus -= cpus;
  }
  return undefined;
}

const none: VmNeeds = { memoryBytes: 0, cpus: 0 };

function sum(claimants: readonly Claimant[]): VmNeeds {
  return claimants.reduce(
    (total, { needs }) => ({
      memoryBytes: total.memoryBytes + (needs?.memoryBytes ?? 0),
      cpus: total.cpus + (needs?.cpus ?? 0),
    }),
    none,
  );
}
