/**
 * One range on its way to the target: locked against guest writes, then compared or copied piece by piece, answered, its
 * bits cleared. Holes and zeroes are sent as holes.
 */
import { assertInvariant } from '../base/assert.ts';
import type { BlockError } from '../base/block-device.ts';
import { blockSizeBytes } from '../disk/state.ts';
import { FrameFlag, FrameType, joinChunks } from '../link/frames.ts';
import { type BlockChecksum, blockOf, equalsDigest, isZero, sliceChunks } from './block-digests.ts';
import type { AnswerSink, PeerChannel } from './peer-channel.ts';
import { RangeHolder } from './range-locks.ts';
import type { Replica } from './replica.ts';
import { chunkBytesMax } from './resync-pace.ts';

/** What a chunk needs of the resync that it belongs to. */
export interface ChunkHost {
  readonly channel: PeerChannel;
  readonly checksum: BlockChecksum;
  /** Nothing is begun any more. */
  readonly stopped: boolean;
  sentBytes: number;
  /** What a comparison showed. */
  compared(equalBlocks: number, blocks: number): void;
  /** The target has the range. */
  examined(chunk: ResyncChunk): void;
  /** It ends without having changed anything that counts. */
  ended(chunk: ResyncChunk): void;
  readFailed(replica: Replica): void;
}

export class ResyncChunk extends RangeHolder implements AnswerSink {
  readonly #host: ChunkHost;
  readonly replica: Replica;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** It was a hole a moment ago; whether it still is, is looked at under the lock. */
  readonly maybeHole: boolean;
  /** Of data only: digests are of whole blocks, and pieces of a hole may begin anywhere. */
  readonly #compare: boolean;
  #atBytes = 0;
  /** Frames that the target has not answered, and one for the piece that is being looked at. */
  #open = 0;
  #theirs: Uint8Array | undefined;
  #mine: readonly Uint8Array[] | undefined;

  constructor(
    host: ChunkHost,
    replica: Replica,
    offsetBytes: number,
    lengthBytes: number,
    maybeHole: boolean,
    compare: boolean,
  ) {
    super();
    this.#host = host;
    this.replica = replica;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.maybeHole = maybeHole;
    assertInvariant(!(maybeHole && compare), 'holes are not compared');
    this.#compare = compare;
  }

  rangeAcquired(): void {
    this.#next();
  }

  /** The target has done a piece. An answer that never comes (channel closed) leaves the bits as they are. */
  answered(failed: boolean): void {
    if (!failed) this.#pieceDone();
  }

  #pieceDone(): void {
    this.#open -= 1;
    if (this.#open === 0) this.#next();
  }

  /** The next piece, or the end. */
  #next(): void {
    if (this.#host.stopped) return this.#host.ended(this);
    const leftBytes = this.lengthBytes - this.#atBytes;
    if (leftBytes === 0) return this.#host.examined(this);
    this.#open = 1;
    if (!this.maybeHole) return this.#examine(leftBytes);
    this.replica.device.allocation(this.offsetBytes + this.#atBytes, leftBytes, {
      done: (error, extents) => {
        if (this.#host.stopped) return this.#host.ended(this);
        const extent = extents[0];
        const extentBytes = Math.min(extent?.lengthBytes ?? leftBytes, leftBytes);
        const isHole = error === undefined && extent?.zero === true;
        if (!isHole) return this.#examine(Math.min(extentBytes, chunkBytesMax));
        this.#sendZero(this.#atBytes, extentBytes);
        this.#atBytes += extentBytes;
        this.#pieceDone();
      },
    });
  }

