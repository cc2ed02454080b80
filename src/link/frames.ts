/**
 * The link protocol, declared once. A frame is a 32-byte header, little-endian, and a payload.
 *
 *   offset size  field
 *        0    1  type
 *        1    1  flags (fua 1, may-punch 2, failed 4)
 *        2    2  volume index
 *        4    4  payload length in bytes
 *        8    8  sequence: names a request; its answer carries the same number
 *       16    8  offset in the volume, in bytes
 *       24    4  length of the range, in bytes
 *       28    4  reserved, must be zero
 *
 * Header and bulk payload are kept apart from end to end: payload is a list of chunks that nobody copies.
 * Integrity and peer identity are the transport's business (TLS); versions are negotiated in `hello` (control-messages.ts).
 *
 * Protocol versions, newest first:
 *   2  the nodes tell each other whether the VM runs there, and whether it could (`vm-report`), and what their checks found (`checks`)
 *   1  first version
 */
import { assertInvariant } from '../base/assert.ts';

export const linkProtocolVersions: readonly number[] = [2, 1];
/** From this version on `vm-report` and `checks` are understood. */
export const reportsSinceProtocol = 2;
export const headerSizeBytes = 32;
/** The largest payload of one frame: the largest guest write. */
export const payloadBytesMax = 32 * 1024 * 1024;

/** The newest version that both sides know; `undefined`: there is none. */
export function commonProtocol(theirs: readonly number[]): number | undefined {
  return linkProtocolVersions.find((version) => theirs.includes(version));
}

