/**
 * Compares one volume of this node, the primary, with the peer's copy while both are in sync and the guest works: one chunk at a
 * time, locked against guest writes, by checksum. What differs is copied from here to there.
 *
 * Order of a repair, all under the lock of its chunk: the blocks are dirty, durably; then their data goes to the peer; then
 * both copies are flushed; only then are the bits cleared, in memory and on disk, and only then is it called repaired. Whatever
 * interrupts this leaves bits, so that the next handshake compares these blocks again.
 * It does not decide when to begin or to yield, and reads through the page caches of both hosts.
 */
import { blockSizeBytes } from '../disk/state.ts';
import { FrameType, joinChunks } from '../link/frames.ts';
import type { AnswerSink, PeerChannel } from './peer-channel.ts';
import { RangeHolder } from './range-locks.ts';
import type { Replica } from './replica.ts';
import { type BlockChecksum, blockDigests, sliceChunks } from './block-digests.ts';
import { checksumBytesMax } from './secondary-engine.ts';

/** Bytes that are locked, read and compared at once. */
export const verifyChunkBytes = checksumBytesMax;

/** Whole blocks, in bytes; the last block of a volume may be short. */
export interface ByteRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface VerifyEvents {
  /** These ranges differ, and their blocks are durably dirty. */
  differ(ranges: readonly ByteRange[]): void;
  /** The chunk is equal on both, now or since it was repaired; nothing is locked any more. */
  examined(chunk: ByteRange): void;
  diskFailed(volume: string, during: string): void;
}

export interface VerifyParts {
  readonly channel: PeerChannel;
  readonly checksum: BlockChecksum;
  /** Makes everything that completed so far durable on both copies. */
  flushBoth(done: () => void): void;
  /** A difference in this chunk was found before, and its repair did not come to its end. */
  wasDifferent(chunk: ByteRange): boolean;
}

export class VerifySource {
  readonly replica: Replica;
  readonly parts: VerifyParts;
  readonly events: VerifyEvents;
  #chunk: VerifyChunk | undefined;

  constructor(replica: Replica, parts: VerifyParts, events: VerifyEvents) {
    this.replica = replica;
    this.parts = parts;
    this.events = events;
  }

  /** A chunk is under way. */
  get busy(): boolean {
    return this.#chunk !== undefined;
  }

  /** Examines one chunk; `events.examined` follows, or nothing once `stop` was called or the peer is gone. */
  examine(offsetBytes: number): void {
    const lengthBytes = Math.min(verifyChunkBytes, this.replica.device.sizeBytes - offsetBytes);
    const chunk = new VerifyChunk(this, offsetBytes, lengthBytes);
    this.#chunk = chunk;
    if (this.replica.locks.acquire(chunk, offsetBytes, offsetBytes + lengthBytes)) chunk.rangeAcquired();
  }

  /** The chunk under way ends without effect and lets its range go; what was found different stays dirty. */
  stop(): void {
    const chunk = this.#chunk;
    this.#chunk = undefined;
    if (chunk !== undefined) this.replica.locks.release(chunk);
  }

  isCurrent(chunk: VerifyChunk): boolean {
    return this.#chunk === chunk && !this.parts.channel.closed;
  }

