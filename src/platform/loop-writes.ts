/**
 * Decides whether a write into the page cache may run in the event loop instead of on Node's thread pool.
 *
 * In the loop such a write takes a few microseconds; the hop to the pool and back takes several times that, and is most of
 * what a small write costs. But a buffered write blocks when the kernel makes the writers of dirty pages wait, or when the
 * file system waits for its disk, and then heartbeats wait with it. So the loop writes only while every sign is good:
 * the system is far from the limit of dirty pages, the last writes were fast, and no flush of the file takes long. The first
 * bad sign sends everything to the pool for a while, which doubles when the next attempt is as bad.
 *
 * What remains: one write that blocks although every sign was good (a file system that is frozen by an administrator). It blocks this
 * process like any other hang, for which there are the supervisor's watchdog and the peer.
 */
import fs from 'node:fs';

/** A longer write goes to the pool: it would keep the loop busy for too long even when nothing is wrong. */
export const loopWriteBytesMax = 1024 * 1024;
/** Bytes written in one go of the loop; what is more goes to the pool. */
export const loopTurnBytesMax = 4 * 1024 * 1024;
/** A write in the loop that takes longer is a sign that the disk or the kernel makes writers wait. */
export const slowWriteMs = 20;
/** The same for a write on the pool, where it also waits for other writes. */
export const slowPoolWriteMs = 200;
/** How long the pool is used after a bad sign, at first and at most. */
export const restMinMs = 250;
export const restMaxMs = 8000;
/** After this many times the last rest without a bad sign the next rest is a short one again. */
const goodRests = 4;
/** A flush that takes longer is a bad sign as long as it runs. */
export const slowFlushMs = 2000;
/** How old the reading of the system's dirty pages may be. */
export const readingAgeMs = 250;
/** The loop writes at most this part of the room for dirty pages before the next reading: others write as well. */
const roomPart = 0.25;
/** The smallest page there is: too small a room is the safe error. */
const pageBytesMin = 4096;

export interface LoopWritesPort {
  /** Monotonic milliseconds. */
  nowMs(): number;
  /** Bytes that may still become dirty before the kernel makes writers wait; `undefined`: not known. */
  dirtyRoomBytes(): number | undefined;
}

export class LoopWrites {
  readonly #port: LoopWritesPort;
  #restsUntilMs = Number.NEGATIVE_INFINITY;
  #restMs = restMinMs;
  #readingMs = Number.NEGATIVE_INFINITY;
  /** What may still be written before the next reading. */
  #budgetBytes = 0;
  #flushStartedMs: number | undefined;

  constructor(port: LoopWritesPort) {
    this.#port = port;
  }

  /** Whether a write of this length may run in the loop now. */
  admits(lengthBytes: number): boolean {
    if (lengthBytes > loopWriteBytesMax) return false;
    const nowMs = this.#port.nowMs();
    if (nowMs < this.#restsUntilMs) return false;
    if (this.#flushStartedMs !== undefined && nowMs - this.#flushStartedMs > slowFlushMs) return false;
    if (nowMs - this.#readingMs > readingAgeMs) {
      this.#readingMs = nowMs;
      this.#budgetBytes = (this.#port.dirtyRoomBytes() ?? 0) * roomPart;
    }
    if (lengthBytes > this.#budgetBytes) return false;
    this.#budgetBytes -= lengthBytes;
    return true;
  }

  /** A write in the loop has ended. True: that was a bad sign. */
  wroteInLoop(durationMs: number): boolean {
    if (durationMs <= slowWriteMs) return false;
    const nowMs = this.#port.nowMs();
    const wasGood = nowMs > this.#restsUntilMs + goodRests * this.#restMs;
    this.#restMs = wasGood ? restMinMs : Math.min(2 * this.#restMs, restMaxMs);
    this.#restsUntilMs = nowMs + this.#restMs;
    return true;
  }

  /** A write on the pool has ended. */
  wroteOnPool(durationMs: number): void {
    if (durationMs > slowPoolWriteMs) this.#restsUntilMs = this.#port.nowMs() + this.#restMs;
  }

  flushStarted(): void {
    this.#flushStartedMs = this.#port.nowMs();
  }

  flushEnded(): void {
    this.#flushStartedMs = undefined;
  }
}

/**
 * The room for dirty pages from the text of /proc/vmstat: below the middle between the two thresholds no writer waits
 * (`domain_dirty_limits` and `dirty_freerun_ceiling` of the kernel's mm/page-writeback.c). `undefined`: the text says nothing of it.
 */
export function dirtyRoomOf(vmstat: string, pageBytes: number): number | undefined {
  const pages = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'mu').exec(vmstat)?.[1]);
  const freeRun = (pages('nr_dirty_threshold') + pages('nr_dirty_background_threshold')) / 2;
  const room = (freeRun - pages('nr_dirty') - pages('nr_writeback')) * pageBytes;
  return Number.isNaN(room) ? undefined : Math.max(0, room);
}

/** With the clock and the dirty pages of this host. */
export function newLoopWrites(): LoopWrites {
  return new LoopWrites({
    nowMs: () => performance.now(),
    dirtyRoomBytes: () => {
      try {
        return dirtyRoomOf(fs.readFileSync('/proc/vmstat', 'latin1'), pageBytesMin);
      } catch {
        return undefined;
      }
    },
  });
}
