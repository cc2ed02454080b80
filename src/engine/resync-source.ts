/**
 * Copies what may differ from this node's copy to the target's: a linear cursor over the dirty bitmap that rewinds until no bit
 * is left, several chunks in flight, each locked against guest writes while it is compared and copied.
 *
 * A bit is cleared in memory when the target has answered for its block. Examined blocks count as unstable until both copies are
 * flushed. A checkpoint makes the bitmap durable with the unstable blocks counted as dirty: so a resync that is
 * interrupted, also by a crash of either node, goes on from there. Guest writes go to both copies meanwhile, through the
 * ordinary write path, and are ordered against chunks by the range locks.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { blockSizeBytes } from '../disk/state.ts';
import { AllocationAhead } from './allocation-ahead.ts';
import type { BlockChecksum } from './block-digests.ts';
import { CompareChoice } from './compare-choice.ts';
import type { PeerChannel } from './peer-channel.ts';
import type { Replica } from './replica.ts';
import { type ChunkHost, ResyncChunk } from './resync-chunk.ts';
import { ResyncPace } from './resync-pace.ts';

/** Chunks under way at once: scattered blocks are small and wait for the disks more than for the link. */
const chunksInFlightMax = 32;
/** How much of a resync may have to be done again after a crash of the source, ms. */
export const checkpointIntervalMs = 5000;

export interface ResyncParts {
  readonly clock: Clock;
  readonly replicas: readonly Replica[];
  readonly checksum: BlockChecksum;
  /** The target's checksums can be believed. */
  readonly mayCompare: boolean;
  /** Requests of the guest that are not answered yet. */
  readonly guestRequests: () => number;
  /** Limit that the operator set, bytes per second. */
  readonly bytesPerSecondMax: () => number | undefined;
}

export interface ResyncEvents {
  /** No dirty bit is left; guest writes may set new ones only by going alone. */
  copied(): void;
  /** The own disk file cannot be read. */
  diskFailed(volume: string, during: string): void;
}

export class ResyncSource implements ChunkHost {
  readonly channel: PeerChannel;
  readonly checksum: BlockChecksum;
  readonly #parts: ResyncParts;
  readonly #events: ResyncEvents;
  readonly #pace: ResyncPace;
  readonly #compare = new CompareChoice();
  readonly #map = new AllocationAhead();
  readonly #chunks = new Set<ResyncChunk>();
  #inFlightBytes = 0;
  #volume = 0;
  #cursorBlock = 0;
  #choosing = false;
  #pumping = false;
  #stopped = false;
  #pumpTimer: Timer | undefined;
  #checkpointTimer: Timer | undefined;
  totalBytes = 0;
  examinedBytes = 0;
  sentBytes = 0;

  constructor(parts: ResyncParts, channel: PeerChannel, events: ResyncEvents) {
    this.#parts = parts;
    this.channel = channel;
    this.checksum = parts.checksum;
    this.#events = events;
    this.#pace = new ResyncPace(parts.bytesPerSecondMax);
  }

