/**
 * One client of the NBD server, from the greeting to the end of the connection: bytes in, messages out through a port.
 * Sockets, timers and devices are not here.
 *
 * Invariants: at most one step runs at a time, whether bytes arrived, a request settled (perhaps within a step) or the
 * output drained; reading is paused exactly while the parser is blocked by a limit; after the end nothing is sent and
 * nothing is kept. A device may hold requests for any time: the session then waits, also for a disconnecting client.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { ByteQueue } from './byte-queue.ts';
import type { ExportTable } from './export-table.ts';
import { ServerHandshake } from './server-handshake.ts';
import { ServerTransmission } from './server-transmission.ts';
import type { SessionPort, Step } from './session-port.ts';

/** A client must have chosen its export by then. */
export const handshakeTimeoutMs = 30_000;

export class ServerSession {
  readonly #port: SessionPort;
  readonly #queue = new ByteQueue();
  readonly #handshake: ServerHandshake;
  readonly #handshakeTimer: Timer;
  #transmission: ServerTransmission | undefined;
  #ended = false;
  #stepping = false;
  #blocked = false;

  constructor(exports: ExportTable, port: SessionPort, clock: Clock) {
    this.#port = port;
    this.#handshakeTimer = clock.after(handshakeTimeoutMs, () => {
      this.shutdown(`the client chose no export within ${handshakeTimeoutMs} ms`);
    });
    this.#handshake = new ServerHandshake(exports, port);
  }

  /** The export that the client uses, once it has chosen. */
  get exportName(): string | undefined {
    return this.#handshake.negotiated?.exportName;
  }

  /** Requests that the device has, also after the end of the connection. */
  get inFlightCount(): number {
    return this.#transmission?.inFlightCount ?? 0;
  }

  /** Bytes that came in and could not be begun yet. */
  get unparsedBytes(): number {
    return this.#queue.lengthBytes;
  }

  /** Bytes of the client, cut anywhere. */
  received(bytes: Uint8Array): void {
    if (this.#ended) return;
    this.#queue.push(bytes);
    if (!this.#blocked) this.#proceed();
  }

  /** The operating system took queued output. */
  drained(): void {
    if (this.#blocked) this.#proceed();
  }

  /** The connection is gone. Requests in flight complete into nothing. */
  closed(): void {
    this.#end();
  }

  /** Ends the connection now. Requests in flight are not answered, so that the client knows nothing of them. */
  shutdown(because: string): void {
    if (this.#ended) return;
    this.#end();
    this.#port.destroy(because);
  }

  #proceed(): void {
    if (this.#stepping || this.#ended) return;
    this.#stepping = true;
    let step: Step = 'again';
    while (step === 'again') step = this.#step();
    this.#stepping = false;
    if (step === 'ended') return this.#end();
    const blocked = step === 'blocked';
    if (blocked === this.#blocked) return;
    this.#blocked = blocked;
    if (blocked) this.#port.pause();
    else this.#port.resume();
  }

  #step(): Step {
    if (this.#ended) return 'ended';
    if (this.#transmission !== undefined) return this.#transmission.step(this.#queue);
    const step = this.#handshake.step(this.#queue);
    const { negotiated } = this.#handshake;
    if (negotiated === undefined) return step;
    this.#handshakeTimer.cancel();
    this.#transmission = new ServerTransmission(negotiated, this.#port, () => this.#settled());
    return 'again';
  }

  /** A request completed: there may be room for the next, or a disconnecting client waited for it. */
  #settled(): void {
    if (this.#blocked || this.#transmission?.finishing === true) this.#proceed();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#handshakeTimer.cancel();
    this.#transmission?.end();
    this.#queue.skip(this.#queue.lengthBytes);
  }
}
