/**
 * One open connection of the link, over a duplex stream that is already authenticated.
 *
 * Invariants: bytes leave in the order of `send`; what one callback of the event loop sends leaves in one write, when
 * encrypted in writes of at most `encryptedBatchBytesMax`, one after the other; no payload is copied here; `closed` is reported
 * exactly once, never from inside a call of the handler's own; after it nothing is received. While cut (fault injection)
 * nothing leaves, nothing arrives, and the end of the stream is not noticed.
 */
import type { Duplex } from 'node:stream';
import type { NodeName } from '../base/identity.ts';
import type { LinkConnection, LinkHandler } from '../link/transport.ts';

/**
 * Bytes that are encrypted in one go. The peer decrypts one batch while the next is encrypted. Node copies a batch of several buffers
 * into one before that, keeps that memory until a collection, and OpenSSL's buffer at the size of the longest batch for ever; a
 * batch that fits the processor's cache costs the least. Measured with writes of 1 MiB: 1.15 times the rate of no limit.
 */
export const encryptedBatchBytesMax = 256 * 1024;

export class StreamConnection implements LinkConnection {
  readonly peer: NodeName;
  readonly #stream: Duplex;
  readonly #handler: LinkHandler;
  /** Tells the transport, just before `closed` is reported. */
  readonly #gone: (connection: StreamConnection) => void;
  readonly #batchBytesMax: number;
  /** Chunks that the stream does not have yet, oldest first. */
  #queue: Uint8Array[] = [];
  #queueBytes = 0;
  /** The end of this callback, or of the batch that is being written, hands the next batch to the stream. */
  #batchComes = false;
  #cut = false;
  #open = true;
  #reported = false;
  #heldReceived: Uint8Array[] = [];
  #heldEnd: string | undefined;

  constructor(
    peer: NodeName,
    stream: Duplex,
    handler: LinkHandler,
    gone: (connection: StreamConnection) => void,
    isEncrypted: boolean,
  ) {
    this.#batchBytesMax = isEncrypted ? encryptedBatchBytesMax : Number.POSITIVE_INFINITY;
    this.peer = peer;
    this.#stream = stream;
    this.#handler = handler;
    this.#gone = gone;
    stream.on('data', (bytes: Uint8Array) => this.#arrived(bytes));
    stream.on('error', (error) => this.#ended(`the connection failed: ${error.message}`));
    stream.on('end', () => this.#ended('the peer closed the connection'));
    stream.on('close', () => this.#ended('the connection was closed'));
  }

  send(header: Uint8Array, payload: readonly Uint8Array[]): void {
    if (!this.#open) return;
    this.#append(header);
    for (const chunk of payload) this.#append(chunk);
    if (this.#batchComes || this.#cut) return;
    this.#batchComes = true;
    // Not setImmediate: encryption then overlaps with the other callbacks of the turn, about 1.5 times the
    // round trips.
    process.nextTick(this.#writeBatch);
  }

  queuedBytes(): number {
    return this.#queueBytes + this.#stream.writableLength;
  }

  destroy(because: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.#dropQueues();
    if (!this.#cut) this.#stream.destroy();
    queueMicrotask(() => this.#report(because));
  }

  /**
   * Like `destroy`, with `closed` reported before this returns. For the transport, outside of calls by the
   * handler.
   */
  close(because: string): void {
    this.destroy(because);
    this.#report(because);
  }

  /**
   * Cuts the cable or heals it. A connection that was destroyed while cut is closed on the wire when it
   * heals.
   */
  setCut(cut: boolean): void {
    if (cut === this.#cut) return;
    this.#cut = cut;
    if (cut) return void this.#stream.pause();
    if (!this.#open) return void this.#stream.destroy();
    const received = this.#heldReceived;
    this.#heldReceived = [];
    for (const bytes of received) this.#arrived(bytes);
    if (this.#heldEnd !== undefined) return this.#ended(this.#heldEnd);
    if (!this.#batchComes) this.#writeBatch();
    this.#stream.resume();
  }

  #append(chunk: Uint8Array): void {
    this.#queue.push(chunk);
    this.#queueBytes += chunk.length;
  }

  readonly #writeBatch = (error?: Error | null): void => {
    // The stream also tells by an event.
    if (error instanceof Error) return;
    this.#batchComes = this.#open && !this.#cut && this.#queue.length > 0;
    if (!this.#batchComes) return;
    const stream = this.#stream;
    const batch = this.#takeBatch();
    const last = batch.pop();
    if (batch.length > 0) stream.cork();
    for (const chunk of batch) stream.write(chunk);
    stream.write(last, this.#writeBatch);
    if (batch.length > 0) stream.uncork();
  };

  /** The oldest chunks up to the limit; a single one may be longer. */
  #takeBatch(): Uint8Array[] {
    const queue = this.#queue;
    let count = 0;
    let bytes = 0;
    for (const chunk of queue) {
      if (count > 0 && bytes + chunk.length > this.#batchBytesMax) break;
      count += 1;
      bytes += chunk.length;
    }
    this.#queueBytes -= bytes;
    this.#queue = queue.slice(count);
    return count === queue.length ? queue : queue.slice(0, count);
  }

  #arrived(bytes: Uint8Array): void {
    if (!this.#open) return;
    if (this.#cut) this.#heldReceived.push(bytes);
    else this.#handler.received(this, bytes);
  }

  #ended(because: string): void {
    if (!this.#open) return;
    if (this.#cut) {
      this.#heldEnd ??= because;
      return;
    }
    this.#open = false;
    this.#dropQueues();
    this.#stream.destroy();
    this.#report(because);
  }

  #dropQueues(): void {
    this.#queue = [];
    this.#queueBytes = 0;
    this.#heldReceived = [];
  }

  #report(because: string): void {
    if (this.#reported) return;
    this.#reported = true;
    this.#gone(this);
    this.#handler.closed(this, because);
  }
}
