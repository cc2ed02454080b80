/** Memory and processors of this host. */
import { availableParallelism, freemem, totalmem } from 'node:os';
import type { HostFacts } from '../starts/decide-capacity.ts';

export function hostFacts(): HostFacts {
  // What libuv calls free is MemAvailable of proc_meminfo(5) on Linux: with what the page cache would give back.
  return { memoryBytes: totalmem(), availableBytes: freemem(), cpus: availableParallelism() };
}
