/** The replies of a server, simple and structured, matched to the requests of a client. Untrusted bytes. */
import type { AllocationExtent } from '../base/block-device.ts';
import { WorldError } from '../base/errors.ts';
import { decodeBlockStatus } from './block-status.ts';
import type { ByteQueue } from './byte-queue.ts';
import { decodeText } from './option-data.ts';
import {
  describeError,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_READ,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_FLAG_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
  readUint64,
  simpleReplyBytes,
  stringBytesMax,
  structuredReplyHeaderBytes,
  viewOf,
} from './protocol.ts';

/** Overhead of a structured chunk beside its variable part. */
const chunkOverheadBytes = 64;
/** Longest list of extents that is accepted ("Structured reply types": 2^20 extents). */
const blockStatusBytesMax = 4 + 8 * 2 ** 20;

/** The server answered a request with an error value. */
export class NbdRequestError extends WorldError {
  /** "Error values", such as 28 for `NBD_ENOSPC`. */
  readonly errorValue: number;

  constructor(errorValue: number, wanted: string, message: string) {
    const found = message === '' ? describeError(errorValue) : `${describeError(errorValue)}: ${message}`;
    super('nbd-request-failed', { wanted, found, next: 'see the log of the server for the cause' });
    this.errorValue = errorValue;
  }
}

const commandNames = [
  'read',
  'write',
  'disconnect',
  'flush',
  'trim',
  'cache',
  'write zeroes',
  'block status',
];
const noData = new Uint8Array(0);

/** A request that waits for its reply. */
export class PendingRequest {
  readonly command: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly deadlineMs: number;
  readonly settled: Promise<void>;
  /** What a read returned; made when the first data arrive. */
  data: Uint8Array = noData;
  extents: readonly AllocationExtent[] = [];
  /** Bytes of `data` that arrived. */
  filledBytes = 0;
  error: NbdRequestError | undefined;
  resolve: () => void = () => {};
  reject: (error: WorldError) => void = () => {};
  readonly #address: string;

  constructor(
    command: number,
    offsetBytes: number,
    lengthBytes: number,
    deadlineMs: number,
    address: string,
  ) {
    this.command = command;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.deadlineMs = deadlineMs;
    this.#address = address;
    this.settled = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  /** The first error of a reply is the one that is told. */
  failWith(errorValue: number, message: string): void {
    const name = commandNames[this.command] ?? `command ${this.command}`;
    const wanted = `${name} of ${this.lengthBytes} bytes at ${this.offsetBytes} from ${this.#address}`;
    this.error ??= new NbdRequestError(errorValue, wanted, message);
  }

  /** The place in `data` for a piece of the answer; nothing when it lies outside the request. */
  place(offsetBytes: number, lengthBytes: number): Uint8Array | undefined {
    const start = offsetBytes - this.offsetBytes;
    if (this.command !== NBD_CMD_READ || start < 0 || start + lengthBytes > this.lengthBytes)
      return undefined;
    if (this.data.length === 0) this.data = new Uint8Array(this.lengthBytes);
    this.filledBytes += lengthBytes;
    return this.data.subarray(start, start + lengthBytes);
  }
}

interface ReplyHeader {
  readonly cookie: number;
  readonly pending: PendingRequest;
  readonly final: boolean;
  /** `simple`, or the type of the structured chunk. */
  readonly kind: number | 'simple';
  readonly payloadBytes: number;
}

export class ReplyParser {
  readonly #pending: Map<number, PendingRequest>;
  #magic: number | undefined;
  #header: ReplyHeader | undefined;

  /** Settles requests of `pending` and removes them from it. */
  constructor(pending: Map<number, PendingRequest>) {
    this.#pending = pending;
  }

  /** Consumes all complete replies; what the server did wrong, or nothing. */
  proceed(queue: ByteQueue): string | undefined {
    while (true) {
      if (this.#header === undefined) {
        if (this.#magic === undefined) {
          if (!queue.locate(4)) return undefined;
          this.#magic = queue.view.getUint32(queue.at);
        }
        const header = this.#readHeader(queue, this.#magic);
        if (header === undefined || typeof header === 'string') return header;
        this.#magic = undefined;
        this.#header = header;
      }
      const header = this.#header;
      if (queue.lengthBytes < header.payloadBytes) return undefined;
      this.#header = undefined;
      const violation = takePayload(header, queue.take(header.payloadBytes));
      if (violation !== undefined) return violation;
      if (!header.final) continue;
      this.#pending.delete(header.cookie);
      const incomplete = settle(header.pending);
      if (incomplete !== undefined) return incomplete;
    }
  }

