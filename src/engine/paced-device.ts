/**
 * Bounds what the next flush of a disk has to write by what the disk wrote in about a second before. The page cache takes small
 * writes a hundred times faster than a hard disk writes them, so that without a bound two seconds of a guest's writes make a flush of
 * minutes: then everything that needs a flush waits, and in the end the disk counts as hung. With it the guest's writes are slower.
 *
 * Counted are blocks of 64 KiB, each once however often it is written: for a disk that has to seek, places cost more than bytes.
 * At the bound a flush begins; writes go on beside it, up to the bound again, and then wait for its end. The bound grows while
 * flushes of that much are fast, so that a fast disk soon sees one flush in a second or two, as the engine asks for anyway; it shrinks
 * when they are slow, but not below what a hard disk does in some seconds: a flush may be slow for the sake of others.
 * It holds nothing but writes, and changes nothing in what an answer means. It does not know what an fdatasync of a durable write covers.
 */
import type {
  AllocationCompletion,
  BlockDevice,
  BlockError,
  Completion,
  ReadCompletion,
  ZeroOptions,
} from '../base/block-device.ts';
import type { Clock } from '../base/clock.ts';
import { DirtyBitmap } from '../disk/dirty-bitmap.ts';

/** Blocks that the next flush has to write, at first and at least: 32 MiB in a row, or 512 places, which take a hard disk 2 to 4 s. */
export const unflushedBlocksMin = 512;
/** The same at most, 1 GiB: when the writes of a disk that was fast become many small ones, its next flush still ends. */
export const unflushedBlocksMax = 16_384;
/** What a flush may take before the bound shrinks. */
export const flushTargetMs = 1000;
/** The bound grows after a flush that took less than this part of the target, of at least this part of the bound. */
const growthPart = 0.5;

interface HeldWrite {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly chunks: readonly Uint8Array[];
  readonly fua: boolean;
  readonly completion: Completion;
}

export class PacedDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly #device: BlockDevice;
  readonly #clock: Clock;
  readonly #failed: () => void;
  /** Written since the flush under way, or the last one, began. */
  readonly #touched: DirtyBitmap;
  #limitBlocks = unflushedBlocksMin;
  #held: HeldWrite[] = [];
  /** Of the flush that runs, or ran last. One that is asked for beside it is the next: it covers what completed meanwhile. */
  #turn = 0;
  #flushing = false;
  #nextAsked = false;
  #startedMs = 0;
  #coveredBlocks = 0;

  /** `failed`: a flush that nobody else had asked for failed. */
  constructor(device: BlockDevice, clock: Clock, failed: () => void) {
    this.sizeBytes = device.sizeBytes;
    this.#device = device;
    this.#clock = clock;
    this.#failed = failed;
    this.#touched = new DirtyBitmap(device.sizeBytes);
  }

  /** The bound, in blocks of 64 KiB. */
  get limitBlocks(): number {
    return this.#limitBlocks;
  }

  read(offsetBytes: number, lengthBytes: number, completion: ReadCompletion): void {
    this.#device.read(offsetBytes, lengthBytes, completion);
  }

  write(
    offsetBytes: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[],
    fua: boolean,
    completion: Completion,
  ): void {
    if (this.#touched.count >= this.#limitBlocks) {
      if (this.#flushing) return void this.#held.push({ offsetBytes, lengthBytes, chunks, fua, completion });
      this.flush({ done: (error) => error !== undefined && this.#failed() });
    }
    this.#touched.setRange(offsetBytes, lengthBytes);
    this.#device.write(offsetBytes, lengthBytes, chunks, fua, completion);
  }

  flush(completion: Completion): void {
    if (this.#flushing) this.#nextAsked = true;
    else this.#begin();
    const turn = this.#nextAsked ? this.#turn + 1 : this.#turn;
    this.#device.flush(new PacedFlush(this, turn, completion));
  }

  trim(offsetBytes: number, lengthBytes: number, fua: boolean, completion: Completion): void {
    this.#device.trim(offsetBytes, lengthBytes, fua, completion);
  }

  zero(offsetBytes: number, lengthBytes: number, options: ZeroOptions, completion: Completion): void {
    this.#device.zero(offsetBytes, lengthBytes, options, completion);
  }

  allocation(offsetBytes: number, lengthBytes: number, completion: AllocationCompletion): void {
    this.#device.allocation(offsetBytes, lengthBytes, completion);
  }

  /** A flush has ended, of which several may be of one turn. */
  flushEnded(turn: number): void {
    if (!this.#flushing || turn < this.#turn) return;
    this.#flushing = false;
    this.#adapt(this.#clock.nowMs() - this.#startedMs);
    const nextRuns = this.#nextAsked && turn === this.#turn;
    this.#nextAsked = false;
    this.#turn = turn;
    if (nextRuns) this.#begin();
    const held = this.#held;
    if (held.length === 0) return;
    this.#held = [];
    for (const { offsetBytes, lengthBytes, chunks, fua, completion } of held)
      this.write(offsetBytes, lengthBytes, chunks, fua, completion);
  }

  #begin(): void {
    this.#flushing = true;
    this.#turn += 1;
    this.#startedMs = this.#clock.nowMs();
    this.#coveredBlocks = this.#touched.count;
    this.#touched.clearAll();
  }

  #adapt(tookMs: number): void {
    const blocks = this.#coveredBlocks;
    if (tookMs > flushTargetMs) {
      const affordable = Math.floor((blocks * flushTargetMs) / tookMs);
      this.#limitBlocks = Math.max(unflushedBlocksMin, Math.min(this.#limitBlocks, affordable));
    } else if (tookMs < growthPart * flushTargetMs && blocks >= growthPart * this.#limitBlocks)
      this.#limitBlocks = Math.min(2 * this.#limitBlocks, unflushedBlocksMax);
  }
}

class PacedFlush implements Completion {
  readonly #device: PacedDevice;
  readonly #turn: number;
  readonly #completion: Completion;

  constructor(device: PacedDevice, turn: number, completion: Completion) {
    this.#device = device;
    this.#turn = turn;
    this.#completion = completion;
  }

  done(error: BlockError | undefined): void {
    this.#device.flushEnded(this.#turn);
    this.#completion.done(error);
  }
}