export const FrameType = {
  /** JSON, see control-messages.ts. */
  control: 1,
  /**
   * Sign of life. Length: age in ms of what this side last heard. Offset: a stamp of the sender's clock in ms. Sequence: the
   * offset of the last heartbeat that it received on this connection, 0 for none.
   */
  heartbeat: 2,
  /** Guest writes, in the order in which overlapping ones must be applied. */
  write: 3,
  zero: 4,
  trim: 5,
  /** Make everything completed so far durable on the volume. */
  flush: 6,
  /** Answer to write, zero, trim, flush, resync-write and resync-zero. */
  done: 7,
  /** A piece of the dirty bitmap of the sender; offset is the first block's byte offset in the volume. */
  dirtyBits: 8,
  /** Asks for the checksums of the blocks of a range. */
  checksumRequest: 9,
  /** One checksum per block. */
  checksumReply: 10,
  resyncWrite: 11,
  resyncZero: 12,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

export const FrameFlag = { fua: 1, mayPunch: 2, failed: 4 } as const;

export interface FrameHeader {
  readonly type: number;
  readonly flags: number;
  readonly volume: number;
  readonly payloadBytes: number;
  readonly sequence: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

const slabBytes = 64 * 1024;
const two32 = 2 ** 32;

/** Hands out header buffers cut from larger slabs; a slice is never reused, so a queued header stays valid. */
export class HeaderWriter {
  #slab = new DataView(new ArrayBuffer(slabBytes));
  #used = 0;

  encode(
    type: FrameType,
    flags: number,
    volume: number,
    payloadBytes: number,
    sequence: number,
    offsetBytes: number,
    lengthBytes: number,
  ): Uint8Array {
    if (this.#used + headerSizeBytes > slabBytes) {
      this.#slab = new DataView(new ArrayBuffer(slabBytes));
      this.#used = 0;
    }
    const at = this.#used;
    const view = this.#slab;
    this.#used = at + headerSizeBytes;
    view.setUint8(at, type);
    view.setUint8(at + 1, flags);
    view.setUint16(at + 2, volume, true);
    view.setUint32(at + 4, payloadBytes, true);
    view.setUint32(at + 8, sequence % two32, true);
    view.setUint32(at + 12, Math.floor(sequence / two32), true);
    view.setUint32(at + 16, offsetBytes % two32, true);
    view.setUint32(at + 20, Math.floor(offsetBytes / two32), true);
    view.setUint32(at + 24, lengthBytes, true);
    return new Uint8Array(view.buffer, at, headerSizeBytes);
  }
}

export interface FrameSink {
  /** `payload` chunks together hold exactly `header.payloadBytes`; they belong to the sink from now on. */
  frame(header: FrameHeader, payload: readonly Uint8Array[]): void;
}

const noPayload: readonly Uint8Array[] = [];

/** Cuts a byte stream in arbitrary fragmentation into frames. */
export class FrameParser {
  readonly #sink: FrameSink;
  readonly #partial = new Uint8Array(headerSizeBytes);
  readonly #partialView = new DataView(this.#partial.buffer);
  #partialBytes = 0;
  #header: FrameHeader | undefined;
  #payload: Uint8Array[] = [];
  #missingBytes = 0;
  #stopped = false;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Feeds bytes. Returns a sentence when they break the protocol: the connection must then be closed. */
  received(bytes: Uint8Array): string | undefined {
    let at = 0;
    while (at < bytes.length && !this.#stopped) {
      if (this.#header === undefined) {
        const taken = Math.min(headerSizeBytes - this.#partialBytes, bytes.length - at);
        if (taken === headerSizeBytes) {
          const view = new DataView(bytes.buffer, bytes.byteOffset + at, headerSizeBytes);
          at += taken;
          const problem = this.#begin(view);
          if (problem !== undefined) return problem;
          continue;
        }
        this.#partial.set(bytes.subarray(at, at + taken), this.#partialBytes);
        this.#partialBytes += taken;
        at += taken;
        if (this.#partialBytes < headerSizeBytes) return undefined;
        this.#partialBytes = 0;
        const problem = this.#begin(this.#partialView);
        if (problem !== undefined) return problem;
      } else {
        const taken = Math.min(this.#missingBytes, bytes.length - at);
        this.#payload.push(bytes.subarray(at, at + taken));
        this.#missingBytes -= taken;
        at += taken;
        if (this.#missingBytes === 0) this.#deliver(this.#header, this.#payload);
      }
    }
    return undefined;
  }

  /** Nothing is delivered any more. */
  stop(): void {
    this.#stopped = true;
  }

  #begin(view: DataView): string | undefined {
    const payloadBytes = view.getUint32(4, true);
    const sequenceHigh = view.getUint32(12, true);
    const offsetHigh = view.getUint32(20, true);
    if (payloadBytes > payloadBytesMax)
      return `a frame of ${payloadBytes} bytes; at most ${payloadBytesMax} are allowed`;
    if (sequenceHigh >= 2 ** 21 || offsetHigh >= 2 ** 21) return 'a number beyond 2^53 in a frame header';
    if (view.getUint32(28, true) !== 0) return 'reserved bytes of a frame header that are not zero';
    const header: FrameHeader = {
      type: view.getUint8(0),
      flags: view.getUint8(1),
      volume: view.getUint16(2, true),
      payloadBytes,
      sequence: sequenceHigh * two32 + view.getUint32(8, true),
      offsetBytes: offsetHigh * two32 + view.getUint32(16, true),
      lengthBytes: view.getUint32(24, true),
    };
    if (payloadBytes === 0) {
      this.#sink.frame(header, noPayload);
    } else {
      this.#header = header;
      this.#missingBytes = payloadBytes;
    }
    return undefined;
  }

  #deliver(header: FrameHeader, payload: readonly Uint8Array[]): void {
    assertInvariant(this.#missingBytes === 0, 'a frame is delivered whole');
    this.#header = undefined;
    this.#payload = [];
    this.#sink.frame(header, payload);
  }
}

/** The chunks as one array: for small payloads (control messages, bitmaps), never for guest data. */
export function joinChunks(chunks: readonly Uint8Array[]): Uint8Array {
  const only = chunks[0];
  if (chunks.length === 1 && only !== undefined) return only;
  let size = 0;
  for (const chunk of chunks) size += chunk.length;
  const joined = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    joined.set(chunk, at);
    at += chunk.length;
  }
  return joined;
}