  #readHeader(queue: ByteQueue, magic: number): ReplyHeader | string | undefined {
    if (magic === NBD_SIMPLE_REPLY_MAGIC) {
      if (!queue.locate(simpleReplyBytes - 4)) return undefined;
      const error = queue.view.getUint32(queue.at);
      const cookie = readUint64(queue.view, queue.at + 4);
      const pending = this.#pending.get(cookie);
      if (pending === undefined) return 'a reply to no request';
      if (error !== 0) pending.failWith(error, '');
      const payloadBytes = error === 0 && pending.command === NBD_CMD_READ ? pending.lengthBytes : 0;
      return { cookie, pending, final: true, kind: 'simple', payloadBytes };
    }
    if (magic !== NBD_STRUCTURED_REPLY_MAGIC) return 'a reply without its magic number';
    if (!queue.locate(structuredReplyHeaderBytes - 4)) return undefined;
    const { view, at } = queue;
    const final = (view.getUint16(at) & NBD_REPLY_FLAG_DONE) !== 0;
    const kind = view.getUint16(at + 2);
    const cookie = readUint64(view, at + 4);
    const payloadBytes = view.getUint32(at + 12);
    const pending = this.#pending.get(cookie);
    if (pending === undefined) return 'a reply to no request';
    if (payloadBytes > payloadLimitBytes(kind, pending)) {
      return `a chunk of type ${kind} with ${payloadBytes} bytes`;
    }
    return { cookie, pending, final, kind, payloadBytes };
  }
}

function payloadLimitBytes(kind: number, pending: PendingRequest): number {
  if ((kind & NBD_REPLY_TYPE_FLAG_ERROR) !== 0) return stringBytesMax + chunkOverheadBytes;
  if (kind === NBD_REPLY_TYPE_BLOCK_STATUS) return blockStatusBytesMax;
  return pending.lengthBytes + chunkOverheadBytes;
}

/** What is wrong with the payload, or nothing. */
function takePayload({ kind, pending }: ReplyHeader, payload: Uint8Array): string | undefined {
  const view = viewOf(payload);
  if (kind === 'simple') {
    if (payload.length > 0) pending.place(pending.offsetBytes, payload.length)?.set(payload);
    return undefined;
  }
  if ((kind & NBD_REPLY_TYPE_FLAG_ERROR) !== 0) {
    if (payload.length < 6 || view.getUint16(4) > payload.length - 6) return 'a malformed error chunk';
    pending.failWith(view.getUint32(0), decodeText(payload.subarray(6, 6 + view.getUint16(4))) ?? '');
    return undefined;
  }
  switch (kind) {
    case NBD_REPLY_TYPE_NONE:
      return payload.length === 0 ? undefined : 'a chunk of type 0 with a payload';
    case NBD_REPLY_TYPE_OFFSET_DATA: {
      if (payload.length < 9) return 'a data chunk without data';
      const place = pending.place(readUint64(view, 0), payload.length - 8);
      place?.set(payload.subarray(8));
      return place === undefined ? 'data that were not asked for' : undefined;
    }
    case NBD_REPLY_TYPE_OFFSET_HOLE: {
      if (payload.length !== 12 || view.getUint32(8) === 0) return 'a malformed hole chunk';
      const place = pending.place(readUint64(view, 0), view.getUint32(8));
      return place === undefined ? 'a hole that was not asked for' : undefined;
    }
    case NBD_REPLY_TYPE_BLOCK_STATUS: {
      const extents = pending.command === NBD_CMD_BLOCK_STATUS && decodeBlockStatus(payload.subarray(4));
      if (extents === false || extents === undefined) return 'a malformed block status chunk';
      pending.extents = extents;
      return undefined;
    }
    default:
      return `a chunk of the unknown type ${kind}`;
  }
}

/** Tells the caller; the violation when a reply ended without everything that success means. */
function settle(pending: PendingRequest): string | undefined {
  if (pending.error !== undefined) {
    pending.reject(pending.error);
    return undefined;
  }
  const short = pending.command === NBD_CMD_READ && pending.filledBytes !== pending.lengthBytes;
  if (short || (pending.command === NBD_CMD_BLOCK_STATUS && pending.extents.length === 0)) {
    const violation = 'a reply that ended without what was asked for';
    pending.failWith(5, violation);
    if (pending.error !== undefined) pending.reject(pending.error);
    return violation;
  }
  pending.resolve();
  return undefined;
}