  /** Compares or copies a piece of data. */
  #examine(pieceBytes: number): void {
    const startBytes = this.#atBytes;
    this.#atBytes += pieceBytes;
    if (this.#compare) this.#requestDigests(startBytes, pieceBytes);
    this.#read(startBytes, pieceBytes, (chunks) => {
      this.#mine = chunks;
      if (!this.#compare) return this.#send(startBytes, pieceBytes, chunks, () => false);
      this.#compareDigests(startBytes, pieceBytes);
    });
  }

  #requestDigests(startBytes: number, pieceBytes: number): void {
    const { channel } = this.#host;
    this.#theirs = undefined;
    this.#mine = undefined;
    const reply: AnswerSink = {
      answered: (failed, payload) => {
        if (failed) return;
        this.#theirs = joinChunks(payload);
        this.#compareDigests(startBytes, pieceBytes);
      },
    };
    const at = this.offsetBytes + startBytes;
    channel.request(FrameType.checksumRequest, 0, this.replica.index, at, pieceBytes, [], 0, reply);
  }

  /** When both sides are there: sends the blocks that differ. */
  #compareDigests(startBytes: number, pieceBytes: number): void {
    const theirs = this.#theirs;
    const mine = this.#mine;
    if (theirs === undefined || mine === undefined) return;
    if (this.#host.stopped) return this.#host.ended(this);
    let equalBlocks = 0;
    this.#send(startBytes, pieceBytes, mine, (block, index) => {
      const equal = equalsDigest(block, theirs, index, this.#host.checksum);
      if (equal) equalBlocks += 1;
      return equal;
    });
    this.#host.compared(equalBlocks, Math.ceil(pieceBytes / blockSizeBytes));
  }

  /** Sends the blocks of a piece that the target may not have, neighbours of one kind together. */
  #send(
    startBytes: number,
    pieceBytes: number,
    chunks: readonly Uint8Array[],
    targetHas: (block: readonly Uint8Array[], index: number) => boolean,
  ): void {
    let run: 'data' | 'zero' | 'none' = 'none';
    let runStartBytes = 0;
    const sendUntil = (endBytes: number): void => {
      const lengthBytes = endBytes - runStartBytes;
      if (run === 'zero') this.#sendZero(startBytes + runStartBytes, lengthBytes);
      else if (run === 'data') {
        const data = sliceChunks(chunks, runStartBytes, lengthBytes);
        this.#sendData(startBytes + runStartBytes, lengthBytes, data);
      }
    };
    const blocks = Math.ceil(pieceBytes / blockSizeBytes);
    for (let index = 0; index < blocks; index += 1) {
      const block = blockOf(chunks, index, pieceBytes);
      const kind = targetHas(block, index) ? 'none' : isZero(block) ? 'zero' : 'data';
      if (kind === run) continue;
      sendUntil(index * blockSizeBytes);
      run = kind;
      runStartBytes = index * blockSizeBytes;
    }
    sendUntil(pieceBytes);
    this.#pieceDone();
  }

  #sendData(startBytes: number, lengthBytes: number, chunks: readonly Uint8Array[]): void {
    this.#open += 1;
    this.#host.sentBytes += lengthBytes;
    const { channel } = this.#host;
    const at = this.offsetBytes + startBytes;
    channel.request(FrameType.resyncWrite, 0, this.replica.index, at, lengthBytes, chunks, lengthBytes, this);
  }

  #sendZero(startBytes: number, lengthBytes: number): void {
    this.#open += 1;
    const { channel } = this.#host;
    const at = this.offsetBytes + startBytes;
    channel.request(
      FrameType.resyncZero,
      FrameFlag.mayPunch,
      this.replica.index,
      at,
      lengthBytes,
      [],
      0,
      this,
    );
  }

  #read(startBytes: number, lengthBytes: number, done: (chunks: readonly Uint8Array[]) => void): void {
    this.replica.device.read(this.offsetBytes + startBytes, lengthBytes, {
      done: (error: BlockError | undefined, chunks) => {
        if (error !== undefined) this.#host.readFailed(this.replica);
        if (this.#host.stopped) this.#host.ended(this);
        else done(chunks);
      },
    });
  }
}
