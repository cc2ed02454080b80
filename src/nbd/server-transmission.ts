/**
 * The server's side of the transmission phase: requests in, replies out, for one connection and one device.
 *
 * Invariants: every request but `NBD_CMD_DISC` gets exactly one reply, unless the connection ends first; a request is only
 * begun while the limits below leave room for it, so that the memory of a connection is bounded however the client
 * behaves and however long the device holds requests; request objects are pooled and no promise or closure is made per
 * read or write. A write is admitted against the limits before its payload is received, one at a time; the payload goes
 * to the device as slices of the received chunks.
 *
 * A device that answers `shutting-down` ends the connection without a reply: an error would reach the guest's file
 * system, while a lost connection is something that clients recover from.
 */
import { assertInvariant, assertNever } from '../base/assert.ts';
import type {
  AllocationCompletion,
  AllocationExtent,
  BlockError,
  Completion,
  ReadCompletion,
} from '../base/block-device.ts';
import { encodeBlockStatus, extentsPerReplyMax } from './block-status.ts';
import type { ByteQueue } from './byte-queue.ts';
import { encodeText } from './option-data.ts';
import {
  dataReplyHeaderBytes,
  encodeFinalChunk,
  encodeSimpleReply,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EPERM,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REQUEST_MAGIC,
  payloadBytesMax,
  readUint64,
  requestHeaderBytes,
  simpleReplyBytes,
  structuredReplyHeaderBytes,
  viewOf,
  writeUint64,
} from './protocol.ts';
import { type Refusal, validateRequest } from './request-rules.ts';
import { baseAllocationId, type Negotiated } from './server-handshake.ts';
import { noChunks, type SessionPort, type Step } from './session-port.ts';

/** Requests of one connection that the device has. */
export const requestsInFlightMax = 256;
/** Payload of one connection that the device has, to write or to read; room for two of the longest. */
export const inFlightBytesMax = 2 * payloadBytesMax;
/** No request is begun while this many bytes of replies wait for the client to read them. */
export const queuedReplyBytesMax = 8 * 1024 * 1024;
/** The payload of a refused write is dropped up to this length; a longer one is taken as an attack. */
export const droppedPayloadBytesMax = 2 * payloadBytesMax;

/** One request that the device has. Goes back to the pool when it completes. */
class Request implements Completion, ReadCompletion {
  active = false;
  command = 0;
  fastZero = false;
  cookieHigh = 0;
  cookieLow = 0;
  offsetBytes = 0;
  lengthBytes = 0;
  /** Part of `inFlightBytesMax` that it uses. */
  payloadBytes = 0;
  readonly #owner: ServerTransmission;

  constructor(owner: ServerTransmission) {
    this.#owner = owner;
  }

  done(error: BlockError | undefined, chunks: readonly Uint8Array[] = noChunks): void {
    this.#owner.completed(this, error, chunks);
  }
}

/** The completion of `NBD_CMD_BLOCK_STATUS`, which is rare and therefore not pooled. */
class StatusCompletion implements AllocationCompletion {
  readonly #request: Request;
  readonly #extentsMax: number;

  constructor(request: Request, extentsMax: number) {
    this.#request = request;
    this.#extentsMax = extentsMax;
  }

  done(error: BlockError | undefined, extents: readonly AllocationExtent[]): void {
    if (error !== undefined) return this.#request.done(error);
    const askedBytes = this.#request.lengthBytes;
    this.#request.done(undefined, [
      encodeBlockStatus(baseAllocationId, extents, this.#extentsMax, askedBytes),
    ]);
  }
}

