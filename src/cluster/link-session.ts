/**
 * The connection to the peer as the cluster rules see it: at most one at a time, cut into frames, with heartbeats, and the
 * silence of the peer measured. A newer connection supersedes an older one. It does not know what the messages mean.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { PeerChannel } from '../engine/peer-channel.ts';
import { controlBytesMax, type ControlMessage, parseControl } from '../link/control-messages.ts';
import { type FrameHeader, FrameParser, FrameType, joinChunks } from '../link/frames.ts';
import type { LinkConnection, LinkHandler, LinkTransport } from '../link/transport.ts';
import { PeerWatch } from './peer-watch.ts';

export interface LinkSessionEvents {
  opened(channel: PeerChannel): void;
  control(message: ControlMessage): void;
  /** A request of the peer's engine; a string says how it breaks the protocol. */
  request(header: FrameHeader, payload: readonly Uint8Array[]): string | undefined;
  dirtyBits(header: FrameHeader, bits: Uint8Array): string | undefined;
  lost(because: string): void;
  /** No connection could be made; for people. */
  failed(because: string): void;
}

export class LinkSession implements LinkHandler {
  readonly watch: PeerWatch;
  readonly #transport: LinkTransport;
  readonly #clock: Clock;
  readonly #heartbeatIntervalMs: number;
  readonly #events: LinkSessionEvents;
  #channel: PeerChannel | undefined;
  #parser: FrameParser | undefined;
  #heartbeat: Timer | undefined;
  #started = false;

  constructor(
    transport: LinkTransport,
    clock: Clock,
    heartbeatIntervalMs: number,
    events: LinkSessionEvents,
  ) {
    this.#transport = transport;
    this.#clock = clock;
    this.#heartbeatIntervalMs = heartbeatIntervalMs;
    this.#events = events;
    this.watch = new PeerWatch(clock);
  }

  get channel(): PeerChannel | undefined {
    return this.#channel;
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

  opened(connection: LinkConnection): void {
    this.drop('superseded by a newer connection');
    // It was on its way when the module stopped; or the loss of the earlier one was what a stop waited for.
    if (!this.#started) return connection.destroy('this module is stopped');
    const channel = new PeerChannel(connection);
    this.#channel = channel;
    this.#parser = new FrameParser({ frame: (header, payload) => this.#frame(channel, header, payload) });
    this.watch.opened();
    this.#beat();
    this.#events.opened(channel);
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
    this.#events.failed(because);
  }

  #forget(because: string): void {
    this.#channel?.close();
    this.#parser?.stop();
    this.#heartbeat?.cancel();
    this.#channel = undefined;
    this.#parser = undefined;
    this.#events.lost(because);
  }

  #beat(): void {
    this.#heartbeat?.cancel();
    const { own, returned } = this.watch.stamps;
    this.#channel?.heartbeat(Math.min(Math.round(this.watch.heardAgeMs), 2 ** 31), own, returned);
    this.#heartbeat = this.#clock.after(this.#heartbeatIntervalMs, () => this.#beat());
  }

  #frame(channel: PeerChannel, header: FrameHeader, payload: readonly Uint8Array[]): void {
    const problem = this.#dispatch(channel, header, payload);
    if (problem !== undefined && this.#channel === channel) this.drop(`the peer sent ${problem}`);
  }

  #dispatch(channel: PeerChannel, header: FrameHeader, payload: readonly Uint8Array[]): string | undefined {
    switch (header.type) {
      case FrameType.heartbeat:
        this.watch.observeHeartbeat(header.lengthBytes, header.offsetBytes, header.sequence);
        return undefined;
      case FrameType.control: {
        if (header.payloadBytes > controlBytesMax) return 'a control message that is too large';
        const message = parseControl(joinChunks(payload));
        if (typeof message === 'string') return message;
        this.#events.control(message);
        return undefined;
      }
      case FrameType.done:
      case FrameType.checksumReply:
        return channel.answerArrived(header, payload) ? undefined : 'an answer to nothing that was asked';
      case FrameType.dirtyBits:
        return this.#events.dirtyBits(header, joinChunks(payload));
      case FrameType.write:
      case FrameType.zero:
      case FrameType.trim:
      case FrameType.flush:
      case FrameType.checksumRequest:
      case FrameType.resyncWrite:
      case FrameType.resyncZero:
        return this.#events.request(header, payload);
      default:
        return `a frame of unknown type ${header.type}`;
    }
  }
}
