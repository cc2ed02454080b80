/**
 * Bytes that arrived and are not yet parsed: a list of chunks as the socket delivered them. Headers are read in place,
 * payload leaves as slices of the same chunks. Only two things are copied: a header that straddles two chunks, and
 * small pieces that arrive behind others, so that a sender who dribbles costs memory in proportion to the bytes.
 *
 * Invariant: `lengthBytes` is the sum of what remains in the chunks; bytes once handed out are never changed. It sets
 * no limit itself: whoever pushes must stop reading when the parser does not consume.
 */
import { assertInvariant } from '../base/assert.ts';
import { viewOf } from './protocol.ts';

/** Longest header that `locate` serves. */
const locateBytesMax = 64;
/** The emptied places at the front of the list are cut off when there are this many. */
const consumedChunksMax = 64;
/** A piece up to this length is gathered with its neighbours when others wait before it. */
const gatheredPieceBytesMax = 512;
const gatherBytes = 8 * 1024;
const noBytes = new Uint8Array(0);

export class ByteQueue {
  /** Bytes not yet consumed. */
  lengthBytes = 0;
  /** After `locate`: the bytes found begin at `at` in `view`, valid until the next call of any method. */
  view: DataView;
  at = 0;
  readonly #scratch = new Uint8Array(locateBytesMax);
  readonly #scratchView = viewOf(this.#scratch);
  #chunks: Uint8Array[] = [];
  #first = 0;
  /** Consumed bytes of the first chunk, and a view of it once one was needed. */
  #consumedBytes = 0;
  #headView: DataView | undefined;
  /** Small pieces are copied here, one behind the other; the last chunk is its bytes from `#gatherStart` on, or none. */
  #gather = noBytes;
  #gatherStart = 0;
  #gatherEnd = 0;
  #lastIsGathered = false;

  constructor() {
    this.view = this.#scratchView;
  }

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.lengthBytes > 0 && bytes.length <= gatheredPieceBytesMax) {
      this.#pushGathered(bytes);
    } else {
      this.#chunks.push(bytes);
      this.#lastIsGathered = false;
    }
    this.lengthBytes += bytes.length;
  }

  /** Consumes `countBytes` and makes them readable at `at` in `view`; false, and nothing done, until all are here. */
  locate(countBytes: number): boolean {
    assertInvariant(countBytes <= locateBytesMax, 'a located header fits the scratch space');
    if (this.lengthBytes < countBytes) return false;
    const head = this.#head();
    if (head.length - this.#consumedBytes >= countBytes) {
      this.#headView ??= viewOf(head);
      this.view = this.#headView;
      this.at = this.#consumedBytes;
      this.#consume(countBytes);
      return true;
    }
    this.#copyInto(this.#scratch, countBytes);
    this.view = this.#scratchView;
    this.at = 0;
    return true;
  }

  /** Consumes `countBytes`, which must be here, as one array: a slice, or a copy where it straddles chunks. */
  take(countBytes: number): Uint8Array {
    assertInvariant(this.lengthBytes >= countBytes, 'taken bytes are here');
    if (countBytes === 0) return new Uint8Array(0);
    const head = this.#head();
    if (head.length - this.#consumedBytes >= countBytes) {
      const slice = head.subarray(this.#consumedBytes, this.#consumedBytes + countBytes);
      this.#consume(countBytes);
      return slice;
    }
    const bytes = new Uint8Array(countBytes);
    this.#copyInto(bytes, countBytes);
    return bytes;
  }

  /** Consumes `countBytes`, which must be here, as slices of the chunks that hold them. */
  takeChunks(countBytes: number): Uint8Array[] {
    assertInvariant(this.lengthBytes >= countBytes, 'taken bytes are here');
    const slices: Uint8Array[] = [];
    let leftBytes = countBytes;
    while (leftBytes > 0) {
      const head = this.#head();
      const sliceBytes = Math.min(leftBytes, head.length - this.#consumedBytes);
      slices.push(
        sliceBytes === head.length
          ? head
          : head.subarray(this.#consumedBytes, this.#consumedBytes + sliceBytes),
      );
      this.#consume(sliceBytes);
      leftBytes -= sliceBytes;
    }
    return slices;
  }

  /** Drops at most `countBytes` and returns how many. */
  skip(countBytes: number): number {
    let leftBytes = Math.min(countBytes, this.lengthBytes);
    const skippedBytes = leftBytes;
    while (leftBytes > 0) {
      const sliceBytes = Math.min(leftBytes, this.#head().length - this.#consumedBytes);
      this.#consume(sliceBytes);
      leftBytes -= sliceBytes;
    }
    return skippedBytes;
  }

  #pushGathered(bytes: Uint8Array): void {
    const fits = this.#gatherEnd + bytes.length <= this.#gather.length;
    if (!fits) {
      this.#gather = new Uint8Array(gatherBytes);
      this.#gatherEnd = 0;
    }
    if (!fits || !this.#lastIsGathered) this.#gatherStart = this.#gatherEnd;
    this.#gather.set(bytes, this.#gatherEnd);
    this.#gatherEnd += bytes.length;
    const chunk = this.#gather.subarray(this.#gatherStart, this.#gatherEnd);
    if (fits && this.#lastIsGathered) this.#chunks[this.#chunks.length - 1] = chunk;
    else this.#chunks.push(chunk);
    this.#lastIsGathered = true;
    // The first chunk may have grown.
    this.#headView = undefined;
  }

  #head(): Uint8Array {
    const head = this.#chunks[this.#first];
    assertInvariant(head !== undefined, 'a queue that is not empty has a first chunk');
    return head;
  }

  #copyInto(target: Uint8Array, countBytes: number): void {
    let filledBytes = 0;
    while (filledBytes < countBytes) {
      const head = this.#head();
      const sliceBytes = Math.min(countBytes - filledBytes, head.length - this.#consumedBytes);
      target.set(head.subarray(this.#consumedBytes, this.#consumedBytes + sliceBytes), filledBytes);
      this.#consume(sliceBytes);
      filledBytes += sliceBytes;
    }
  }

  /** `countBytes` lies within the first chunk. */
  #consume(countBytes: number): void {
    this.#consumedBytes += countBytes;
    this.lengthBytes -= countBytes;
    if (this.#consumedBytes < this.#head().length) return;
    this.#consumedBytes = 0;
    this.#headView = undefined;
    this.#chunks[this.#first] = noBytes;
    this.#first += 1;
    if (this.#first === this.#chunks.length) {
      this.#chunks = [];
      this.#first = 0;
      this.#lastIsGathered = false;
    } else if (this.#first >= consumedChunksMax) {
      this.#chunks = this.#chunks.slice(this.#first);
      this.#first = 0;
    }
  }
}