export class ServerTransmission {
  readonly #negotiated: Negotiated;
  readonly #port: SessionPort;
  readonly #settled: () => void;
  readonly #pool: Request[] = [];
  readonly #simpleHeader = new Uint8Array(simpleReplyBytes);
  readonly #simpleView = viewOf(this.#simpleHeader);
  readonly #chunkHeader = new Uint8Array(structuredReplyHeaderBytes);
  readonly #chunkView = viewOf(this.#chunkHeader);
  readonly #dataHeader = new Uint8Array(dataReplyHeaderBytes);
  readonly #dataView = viewOf(this.#dataHeader);
  #stage: 'header' | 'admission' | 'payload' | 'dropping' | 'draining' | 'ended' = 'header';
  #inFlightCount = 0;
  #inFlightBytes = 0;
  // The request that is being received.
  #flags = 0;
  #command = 0;
  #cookieHigh = 0;
  #cookieLow = 0;
  #offsetBytes = 0;
  #lengthBytes = 0;
  #refusal: Refusal | undefined;
  #dropBytes = 0;

  /** `settled` is called after a request completed, possibly from within `step`. */
  constructor(negotiated: Negotiated, port: SessionPort, settled: () => void) {
    this.#negotiated = negotiated;
    this.#port = port;
    this.#settled = settled;
  }

  /** Requests that the device has. */
  get inFlightCount(): number {
    return this.#inFlightCount;
  }

  /** The client disconnects or the connection is over: the session looks again when a request settled. */
  get finishing(): boolean {
    return this.#stage === 'draining' || this.#stage === 'ended';
  }

  /** No reply is sent from now on: requests in flight complete into nothing. */
  end(): void {
    this.#stage = 'ended';
  }

