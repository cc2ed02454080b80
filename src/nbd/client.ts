/**
 * An NBD client: negotiates one export with structured replies and `base:allocation` where the server has them, then keeps
 * many requests in flight. For tools, tests and simulated guests: it makes a promise per request and copies read data
 * into one array.
 *
 * Invariants: every promise settles: with its reply, or with a `WorldError` when the connection ends or the request
 * deadline passes (which ends the connection, as a late reply could not be told from a stuck server). Replies that name
 * no request, lie outside it or announce more than it can have end the connection. What was not answered may or may not
 * have happened. It does not reconnect and never repeats a request.
 */
import { assertInvariant } from '../base/assert.ts';
import type { AllocationExtent } from '../base/block-device.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { WorldError } from '../base/errors.ts';
import { ByteQueue } from './byte-queue.ts';
import { ClientHandshake, type NegotiatedExport } from './client-handshake.ts';
import { PendingRequest, ReplyParser } from './client-replies.ts';
import {
  encodeRequest,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from './protocol.ts';
import { noChunks } from './session-port.ts';

/** Requests of one client that wait for their reply. */
export const clientRequestsMax = 1024;

/** The edge of a client, as a port; `send` and `close` as in `SessionPort`. */
export interface ClientPort {
  send(header: Uint8Array, chunks: readonly Uint8Array[]): void;
  close(because: string): void;
  destroy(because: string): void;
}

export interface NbdClientOptions {
  readonly exportName: string;
  /** For messages: where the server is. */
  readonly address: string;
  readonly handshakeTimeoutMs: number;
  /** Longest wait for the reply to one request; servers of replicated disks may hold requests for minutes. */
  readonly requestTimeoutMs: number;
}

export class NbdClient {
  /** Settles when the export is chosen. */
  readonly negotiated: Promise<NegotiatedExport>;
  /** Resolves, with the reason, when the connection is over. Never rejects. */
  readonly ended: Promise<string>;
  readonly #port: ClientPort;
  readonly #clock: Clock;
  readonly #options: NbdClientOptions;
  readonly #queue = new ByteQueue();
  readonly #handshake: ClientHandshake;
  /** Waiting for replies, oldest first, by cookie. */
  readonly #pending = new Map<number, PendingRequest>();
  readonly #replies = new ReplyParser(this.#pending);
  #resolveNegotiated: (negotiated: NegotiatedExport) => void = () => {};
  #rejectNegotiated: (error: WorldError) => void = () => {};
  #resolveEnded: (because: string) => void = () => {};
  #nextCookie = 1;
  #timer: Timer;
  #stage: 'handshake' | 'transmission' | 'disconnecting' | 'ended' = 'handshake';

  constructor(port: ClientPort, clock: Clock, options: NbdClientOptions) {
    this.#port = port;
    this.#clock = clock;
    this.#options = options;
    this.#handshake = new ClientHandshake(options.exportName, options.address, (bytes) =>
      port.send(bytes, noChunks),
    );
    this.negotiated = new Promise((resolve, reject) => {
      this.#resolveNegotiated = resolve;
      this.#rejectNegotiated = reject;
    });
    // The connection may fail while nobody waits for it; `ended` tells then.
    this.negotiated.catch(() => {});
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    this.#timer = clock.after(options.handshakeTimeoutMs, () => {
      const found = `no end of the negotiation within ${options.handshakeTimeoutMs} ms`;
      this.#fail(this.#problem('nbd-unreachable', found, 'check that the server runs and serves the export'));
    });
  }

  /** `fragment: false` asks for the data in one piece (`NBD_CMD_FLAG_DF`). */
  read(offsetBytes: number, lengthBytes: number, options: { fragment?: boolean } = {}): Promise<Uint8Array> {
    const flags = options.fragment === false ? NBD_CMD_FLAG_DF : 0;
    const pending = this.#request(NBD_CMD_READ, flags, offsetBytes, lengthBytes, noChunks);
    return pending.settled.then(() => pending.data);
  }

  async write(offsetBytes: number, data: Uint8Array, options: { fua?: boolean } = {}): Promise<void> {
    const flags = options.fua === true ? NBD_CMD_FLAG_FUA : 0;
    await this.#request(NBD_CMD_WRITE, flags, offsetBytes, data.length, [data]).settled;
  }

  async flush(): Promise<void> {
    await this.#request(NBD_CMD_FLUSH, 0, 0, 0, noChunks).settled;
  }

  async trim(offsetBytes: number, lengthBytes: number, options: { fua?: boolean } = {}): Promise<void> {
    const flags = options.fua === true ? NBD_CMD_FLAG_FUA : 0;
    await this.#request(NBD_CMD_TRIM, flags, offsetBytes, lengthBytes, noChunks).settled;
  }

  async zero(
    offsetBytes: number,
    lengthBytes: number,
    options: { fua?: boolean; noHole?: boolean; fast?: boolean } = {},
  ): Promise<void> {
    const flags =
      (options.fua === true ? NBD_CMD_FLAG_FUA : 0) |
      (options.noHole === true ? NBD_CMD_FLAG_NO_HOLE : 0) |
      (options.fast === true ? NBD_CMD_FLAG_FAST_ZERO : 0);
    await this.#request(NBD_CMD_WRITE_ZEROES, flags, offsetBytes, lengthBytes, noChunks).settled;
  }

  /** The allocation map from `offsetBytes` on; it covers at least one byte. `one`: only its first extent. */
  blockStatus(
    offsetBytes: number,
    lengthBytes: number,
    options: { one?: boolean } = {},
  ): Promise<readonly AllocationExtent[]> {
    const flags = options.one === true ? NBD_CMD_FLAG_REQ_ONE : 0;
    const pending = this.#request(NBD_CMD_BLOCK_STATUS, flags, offsetBytes, lengthBytes, noChunks);
    return pending.settled.then(() => pending.extents);
  }

  /** Ends the session as the protocol wants it; requests still in flight are answered by a well-behaved server. */
  disconnect(): Promise<string> {
    if (this.#stage === 'transmission') {
      this.#stage = 'disconnecting';
      const header = { flags: 0, cookieHigh: 0, cookieLow: 0, offsetBytes: 0, lengthBytes: 0 };
      this.#port.send(encodeRequest({ command: NBD_CMD_DISC, ...header }), noChunks);
      this.#timer.cancel();
      this.#timer = this.#clock.after(this.#options.requestTimeoutMs, () => this.destroy());
    } else if (this.#stage === 'handshake') {
      this.destroy();
    }
    return this.ended;
  }

  /** Drops the connection at once, as a client that dies would. */
  destroy(): void {
    this.#fail(this.#problem('nbd-connection-lost', 'this side closed the connection', 'connect again'));
  }

  received(bytes: Uint8Array): void {
    if (this.#stage === 'ended') return;
    this.#queue.push(bytes);
    if (this.#stage === 'handshake') this.#continueHandshake();
    if (this.#stage === 'handshake') return;
    const violation = this.#replies.proceed(this.#queue);
    if (violation !== undefined) return this.#fail(this.#violation(violation));
  }

  /** The connection is gone. */
  closed(because: string): void {
    if (this.#stage === 'handshake') {
      const next = 'check that the server runs and has room for another client';
      return this.#fail(this.#problem('nbd-unreachable', because, next));
    }
    const next = 'connect again; read back what was not confirmed';
    this.#fail(this.#problem('nbd-connection-lost', because, next));
  }

  #continueHandshake(): void {
    const outcome = this.#handshake.proceed(this.#queue);
    if (outcome === undefined) return;
    if (outcome instanceof WorldError) return this.#fail(outcome);
    this.#stage = 'transmission';
    this.#timer.cancel();
    this.#resolveNegotiated(outcome);
  }

  #request(
    command: number,
    flags: number,
    offsetBytes: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[],
  ): PendingRequest {
    const deadlineMs = this.#clock.nowMs() + this.#options.requestTimeoutMs;
    const pending = new PendingRequest(command, offsetBytes, lengthBytes, deadlineMs, this.#options.address);
    if (this.#stage !== 'transmission') {
      const found = this.#stage === 'handshake' ? 'an unfinished negotiation' : 'a connection that is over';
      pending.reject(this.#problem('nbd-connection-lost', found, 'connect again'));
      return pending;
    }
    assertInvariant(
      this.#pending.size < clientRequestsMax,
      `at most ${clientRequestsMax} requests in flight`,
    );
    const cookie = this.#nextCookie;
    this.#nextCookie += 1;
    this.#pending.set(cookie, pending);
    if (this.#pending.size === 1) this.#watch(deadlineMs);
    const cookieHigh = Math.floor(cookie / 2 ** 32);
    const cookieLow = cookie >>> 0;
    this.#port.send(
      encodeRequest({ flags, command, cookieHigh, cookieLow, offsetBytes, lengthBytes }),
      chunks,
    );
    return pending;
  }

  /** One timer watches the oldest request; all have the same time, so the oldest is due first. */
  #watch(deadlineMs: number): void {
    this.#timer.cancel();
    this.#timer = this.#clock.after(Math.max(0, deadlineMs - this.#clock.nowMs()), () => {
      const [oldest] = this.#pending.values();
      if (oldest === undefined || this.#stage === 'ended') return;
      if (oldest.deadlineMs > this.#clock.nowMs()) return this.#watch(oldest.deadlineMs);
      const found = `no reply within ${this.#options.requestTimeoutMs} ms`;
      this.#fail(this.#problem('nbd-connection-lost', found, 'see why the server does not answer'));
    });
  }

  #fail(error: WorldError): void {
    if (this.#stage === 'ended') return;
    this.#stage = 'ended';
    this.#timer.cancel();
    this.#queue.skip(this.#queue.lengthBytes);
    this.#port.destroy(error.found);
    this.#rejectNegotiated(error);
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
    this.#resolveEnded(error.found);
  }

  #problem(code: 'nbd-unreachable' | 'nbd-connection-lost', found: string, next: string): WorldError {
    const wanted = `export "${this.#options.exportName}" at ${this.#options.address}`;
    return new WorldError(code, { wanted, found, next });
  }

  #violation(found: string): WorldError {
    const wanted = `NBD replies from ${this.#options.address}`;
    return new WorldError('protocol-violation', {
      wanted,
      found,
      next: 'check what listens at this address',
    });
  }
}
