/**
 * One volume as the engine keeps it on this node: the disk file, the order of overlapping mutations, and the three sets
 * that together cover every possible difference from the peer's copy (activity log, dirty bitmap, unstable set).
 */
import type { BlockDevice, Completion } from '../base/block-device.ts';
import { DirtyBitmap } from '../disk/dirty-bitmap.ts';
import { extentSizeBytes } from '../disk/state.ts';
import type { FlushCycle } from './mutation.ts';
import { ActivityLog } from './activity-log.ts';
import { RangeLocks } from './range-locks.ts';

/** Durable bookkeeping as the engine needs it; `ok` false: nothing more can be made durable on this node. */
export interface MetadataPort {
  writeActivityLog(volume: number, hot: readonly number[], done: (ok: boolean) => void): void;
  /** Writes the pages of the bitmap that changed since the last call. The bits are taken now; later changes need another call. */
  writeBitmap(volume: number, bitmap: DirtyBitmap, done: (ok: boolean) => void): void;
}

export interface ReplicaVolume {
  readonly name: string;
  readonly device: BlockDevice;
  /** As recovered from disk. */
  readonly bitmap: DirtyBitmap;
  readonly hotExtents: readonly number[];
}

export class Replica {
  readonly index: number;
  readonly name: string;
  readonly device: BlockDevice;
  /** Blocks that may differ from the peer's copy since generation `base`. */
  readonly bitmap: DirtyBitmap;
  /** Blocks written on both nodes and not yet flushed there: lost if the peer loses power. */
  unstable: DirtyBitmap;
  /** The part of the unstable set that the flush under way will settle. */
  unstableFlushing: DirtyBitmap;
  readonly locks = new RangeLocks();
  readonly log: ActivityLog;
  /** The flush under way, and the guests that share the next one. */
  flushRunning: FlushCycle | undefined = undefined;
  readonly flushWaiters: Completion[] = [];
  /** Writes of the bitmap under way after which extents may leave the activity log. */
  bitmapWrites = 0;
  #checkpointRuns = false;
  readonly #metadata: MetadataPort;

  constructor(
    index: number,
    volume: ReplicaVolume,
    metadata: MetadataPort,
    wantSettled: (replica: Replica) => void,
  ) {
    this.index = index;
    this.name = volume.name;
    this.device = volume.device;
    this.bitmap = volume.bitmap;
    this.unstable = new DirtyBitmap(volume.device.sizeBytes);
    this.unstableFlushing = new DirtyBitmap(volume.device.sizeBytes);
    this.#metadata = metadata;
    for (const extent of volume.hotExtents) this.#markExtent(extent);
    this.log = new ActivityLog({
      write: (hot, done) => metadata.writeActivityLog(index, hot, done),
      wantSettled: () => wantSettled(this),
    });
  }

  /** The range was written on both nodes. */
  markUnstable(offsetBytes: number, lengthBytes: number): void {
    this.unstable.setRange(offsetBytes, lengthBytes);
  }

  /** What the peer might lack if it lost its page cache becomes dirty. */
  markUnstableDirty(): void {
    for (const blocks of [this.unstable, this.unstableFlushing]) {
      this.bitmap.or(blocks);
      blocks.clearAll();
    }
  }

  /** The flush under way settles nothing: it was given up. */
  unsettle(): void {
    this.unstable.or(this.unstableFlushing);
    this.unstableFlushing.clearAll();
  }

  /**
   * Moves the activity log into the dirty bitmap: first the bits become durable, then the log empties. Nothing may be in
   * flight. Before a volume is served after a crash, and before its node becomes the target of a resync.
   */
  fold(done: (ok: boolean) => void): void {
    for (const extent of this.log.hotExtents()) this.#markExtent(extent);
    this.emptyLogAfterBitmap(done);
  }

  /**
   * The log becomes empty on disk when the bitmap, which says all that it says, is durable. `done(false)`, and the log stays, also when
   * somebody writes again by then: a disk may take so long that whoever asked for it has given up, and the node serves anew.
   */
  emptyLogAfterBitmap(done: (ok: boolean) => void): void {
    const began = this.log.beginSettling();
    this.writeBitmap((ok) => {
      if (!ok || !this.log.isQuietSince(began)) return done(false);
      this.emptyLog(done);
    });
  }

  /** The log becomes empty on disk: when both copies are flushed, or its extents are in the durable bitmap. */
  emptyLog(done: (ok: boolean) => void): void {
    this.log.forgetAll();
    this.#metadata.writeActivityLog(this.index, [], done);
  }

  writeBitmap(done: (ok: boolean) => void): void {
    this.#metadata.writeBitmap(this.index, this.bitmap, done);
  }

  /** Makes the bitmap durable while a resync clears bits in it; nothing happens while the one before is under way. */
  checkpoint(): void {
    if (this.#checkpointRuns) return;
    this.#checkpointRuns = true;
    this.writeBitmapSafely(() => {
      this.#checkpointRuns = false;
    });
  }

  /**
   * Makes the bitmap durable while somebody clears bits before both copies are flushed (a resync, a repair). What the peer would lose
   * with its page cache counts as dirty in what is written, and stays clear here: if nothing happens, it need not be examined again.
   */
  writeBitmapSafely(done: (ok: boolean) => void): void {
    // Alone, nothing is: the usual case needs no second bitmap.
    if (this.unstable.count + this.unstableFlushing.count === 0) return this.writeBitmap(done);
    const losable = new DirtyBitmap(this.device.sizeBytes);
    losable.or(this.unstable);
    losable.or(this.unstableFlushing);
    losable.andNot(this.bitmap);
    this.bitmap.or(losable);
    this.writeBitmap(done);
    this.bitmap.andNot(losable);
  }

  #markExtent(extent: number): void {
    const startBytes = extent * extentSizeBytes;
    const endBytes = Math.min(startBytes + extentSizeBytes, this.device.sizeBytes);
    if (startBytes < endBytes) this.bitmap.setRange(startBytes, endBytes - startBytes);
  }
}

/** Runs `step` for every replica, side by side; `done(false)` when one of them failed. */
export function forEachReplica(
  replicas: readonly Replica[],
  step: (replica: Replica, done: (ok: boolean) => void) => void,
  done: (ok: boolean) => void,
): void {
  let left = replicas.length;
  let allOk = true;
  for (const replica of replicas) {
    step(replica, (ok) => {
      allOk &&= ok;
      left -= 1;
      if (left === 0) done(allOk);
    });
  }
}

/** A completion from a callback, for calls that are not per request. */
export function completion(done: (ok: boolean) => void): Completion {
  return { done: (error) => done(error === undefined) };
}
