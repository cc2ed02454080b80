/**
 * Gives memory back to the operating system once a load has ended, on a host with many modules. V8 collects what the load left when
 * new allocations ask for it, so an idle process would keep tens of MiB of dead buffers for hours; and the C library keeps what was
 * freed.
 *
 * It waits for a quiet time, because a full collection stops the process for a moment (about 15 ms with the heap of a module), and does it only when
 * the process has grown since the last time, so that a guest that writes a little meets that moment rarely.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { trimHeap } from './libc.ts';

/** From one look at the process to the next, ms. */
export const lookIntervalMs = 10_000;
/** Part of one processor below which the time between two looks counts as quiet. */
export const quietProcessorPart = 0.05;
/** Growth since the last time from which on it pays. */
export const grownBytesMin = 4 * 1024 * 1024;
/** V8 frees buffers in a thread of its own after a collection: from there to the trim of the heap, ms. */
export const sweepMs = 1000;

export interface MemoryPort {
  /** Processor time of this process since its start. */
  processorMs(): number;
  /** Memory of this process that is resident. */
  residentBytes(): number;
  /** A full collection; nothing where V8 does not offer it. */
  collect(): void;
  /** Gives free memory of the C library back. */
  trim(): void;
}

/** Ends with `cancel`. */
export function giveMemoryBackWhenQuiet(clock: Clock, memory: MemoryPort): Timer {
  let processorMs = memory.processorMs();
  let lookedMs = clock.nowMs();
  let leastBytes = 0;
  let timer: Timer;
  const look = (): void => {
    const usedMs = memory.processorMs() - processorMs;
    const isQuiet = usedMs < quietProcessorPart * (clock.nowMs() - lookedMs);
    const residentBytes = memory.residentBytes();
    leastBytes = Math.min(leastBytes, residentBytes);
    if (isQuiet && residentBytes >= leastBytes + grownBytesMin) {
      memory.collect();
      timer = clock.after(sweepMs, trim);
    } else next();
  };
  const trim = (): void => {
    memory.trim();
    leastBytes = memory.residentBytes();
    next();
  };
  const next = (): void => {
    processorMs = memory.processorMs();
    lookedMs = clock.nowMs();
    timer = clock.after(lookIntervalMs, look);
  };
  next();
  return { cancel: () => timer.cancel() };
}

/** Of this process. */
export const ownMemory: MemoryPort = {
  processorMs: () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  },
  residentBytes: () => process.memoryUsage.rss(),
  // There with the flag --expose-gc, which the supervisor gives to modules.
  collect: () => globalThis.gc?.(),
  trim: trimHeap,
};
