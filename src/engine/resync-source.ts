/**
 * Copies what may differ from this node's copy to the target's: a linear cursor over the dirty bitmap that rewinds until no bit
 * is left, several chunks in flight, each locked against guest writes while it is compared and copied.
 *
 * A bit is cleared in memory when the target has answered for its block; on disk only later, when both copies are flushed.
 * Examined blocks count as unstable until then. Holes are sent as holes. Guest writes go to both copies
 * meanwhile, through the ordinary write path, and are ordered against chunks by the range locks.
 */
import { assertInvariant } from '../base/assert.ts';
import type { AllocationExtent, BlockError } from '../base/block-device.ts';
import { blockSizeBytes } from '../disk/state.ts';
import { FrameFlag, FrameType, joinChunks } from '../link/frames.ts';
import type { AnswerSink, PeerChannel } from './peer-channel.ts';
import { RangeHolder } from './range-locks.ts';
import type { Replica } from './replica.ts';
import { type BlockChecksum, blockDigests, sliceChunks } from './secondary-engine.ts';

/** Largest chunk of data, and how many are under way at once: bounds memory and what a guest write may have to wait for. */
export const chunkBytesMax = 1024 * 1024;
export const chunksInFlightMax = 4;
/** A hole is announced in one piece up to this length. */
export const holeBytesMax = 1024 * 1024 * 1024;

export interface ResyncEvents {
  /** No dirty bit is left; guest writes may set new ones only by going alone. */
  copied(): void;
  /** The own disk file cannot be read. */
  diskFailed(volume: string, during: string): void;
}

export class ResyncSource {
  readonly replicas: readonly Replica[];
  readonly channel: PeerChannel;
  readonly checksum: BlockChecksum;
  /** Compare checksums before sending: after crashes and seeds, when most blocks are equal. */
  readonly compare: boolean;
  readonly #events: ResyncEvents;
  #volume = 0;
  #cursorBlock = 0;
  readonly #chunks = new Set<ResyncChunk>();
  #choosing = false;
  #stopped = false;
  totalBytes = 0;
  examinedBytes = 0;
  sentBytes = 0;

  constructor(
    replicas: readonly Replica[],
    channel: PeerChannel,
    checksum: BlockChecksum,
    compare: boolean,
    events: ResyncEvents,
  ) {
    this.replicas = replicas;
    this.channel = channel;
    this.checksum = checksum;
    this.compare = compare;
    this.#events = events;
    for (const replica of replicas) this.totalBytes += dirtyBytes(replica);
  }

  start(): void {
    this.#pump();
  }

