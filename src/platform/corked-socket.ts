/**
 * A socket that gathers everything sent in one turn of the event loop and hands it to the operating system in one call.
 *
 * Invariants: bytes leave in the order of `send`; headers are copied into a slab that is never reused, so that small
 * messages without payload become one buffer; payload is never copied unless it is small enough to be cheaper that way.
 */
import type { Socket } from 'node:net';

/** Headers and small payloads are gathered in pieces of this size. */
const slabBytes = 64 * 1024;
/** A payload chunk up to this length is copied beside its header: a buffer of its own costs more. */
const copiedChunkBytesMax = 4096;
/** A client that does not take the last replies is cut off then. */
const closeTimeoutMs = 5_000;

export interface CorkedSocketHandler {
  received(bytes: Uint8Array): void;
  /** All queued output was taken by the operating system after there was some. */
  drained(): void;
  closed(because: string): void;
}

export class CorkedSocket {
  readonly #socket: Socket;
  /** Complete buffers of this turn, in order; the open run of the slab follows them. */
  #buffers: Uint8Array[] = [];
  #slab = Buffer.allocUnsafeSlow(slabBytes);
  #runStart = 0;
  #runEnd = 0;
  /** Bytes of this turn that the socket does not have yet. */
  #gatheredBytes = 0;
  #flushScheduled = false;
  #because = 'the other side closed the connection';
  #closing = false;
  readonly #flush = (): void => {
    this.#flushScheduled = false;
    this.#writeOut();
  };

  constructor(socket: Socket, handler: CorkedSocketHandler) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => {
      if (!this.#closing) handler.received(bytes);
    });
    socket.on('drain', () => handler.drained());
    socket.on('error', (error) => {
      this.#because = error.message;
    });
    socket.on('end', () => this.destroy(this.#because));
    socket.on('close', () => handler.closed(this.#because));
  }

  /** Copies `header`; takes over `chunks`. */
  send(header: Uint8Array, chunks: readonly Uint8Array[]): void {
    if (this.#closing) return;
    this.#gather(header);
    for (const chunk of chunks) {
      if (chunk.length <= copiedChunkBytesMax) this.#gather(chunk);
      else this.#append(chunk);
    }
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(this.#flush);
  }

  queuedBytes(): number {
    return this.#gatheredBytes + this.#socket.writableLength;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Sends what is queued, then closes; within `closeTimeoutMs`. Idempotent. */
  close(because: string): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#because = because;
    this.#writeOut();
    this.#socket.destroySoon();
    const timer = setTimeout(() => this.#socket.destroy(), closeTimeoutMs);
    this.#socket.once('close', () => clearTimeout(timer));
  }

  /** Closes at once and drops what is queued. Idempotent. */
  destroy(because: string): void {
    if (!this.#closing) this.#because = because;
    this.#closing = true;
    this.#buffers = [];
    this.#runEnd = this.#runStart;
    this.#gatheredBytes = 0;
    this.#socket.destroy();
  }

  #gather(bytes: Uint8Array): void {
    if (this.#runEnd + bytes.length > this.#slab.length) {
      this.#closeRun();
      this.#slab = Buffer.allocUnsafeSlow(Math.max(slabBytes, bytes.length));
      this.#runStart = 0;
      this.#runEnd = 0;
    }
    this.#slab.set(bytes, this.#runEnd);
    this.#runEnd += bytes.length;
    this.#gatheredBytes += bytes.length;
  }

  #append(chunk: Uint8Array): void {
    this.#closeRun();
    this.#buffers.push(chunk);
    this.#gatheredBytes += chunk.length;
  }

  #closeRun(): void {
    if (this.#runEnd === this.#runStart) return;
    this.#buffers.push(this.#slab.subarray(this.#runStart, this.#runEnd));
    this.#runStart = this.#runEnd;
  }

  #writeOut(): void {
    this.#closeRun();
    const buffers = this.#buffers;
    if (buffers.length === 0) return;
    this.#buffers = [];
    this.#gatheredBytes = 0;
    if (buffers.length === 1) {
      const [only] = buffers;
      if (only !== undefined) this.#socket.write(only);
      return;
    }
    this.#socket.cork();
    for (const buffer of buffers) this.#socket.write(buffer);
    this.#socket.uncork();
  }
}