  chunkDone(chunk: VerifyChunk, range: ByteRange): void {
    if (this.#chunk !== chunk) return;
    this.stop();
    this.events.examined(range);
  }

  failed(chunk: VerifyChunk, during: string): void {
    if (this.#chunk !== chunk) return;
    this.stop();
    this.events.diskFailed(this.replica.name, during);
  }
}

class VerifyChunk extends RangeHolder implements AnswerSink {
  readonly #source: VerifySource;
  readonly #range: ByteRange;
  #theirs: Uint8Array | undefined;
  #mine: readonly Uint8Array[] | undefined;
  #different: ByteRange[] = [];
  #unanswered = 0;

  constructor(source: VerifySource, offsetBytes: number, lengthBytes: number) {
    super();
    this.#source = source;
    this.#range = { offsetBytes, lengthBytes };
  }

  rangeAcquired(): void {
    const source = this.#source;
    if (!source.isCurrent(this)) return;
    const { offsetBytes, lengthBytes } = this.#range;
    const { replica, parts } = source;
    const theirs: AnswerSink = {
      // A peer whose disk fails leaves the pair by itself, which ends this chunk.
      answered: (failed, payload) => {
        if (failed) return;
        this.#theirs = joinChunks(payload);
        this.#compare();
      },
    };
    const { checksumRequest } = FrameType;
    parts.channel.request(checksumRequest, 0, replica.index, offsetBytes, lengthBytes, [], 0, theirs);
    replica.device.read(offsetBytes, lengthBytes, {
      done: (error, chunks) => {
        if (error !== undefined) return source.failed(this, 'reading for a verify');
        this.#mine = chunks;
        this.#compare();
      },
    });
  }

  #compare(): void {
    const [mine, theirs] = [this.#mine, this.#theirs];
    if (mine === undefined || theirs === undefined || !this.#source.isCurrent(this)) return;
    const { checksum } = this.#source.parts;
    const digests = blockDigests(mine, this.#range.lengthBytes, checksum);
    this.#different = differingRanges(digests, theirs, checksum.digestBytes, this.#range);
    if (this.#different.length > 0) this.#markDirty();
    // What was sent before the interruption may be equal in the peer's page cache only.
    else if (this.#source.parts.wasDifferent(this.#range)) this.#source.parts.flushBoth(() => this.#done());
    else this.#done();
  }

  #done(): void {
    if (this.#source.isCurrent(this)) this.#source.chunkDone(this, this.#range);
  }

  #markDirty(): void {
    const { replica, events } = this.#source;
    for (const { offsetBytes, lengthBytes } of this.#different)
      replica.bitmap.setRange(offsetBytes, lengthBytes);
    replica.writeBitmapSafely((ok) => {
      if (!ok) return this.#source.failed(this, 'writing the dirty bitmap');
      // Also when it was stopped meanwhile: somebody else repairs what is durably dirty.
      events.differ(this.#different);
      if (this.#source.isCurrent(this)) this.#send();
    });
  }

  #send(): void {
    const { replica, parts } = this.#source;
    this.#unanswered = this.#different.length;
    for (const { offsetBytes, lengthBytes } of this.#different) {
      const data = sliceChunks(
        this.#mine as readonly Uint8Array[],
        offsetBytes - this.#range.offsetBytes,
        lengthBytes,
      );
      parts.channel.request(
        FrameType.resyncWrite,
        0,
        replica.index,
        offsetBytes,
        lengthBytes,
        data,
        lengthBytes,
        this,
      );
    }
  }

  /** The peer has written one range. */
  answered(failed: boolean): void {
    if (failed || !this.#source.isCurrent(this)) return;
    this.#unanswered -= 1;
    if (this.#unanswered > 0) return;
    this.#source.parts.flushBoth(() => {
      if (!this.#source.isCurrent(this)) return;
      this.#clear();
      this.#source.replica.writeBitmapSafely((ok) => {
        if (ok) this.#source.chunkDone(this, this.#range);
        else this.#source.failed(this, 'writing the dirty bitmap');
      });
    });
  }

  #clear(): void {
    const { bitmap } = this.#source.replica;
    for (const { offsetBytes, lengthBytes } of this.#different) {
      const last = Math.ceil((offsetBytes + lengthBytes) / blockSizeBytes);
      for (let block = offsetBytes / blockSizeBytes; block < last; block += 1) bitmap.clearBlock(block);
    }
  }
}

/** Runs of blocks whose digests differ, as byte ranges of the volume. A digest that is missing differs. */
export function differingRanges(
  mine: Uint8Array,
  theirs: Uint8Array,
  digestBytes: number,
  { offsetBytes, lengthBytes }: ByteRange,
): ByteRange[] {
  const ranges: ByteRange[] = [];
  const blocks = mine.length / digestBytes;
  let runStart: number | undefined;
  for (let block = 0; block <= blocks; block += 1) {
    if (block < blocks && !isEqualAt(mine, theirs, block * digestBytes, digestBytes)) {
      runStart ??= block;
      continue;
    }
    if (runStart === undefined) continue;
    const startBytes = runStart * blockSizeBytes;
    const endBytes = Math.min(block * blockSizeBytes, lengthBytes);
    ranges.push({ offsetBytes: offsetBytes + startBytes, lengthBytes: endBytes - startBytes });
    runStart = undefined;
  }
  return ranges;
}

function isEqualAt(mine: Uint8Array, theirs: Uint8Array, offset: number, length: number): boolean {
  for (let at = offset; at < offset + length; at += 1) if (mine[at] !== theirs[at]) return false;
  return true;
}
