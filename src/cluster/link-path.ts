/**
 * One of the networks between the two nodes: its connection, if there is one, cut into frames, with heartbeats of its own and
 * the silence on it measured. A newer connection supersedes an older one. It does not know which network is in use, nor what any
 * frame but a heartbeat means.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { PeerChannel } from '../engine/peer-channel.ts';
import { type FrameHeader, FrameParser, FrameType } from '../link/frames.ts';
import type { LinkConnection, LinkHandler, LinkTransport } from '../link/transport.ts';
import { PathWatch } from './path-watch.ts';

export interface LinkPathEvents {
  /** Authenticated, and heartbeats flow. */
  opened(path: LinkPath): void;
  /** Any frame but a heartbeat; a string says how it breaks the protocol. */
  frame(path: LinkPath, header: FrameHeader, payload: readonly Uint8Array[]): string | undefined;
  /** The connection is gone, from whichever side. */
  lost(path: LinkPath, because: string): void;
  /** No connection could be made; for people. */
  failed(path: LinkPath, because: string): void;
}

export class LinkPath implements LinkHandler {
  /** In the order of the configuration, which is the order of preference. */
  readonly index: number;
  readonly watch: PathWatch;
  /** Why there is no connection, for people. */
  problem = '';
  readonly #transport: LinkTransport;
  readonly #clock: Clock;
  readonly #heartbeatIntervalMs: number;
  readonly #events: LinkPathEvents;
  #channel: PeerChannel | undefined;
  #parser: FrameParser | undefined;
  #heartbeat: Timer | undefined;
  #started = false;
  #changedMs: number;

  constructor(
    index: number,
    transport: LinkTransport,
    clock: Clock,
    heartbeatIntervalMs: number,
    events: LinkPathEvents,
  ) {
    this.index = index;
    this.#transport = transport;
    this.#clock = clock;
    this.#heartbeatIntervalMs = heartbeatIntervalMs;
    this.#events = events;
    this.watch = new PathWatch(clock);
    this.#changedMs = clock.nowMs();
  }

  /** Lives exactly as long as the connection. */
  get channel(): PeerChannel | undefined {
    return this.#channel;
  }

  /** Since its connection was made, taken into use, or lost. */
  get changedAgeMs(): number {
    return this.#clock.nowMs() - this.#changedMs;
  }

  start(): void {
    this.#started = true;
    this.watch.restart();
    this.#transport.start(this);
  }

  stop(because: string): void {
    this.#started = false;
    this.#transport.stop();
    this.drop(because);
  }

  /** Ends the connection from this side; `lost` is reported. The transport makes a new one by itself. */
  drop(because: string): void {
    const channel = this.#channel;
    if (channel === undefined) return;
    this.#forget(because);
    channel.connection.destroy(because);
  }

  /** The path is in use from now on: the peer learns at once that it is heard. */
  takeIntoUse(): void {
    this.#changedMs = this.#clock.nowMs();
    this.#beat();
  }

  #beat(): void {
    this.#heartbeat?.cancel();
    const { own, returned } = this.watch.stamps;
    this.#channel?.heartbeat(Math.min(Math.round(this.watch.unheardMs), 2 ** 31), own, returned);
    this.#heartbeat = this.#clock.after(this.#heartbeatIntervalMs, () => this.#beat());
  }

  opened(connection: LinkConnection): void {
    this.drop('superseded by a newer connection');
    // It was on its way when the module stopped; or the loss of the earlier one was what a stop waited for.
    if (!this.#started) return connection.destroy('this module is stopped');
    const channel = new PeerChannel(connection);
    this.#channel = channel;
    this.#parser = new FrameParser({ frame: (header, payload) => this.#frame(channel, header, payload) });
    this.problem = '';
    this.#changedMs = this.#clock.nowMs();
    this.watch.opened();
    this.#beat();
    this.#events.opened(this);
  }

  received(connection: LinkConnection, bytes: Uint8Array): void {
    if (this.#channel?.connection !== connection) return;
    this.watch.observeBytes();
    const problem = this.#parser?.received(bytes);
    if (problem !== undefined) this.drop(`the peer sent ${problem}`);
  }

  closed(connection: LinkConnection, because: string): void {
    if (this.#channel?.connection === connection) this.#forget(because);
  }

  failed(because: string): void {
    this.problem = because;
    this.#events.failed(this, because);
  }

  #forget(because: string): void {
    this.#channel?.close();
    this.#parser?.stop();
    this.#heartbeat?.cancel();
    this.#channel = undefined;
    this.#parser = undefined;
    this.problem = because;
    this.#changedMs = this.#clock.nowMs();
    this.#events.lost(this, because);
  }

  #frame(channel: PeerChannel, header: FrameHeader, payload: readonly Uint8Array[]): void {
    if (header.type === FrameType.heartbeat) {
      this.watch.observeHeartbeat(header.lengthBytes, header.offsetBytes, header.sequence);
      return;
    }
    const problem = this.#events.frame(this, header, payload);
    if (problem !== undefined && this.#channel === channel) this.drop(`the peer sent ${problem}`);
  }
}