  /** No chunk is begun any more; those under way end without effect and let their ranges go. */
  stop(): void {
    this.#stopped = true;
    for (const chunk of this.#chunks) this.#endChunk(chunk);
  }

  #pump(): void {
    while (!this.#stopped && !this.#choosing && this.#chunks.size < chunksInFlightMax) {
      const replica = this.replicas[this.#volume];
      if (replica === undefined) {
        if (this.#chunks.size > 0) return;
        // The pass is over and nothing is under way: rewind for what became dirty behind the cursor, or end.
        this.#volume = 0;
        this.#cursorBlock = 0;
        if (this.replicas.some((each) => each.bitmap.count > 0)) continue;
        this.#stopped = true;
        this.#events.copied();
        return;
      }
      const block = replica.bitmap.nextDirty(this.#cursorBlock);
      if (block === -1) {
        this.#volume += 1;
        this.#cursorBlock = 0;
        continue;
      }
      this.#choose(replica, block);
    }
  }

  /** Chooses the length of the chunk at `block`: a long one in a hole, a short one in data. Only a hint: asked again under lock. */
  #choose(replica: Replica, block: number): void {
    const startBytes = block * blockSizeBytes;
    const runMax = this.compare ? chunkBytesMax : holeBytesMax;
    let blocks = 1;
    while (
      blocks * blockSizeBytes < runMax &&
      block + blocks < replica.bitmap.blockCount &&
      replica.bitmap.has(block + blocks)
    ) {
      blocks += 1;
    }
    const runBytes = Math.min(blocks * blockSizeBytes, replica.device.sizeBytes - startBytes);
    if (this.compare || runBytes <= chunkBytesMax) return this.#begin(replica, startBytes, runBytes);
    this.#choosing = true;
    replica.device.allocation(startBytes, runBytes, {
      done: (error, extents) => {
        this.#choosing = false;
        if (this.#stopped) return;
        const first = extents[0];
        const isHole = error === undefined && first !== undefined && (first.hole || first.zero);
        const holeBytes = isHole ? roundDownToBlocks(Math.min(first.lengthBytes, runBytes), runBytes) : 0;
        this.#begin(replica, startBytes, Math.max(holeBytes, Math.min(runBytes, chunkBytesMax)));
        this.#pump();
      },
    });
  }

  #begin(replica: Replica, startBytes: number, lengthBytes: number): void {
    this.#cursorBlock = Math.ceil((startBytes + lengthBytes) / blockSizeBytes);
    const chunk = new ResyncChunk(this, replica, startBytes, lengthBytes);
    this.#chunks.add(chunk);
    if (replica.locks.acquire(chunk, startBytes, startBytes + lengthBytes)) chunk.rangeAcquired();
  }

  chunkDone(chunk: ResyncChunk): void {
    if (!this.#chunks.has(chunk)) return;
    this.#endChunk(chunk);
    this.#pump();
  }

  #endChunk(chunk: ResyncChunk): void {
    this.#chunks.delete(chunk);
    chunk.replica.locks.release(chunk);
  }

  get stopped(): boolean {
    return this.#stopped || this.channel.closed;
  }

  readFailed(replica: Replica): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#events.diskFailed(replica.name, 'reading for the resync');
  }
}

/** One range: locked, compared if asked, sent, answered, its bits cleared. */
class ResyncChunk extends RangeHolder implements AnswerSink {
  readonly #source: ResyncSource;
  readonly replica: Replica;
  readonly #startBytes: number;
  readonly #lengthBytes: number;
  #unanswered = 0;
  #atBytes = 0;
  #theirs: Uint8Array | undefined;
  #mine: readonly Uint8Array[] | undefined;

  constructor(source: ResyncSource, replica: Replica, startBytes: number, lengthBytes: number) {
    super();
    this.#source = source;
    this.replica = replica;
    this.#startBytes = startBytes;
    this.#lengthBytes = lengthBytes;
  }