  /** Consumes one request, or as much of it as is here. */
  step(queue: ByteQueue): Step {
    switch (this.#stage) {
      case 'header':
        return this.#stepHeader(queue);
      case 'admission':
        return this.#stepAdmission();
      case 'payload':
        if (queue.lengthBytes < this.#lengthBytes) return 'need-bytes';
        this.#stage = 'header';
        this.#begin(queue.takeChunks(this.#lengthBytes));
        return 'again';
      case 'dropping':
        this.#dropBytes -= queue.skip(this.#dropBytes);
        if (this.#dropBytes > 0) return 'need-bytes';
        this.#stage = 'header';
        if (this.#refusal !== undefined) this.#refuse(this.#refusal);
        return 'again';
      case 'draining':
        return this.#stepDraining(queue);
      case 'ended':
        return 'ended';
      default:
        return assertNever(this.#stage, 'stage of a transmission');
    }
  }

  #stepHeader(queue: ByteQueue): Step {
    if (!queue.locate(requestHeaderBytes)) return 'need-bytes';
    const { view, at } = queue;
    if (view.getUint32(at) !== NBD_REQUEST_MAGIC) {
      return this.#violation('a request without its magic number');
    }
    this.#flags = view.getUint16(at + 4);
    this.#command = view.getUint16(at + 6);
    this.#cookieHigh = view.getUint32(at + 8);
    this.#cookieLow = view.getUint32(at + 12);
    this.#offsetBytes = readUint64(view, at + 16);
    this.#lengthBytes = view.getUint32(at + 24);
    if (this.#command === NBD_CMD_DISC) {
      this.#stage = 'draining';
      return 'again';
    }
    this.#stage = 'admission';
    return 'again';
  }

  #stepAdmission(): Step {
    const { device } = this.#negotiated.served;
    if (this.#inFlightCount >= requestsInFlightMax) return 'blocked';
    if (this.#port.queuedBytes() > queuedReplyBytesMax) return 'blocked';
    const refusal = validateRequest(
      this.#negotiated,
      this.#command,
      this.#flags,
      this.#offsetBytes,
      this.#lengthBytes,
    );
    const isWrite = this.#command === NBD_CMD_WRITE;
    if (refusal !== undefined) {
      this.#stage = 'header';
      if (!isWrite || this.#lengthBytes === 0) {
        this.#refuse(refusal);
        return 'again';
      }
      if (this.#lengthBytes > droppedPayloadBytesMax) {
        return this.#violation(`a write of ${this.#lengthBytes} bytes`);
      }
      this.#refusal = refusal;
      this.#dropBytes = this.#lengthBytes;
      this.#stage = 'dropping';
      return 'again';
    }
    assertInvariant(
      this.#offsetBytes + this.#lengthBytes <= device.sizeBytes,
      'an admitted range is in the device',
    );
    if (this.#payloadBytes() + this.#inFlightBytes > inFlightBytesMax) return 'blocked';
    if (isWrite) {
      this.#stage = 'payload';
      return 'again';
    }
    this.#stage = 'header';
    this.#begin(noChunks);
    return 'again';
  }

  /** `NBD_CMD_DISC`: outstanding requests are handled, then the connection is closed; what still comes is ignored. */
  #stepDraining(queue: ByteQueue): Step {
    queue.skip(queue.lengthBytes);
    if (this.#inFlightCount > 0) return 'need-bytes';
    this.#stage = 'ended';
    this.#port.close('the client disconnected');
    return 'ended';
  }

  #payloadBytes(): number {
    return this.#command === NBD_CMD_WRITE || this.#command === NBD_CMD_READ ? this.#lengthBytes : 0;
  }

  /** Hands the received request, which was found valid, to the device. */
  #begin(chunks: readonly Uint8Array[]): void {
    if (this.#lengthBytes === 0 && this.#command !== NBD_CMD_FLUSH) return this.#replyEmpty();
    const request = this.#pool.pop() ?? new Request(this);
    request.active = true;
    request.command = this.#command;
    request.cookieHigh = this.#cookieHigh;
    request.cookieLow = this.#cookieLow;
    request.offsetBytes = this.#offsetBytes;
    request.lengthBytes = this.#lengthBytes;
    request.payloadBytes = this.#payloadBytes();
    request.fastZero = false;
    this.#inFlightCount += 1;
    this.#inFlightBytes += request.payloadBytes;
    const { device } = this.#negotiated.served;
    const fua = (this.#flags & NBD_CMD_FLAG_FUA) !== 0;
    switch (this.#command) {
      case NBD_CMD_READ:
        return device.read(request.offsetBytes, request.lengthBytes, request);
      case NBD_CMD_WRITE:
        return device.write(request.offsetBytes, request.lengthBytes, chunks, fua, request);
      case NBD_CMD_FLUSH:
        return device.flush(request);
      case NBD_CMD_TRIM:
        return device.trim(request.offsetBytes, request.lengthBytes, fua, request);
      case NBD_CMD_WRITE_ZEROES: {
        const mayPunch = (this.#flags & NBD_CMD_FLAG_NO_HOLE) === 0;
        request.fastZero = (this.#flags & NBD_CMD_FLAG_FAST_ZERO) !== 0;
        const options = { fua, mayPunch, fast: request.fastZero };
        return device.zero(request.offsetBytes, request.lengthBytes, options, request);
      }
      case NBD_CMD_BLOCK_STATUS: {
        const extentsMax = (this.#flags & NBD_CMD_FLAG_REQ_ONE) !== 0 ? 1 : extentsPerReplyMax;
        const completion = new StatusCompletion(request, extentsMax);
        return device.allocation(request.offsetBytes, request.lengthBytes, completion);
      }
      default:
        assertInvariant(false, 'a valid command is one of those that are served');
    }
  }

  /** A completion of the device; only for the request objects of this file. */
  completed(request: Request, error: BlockError | undefined, chunks: readonly Uint8Array[]): void {
    assertInvariant(request.active, 'a request completes once');
    request.active = false;
    this.#inFlightCount -= 1;
    this.#inFlightBytes -= request.payloadBytes;
    if (this.#stage !== 'ended') this.#reply(request, error, chunks);
    this.#pool.push(request);
    this.#settled();
  }

  #reply(request: Request, error: BlockError | undefined, chunks: readonly Uint8Array[]): void {
    const { command, cookieHigh, cookieLow } = request;
    if (error === 'shutting-down') {
      this.#stage = 'ended';
      this.#port.destroy('the device is being closed');
    } else if (error !== undefined) {
      this.#sendError(cookieHigh, cookieLow, errorOf(error, request.fastZero));
    } else if (command === NBD_CMD_READ) {
      this.#sendData(request, chunks);
    } else if (command === NBD_CMD_BLOCK_STATUS) {
      const payloadBytes = chunks[0]?.length ?? 0;
      encodeFinalChunk(this.#chunkView, NBD_REPLY_TYPE_BLOCK_STATUS, cookieHigh, cookieLow, payloadBytes);
      this.#port.send(this.#chunkHeader, chunks);
    } else {
      this.#sendSimple(0, cookieHigh, cookieLow);
    }
  }

  #sendData(request: Request, chunks: readonly Uint8Array[]): void {
    let chunksBytes = 0;
    for (const chunk of chunks) chunksBytes += chunk.length;
    assertInvariant(chunksBytes === request.lengthBytes, 'a read returns what was asked for');
    if (!this.#negotiated.structuredReplies) {
      encodeSimpleReply(this.#simpleView, 0, request.cookieHigh, request.cookieLow);
      return this.#port.send(this.#simpleHeader, chunks);
    }
    const { cookieHigh, cookieLow } = request;
    encodeFinalChunk(this.#dataView, NBD_REPLY_TYPE_OFFSET_DATA, cookieHigh, cookieLow, 8 + chunksBytes);
    writeUint64(this.#dataView, structuredReplyHeaderBytes, request.offsetBytes);
    this.#port.send(this.#dataHeader, chunks);
  }

  /** A request for no bytes succeeds without the device; a content chunk cannot be empty, so a read gets none. */
  #replyEmpty(): void {
    if (this.#command === NBD_CMD_READ && this.#negotiated.structuredReplies) {
      encodeFinalChunk(this.#chunkView, NBD_REPLY_TYPE_NONE, this.#cookieHigh, this.#cookieLow, 0);
      this.#port.send(this.#chunkHeader, noChunks);
    } else {
      this.#sendSimple(0, this.#cookieHigh, this.#cookieLow);
    }
  }

  #refuse(refusal: Refusal): void {
    this.#sendError(this.#cookieHigh, this.#cookieLow, refusal);
  }

  #sendSimple(error: number, cookieHigh: number, cookieLow: number): void {
    encodeSimpleReply(this.#simpleView, error, cookieHigh, cookieLow);
    this.#port.send(this.#simpleHeader, noChunks);
  }

  #sendError(cookieHigh: number, cookieLow: number, refusal: Refusal): void {
    if (!this.#negotiated.structuredReplies) return this.#sendSimple(refusal.error, cookieHigh, cookieLow);
    const message = encodeText(refusal.message);
    const payload = new Uint8Array(6 + message.length);
    const view = viewOf(payload);
    view.setUint32(0, refusal.error);
    view.setUint16(4, message.length);
    payload.set(message, 6);
    encodeFinalChunk(this.#chunkView, NBD_REPLY_TYPE_ERROR, cookieHigh, cookieLow, payload.length);
    this.#port.send(this.#chunkHeader, [payload]);
  }

  #violation(found: string): Step {
    this.#stage = 'ended';
    this.#port.destroy(`the client broke the protocol: ${found}`);
    return 'ended';
  }
}

/** "Error values"; `NBD_ENOTSUP` is allowed for nothing but a fast zero. */
function errorOf(error: Exclude<BlockError, 'shutting-down'>, fastZero: boolean): Refusal {
  switch (error) {
    case 'io-error':
      return { error: NBD_EIO, message: 'the disk failed' };
    case 'no-space':
      return { error: NBD_ENOSPC, message: 'there is no space left on the disk' };
    case 'not-permitted':
      return { error: NBD_EPERM, message: 'the device does not permit this now' };
    case 'not-supported':
      return { error: fastZero ? NBD_ENOTSUP : NBD_EINVAL, message: 'the device cannot do this' };
    default:
      return assertNever(error, 'error of a device');
  }
}
