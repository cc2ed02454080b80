/**
 * One open connection of the link, over a duplex stream that is already authenticated.
 *
 * Invariants: bytes leave in the order of `send`, short messages of one callback of the event loop in one corked write,
 * and no payload is copied here; `closed` is reported exactly once, never from inside a call of the handler's
 * own; after it nothing is received. While cut (fault injection) nothing leaves, nothing arrives, and the end
 * of the stream is not noticed.
 */
import type { Duplex } from 'node:stream';
import type { NodeName } from '../base/identity.ts';
import type { LinkConnection, LinkHandler } from '../link/transport.ts';

/**
 * A payload that begins with a chunk of this length leaves at once, chunk by chunk, when it is to be encrypted: buffers that are corked
 * together are copied into one before that, which pays for small ones only.
 */
const directChunkBytesMin = 16 * 1024;

export class StreamConnection implements LinkConnection {
  readonly peer: NodeName;
  readonly #stream: Duplex;
  readonly #handler: LinkHandler;
  /** Tells the transport, just before `closed` is reported. */
  readonly #gone: (connection: StreamConnection) => void;
  readonly #isEncrypted: boolean;
  #corked = false;
  #cut = false;
  #open = true;
  #reported = false;
  /** Chunks held while cut, oldest first. */
  #heldToSend: Uint8Array[] = [];
  #heldToSendBytes = 0;
  #heldReceived: Uint8Array[] = [];
  #heldEnd: string | undefined;

  constructor(
    peer: NodeName,
    stream: Duplex,
    handler: LinkHandler,
    gone: (connection: StreamConnection) => void,
    isEncrypted: boolean,
  ) {
    this.#isEncrypted = isEncrypted;
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
    if (this.#cut) return this.#hold(header, payload);
    const stream = this.#stream;
    if (!this.#corked) {
      this.#corked = true;
      stream.cork();
      // Not setImmediate: encryption then overlaps with the other callbacks of the turn, about 1.5 times the
      // round trips.
      process.nextTick(this.#endOfTurn);
    }
    stream.write(header);
    const isLong = this.#isEncrypted && (payload[0]?.length ?? 0) >= directChunkBytesMin;
    if (isLong) stream.uncork();
    for (const chunk of payload) stream.write(chunk);
    if (isLong) stream.cork();
  }

  queuedBytes(): number {
    return this.#stream.writableLength + this.#heldToSendBytes;
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
    const toSend = this.#heldToSend;
    this.#heldToSend = [];
    this.#heldToSendBytes = 0;
    for (const chunk of toSend) this.send(chunk, []);
    this.#stream.resume();
  }

  readonly #endOfTurn = (): void => {
    this.#corked = false;
    this.#stream.uncork();
  };

  #hold(header: Uint8Array, payload: readonly Uint8Array[]): void {
    for (const chunk of [header, ...payload]) {
      this.#heldToSend.push(chunk);
      this.#heldToSendBytes += chunk.length;
    }
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
    this.#heldToSend = [];
    this.#heldToSendBytes = 0;
    this.#heldReceived = [];
  }

  #report(because: string): void {
    if (this.#reported) return;
    this.#reported = true;
    this.#gone(this);
    this.#handler.closed(this, because);
  }
}