  rangeAcquired(): void {
    if (this.#source.stopped) return this.#source.chunkDone(this);
    if (this.#source.compare) this.#compare();
    else this.#copyNext();
  }

  /** The peer has written a piece. An answer that never comes (channel closed) leaves the bits as they are. */
  answered(failed: boolean): void {
    if (failed || this.#source.stopped) return;
    this.#unanswered -= 1;
    if (this.#unanswered > 0) return;
    if (this.#source.compare || this.#atBytes >= this.#lengthBytes) this.#finish();
    else this.#copyNext();
  }

  #finish(): void {
    const { bitmap } = this.replica;
    const first = this.#startBytes / blockSizeBytes;
    const last = Math.ceil((this.#startBytes + this.#lengthBytes) / blockSizeBytes);
    for (let block = first; block < last; block += 1) bitmap.clearBlock(block);
    // Only now: a flush settles what both had completed before it began. Equal blocks too: the target may hold them in its
    // page cache only, from an earlier connection.
    this.replica.markUnstable(this.#startBytes, this.#lengthBytes);
    this.#source.examinedBytes += this.#lengthBytes;
    this.#source.chunkDone(this);
  }

  // ---- with comparison: both digests, then only the blocks that differ ----

  #compare(): void {
    const theirs: AnswerSink = {
      answered: (failed, payload) => {
        if (failed) return;
        this.#theirs = joinChunks(payload);
        this.#compared();
      },
    };
    this.#source.channel.request(
      FrameType.checksumRequest,
      0,
      this.replica.index,
      this.#startBytes,
      this.#lengthBytes,
      [],
      0,
      theirs,
    );
    this.#read(this.#startBytes, this.#lengthBytes, (chunks) => {
      this.#mine = chunks;
      this.#compared();
    });
  }

  #compared(): void {
    const theirs = this.#theirs;
    const mine = this.#mine;
    if (theirs === undefined || mine === undefined) return;
    if (this.#source.stopped) return this.#source.chunkDone(this);
    const { checksum } = this.#source;
    const digests = blockDigests(mine, this.#lengthBytes, checksum);
    const size = checksum.digestBytes;
    const blocks = digests.length / size;
    // One more than was sent, so that answers which arrive at once do not end the chunk too early.
    this.#unanswered = 1;
    for (let block = 0; block < blocks; block += 1) {
      if (equalBytes(digests, theirs, block * size, size)) continue;
      const fromBytes = block * blockSizeBytes;
      const lengthBytes = Math.min(blockSizeBytes, this.#lengthBytes - fromBytes);
      this.#sendData(this.#startBytes + fromBytes, lengthBytes, sliceChunks(mine, fromBytes, lengthBytes));
    }
    this.answered(false);
  }

  // ---- without: extent by extent, holes as holes ----

  #copyNext(): void {
    if (this.#source.stopped) return this.#source.chunkDone(this);
    const offsetBytes = this.#startBytes + this.#atBytes;
    this.replica.device.allocation(offsetBytes, this.#lengthBytes - this.#atBytes, {
      done: (error, extents) => this.#copyExtent(error, extents[0]),
    });
  }

  #copyExtent(error: BlockError | undefined, extent: AllocationExtent | undefined): void {
    if (this.#source.stopped) return this.#source.chunkDone(this);
    const leftBytes = this.#lengthBytes - this.#atBytes;
    const offsetBytes = this.#startBytes + this.#atBytes;
    const extentBytes = Math.min(extent?.lengthBytes ?? leftBytes, leftBytes);
    if (error === undefined && extent !== undefined && (extent.hole || extent.zero)) {
      this.#atBytes += extentBytes;
      this.#sendZero(offsetBytes, extentBytes);
      return;
    }
    const pieceBytes = Math.min(extentBytes, chunkBytesMax);
    this.#read(offsetBytes, pieceBytes, (chunks) => {
      if (this.#source.stopped) return this.#source.chunkDone(this);
      this.#atBytes += pieceBytes;
      this.#sendData(offsetBytes, pieceBytes, chunks);
    });
  }

  #sendData(offsetBytes: number, lengthBytes: number, chunks: readonly Uint8Array[]): void {
    this.#unanswered += 1;
    this.#source.sentBytes += lengthBytes;
    this.#source.channel.request(
      FrameType.resyncWrite,
      0,
      this.replica.index,
      offsetBytes,
      lengthBytes,
      chunks,
      lengthBytes,
      this,
    );
  }

  #sendZero(offsetBytes: number, lengthBytes: number): void {
    this.#unanswered += 1;
    this.#source.channel.request(
      FrameType.resyncZero,
      FrameFlag.mayPunch,
      this.replica.index,
      offsetBytes,
      lengthBytes,
      [],
      0,
      this,
    );
  }

  #read(offsetBytes: number, lengthBytes: number, done: (chunks: readonly Uint8Array[]) => void): void {
    this.replica.device.read(offsetBytes, lengthBytes, {
      done: (error, chunks) => {
        if (error === undefined) return done(chunks);
        this.#source.readFailed(this.replica);
        this.#source.chunkDone(this);
      },
    });
  }
}

export function dirtyBytes(replica: Replica): number {
  return Math.min(replica.bitmap.count * blockSizeBytes, replica.device.sizeBytes);
}

/** Whole blocks only, unless the range reaches the end of the volume's last, shorter block. */
function roundDownToBlocks(lengthBytes: number, runBytes: number): number {
  return lengthBytes === runBytes ? lengthBytes : lengthBytes - (lengthBytes % blockSizeBytes);
}

function equalBytes(mine: Uint8Array, theirs: Uint8Array, offset: number, length: number): boolean {
  assertInvariant(offset + length <= mine.length, 'a digest is whole');
  for (let at = offset; at < offset + length; at += 1) if (mine[at] !== theirs[at]) return false;
  return true;
}