  start(): void {
    for (const replica of this.#parts.replicas) this.totalBytes += dirtyBytes(replica);
    this.#checkpointLater();
    this.#pump();
  }

  /** No chunk is begun any more; those under way end without effect and let their ranges go. */
  stop(): void {
    this.#stop();
    for (const chunk of this.#chunks) this.#release(chunk);
  }

  get stopped(): boolean {
    return this.#stopped || this.channel.closed;
  }

  /** Begins chunks as long as there is room and the pace allows it. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    while (!this.#stopped && !this.#choosing && this.#beginNext());
    this.#pumping = false;
  }

  /** False: nothing can begin now; something that ends, or the timer, tries again. */
  #beginNext(): boolean {
    const { replicas, clock, guestRequests } = this.#parts;
    const replica = replicas[this.#volume];
    if (replica === undefined) return this.#passEnded();
    const block = replica.bitmap.nextDirty(this.#cursorBlock);
    if (block === -1) {
      this.#volume += 1;
      this.#cursorBlock = 0;
      return true;
    }
    const nowMs = clock.nowMs();
    const pace = this.#pace;
    pace.observeGuest(nowMs, guestRequests());
    const full = this.#inFlightBytes > 0 && this.#inFlightBytes + pace.chunkBytes > pace.inFlightBytes;
    if (full || this.#chunks.size >= chunksInFlightMax) return false;
    const waitMs = pace.waitMs(nowMs);
    if (waitMs > 0) {
      this.#pumpTimer ??= clock.after(waitMs, () => {
        this.#pumpTimer = undefined;
        this.#pump();
      });
      return false;
    }
    this.#choose(replica, block);
    return true;
  }

  /** The cursor is at the end: it rewinds for what became dirty behind it, or the resync ends. */
  #passEnded(): boolean {
    if (this.#chunks.size > 0) return false;
    this.#volume = 0;
    this.#cursorBlock = 0;
    if (this.#parts.replicas.some((each) => each.bitmap.count > 0)) return true;
    this.#stop();
    this.#events.copied();
    return false;
  }

  /** Chooses the length of the chunk at `block`: a long one in a hole, a short one in data. */
  #choose(replica: Replica, block: number): void {
    const startBytes = block * blockSizeBytes;
    const holeBytes = this.#map.holeBytesAt(replica, startBytes);
    if (holeBytes === undefined) {
      this.#choosing = true;
      this.#map.ask(replica, startBytes, () => {
        this.#choosing = false;
        this.#pump();
      });
      return;
    }
    const bytesMax = holeBytes > 0 ? Math.min(holeBytes, this.#pace.holeBytes) : this.#pace.chunkBytes;
    let blocks = 1;
    while (
      (blocks + 1) * blockSizeBytes <= bytesMax &&
      block + blocks < replica.bitmap.blockCount &&
      replica.bitmap.has(block + blocks)
    ) {
      blocks += 1;
    }
    this.#cursorBlock = block + blocks;
    const lengthBytes = Math.min(blocks * blockSizeBytes, replica.device.sizeBytes - startBytes);
    this.#begin(replica, startBytes, lengthBytes, holeBytes > 0);
  }

  #begin(replica: Replica, startBytes: number, lengthBytes: number, maybeHole: boolean): void {
    const compare = this.#parts.mayCompare && !maybeHole && this.#compare.next();
    const chunk = new ResyncChunk(this, replica, startBytes, lengthBytes, maybeHole, compare);
    this.#chunks.add(chunk);
    this.#inFlightBytes += dataBytes(chunk);
    this.#pace.began(this.#parts.clock.nowMs(), dataBytes(chunk));
    if (replica.locks.acquire(chunk, startBytes, startBytes + lengthBytes)) chunk.rangeAcquired();
  }

  compared(equalBlocks: number, blocks: number): void {
    this.#compare.compared(equalBlocks, blocks);
  }

  examined(chunk: ResyncChunk): void {
    if (!this.#chunks.has(chunk)) return;
    const { replica, offsetBytes, lengthBytes } = chunk;
    replica.bitmap.clearRange(offsetBytes, lengthBytes);
    // Only now: a flush settles what both had completed before it began. Equal blocks too: the target may hold them in its
    // page cache only, from an earlier connection.
    replica.markUnstable(offsetBytes, lengthBytes);
    this.examinedBytes += lengthBytes;
    this.#pace.ended(this.#parts.clock.nowMs(), dataBytes(chunk));
    this.ended(chunk);
  }

  ended(chunk: ResyncChunk): void {
    if (!this.#chunks.has(chunk)) return;
    this.#release(chunk);
    this.#pump();
  }

  #release(chunk: ResyncChunk): void {
    this.#chunks.delete(chunk);
    this.#inFlightBytes -= dataBytes(chunk);
    chunk.replica.locks.release(chunk);
  }

  readFailed(replica: Replica): void {
    if (this.#stopped) return;
    this.#stop();
    this.#events.diskFailed(replica.name, 'reading for the resync');
  }

  #checkpointLater(): void {
    this.#checkpointTimer = this.#parts.clock.after(checkpointIntervalMs, () => {
      for (const replica of this.#parts.replicas) replica.checkpoint();
      this.#checkpointLater();
    });
  }

  #stop(): void {
    this.#stopped = true;
    this.#pumpTimer?.cancel();
    this.#checkpointTimer?.cancel();
  }
}

/** What counts for the pace. */
const dataBytes = ({ maybeHole, lengthBytes }: ResyncChunk): number => (maybeHole ? 0 : lengthBytes);

export function dirtyBytes(replica: Replica): number {
  return Math.min(replica.bitmap.count * blockSizeBytes, replica.device.sizeBytes);
}
