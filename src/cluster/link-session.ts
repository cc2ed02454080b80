/**
 * The connection to the peer as the cluster rules see it: at most one at a time, over whichever of 1..n networks is in use. It
 * does not know what the messages mean, but for the one that says which network is used.
 *
 * Each network has a path with a connection and heartbeats of its own (link-path.ts). The node that dials chooses the path in
 * use, and says so by `use-path` on it; from then on this connection carries everything, and for both sides it is a new connection. A
 * connection is chosen once in its life: the path that is no longer in use is closed and dialled anew, so that nothing that was
 * said on it can arrive later.
 *
 *   what happens                                  which rule covers it
 *   the path in use closes                        lost; the chooser takes the first path that lives, at once
 *   nothing is heard on it, another one lives     whoever notices closes it; the chooser then takes the other one
 *   it is cut in one direction                    who hears nothing closes it, the other one sees that, or hears nothing either
 *   every path is silent                          closed after lostAfterMs; the rules of a lost peer decide
 *   the process stalls, here or there             every path is silent for as long: none of them lives, nothing is changed
 *   a path is slow, or its queue long             any bytes count as heard: only silence changes the path, never slowness
 *   a path comes back                             standby; the path in use is left only when it is lost
 *   a path opens that is not the first choice     waits a heartbeat for those before it, so that a start does not depend on luck
 *   one side has closed, the other does not know  it hears nothing more: the second row
 *   `use-path` arrives while another is in use    that one is closed first: the choice of the peer is newer
 *   an older `use-path` arrives after a newer one its epoch is lower: that connection is closed
 *   the chooser was restarted and counts anew     another instance: its word holds
 *   a path in use gets a newer connection         superseded like any other; it is standby until it is chosen again
 *   a frame of the engine on a standby path       breaks the protocol; the connection ends
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import { controlBytesMax, type ControlMessage, parseControl } from '../link/control-messages.ts';
import { type FrameHeader, FrameType, joinChunks } from '../link/frames.ts';
import type { LinkTransport } from '../link/transport.ts';
import type { Timers } from './decide-alone.ts';
import { LinkPath } from './link-path.ts';
import { PeerWatch } from './peer-watch.ts';

/** A path on which so many heartbeats in a row are missing is silent. */
const missedHeartbeatsMax = 3;
/** How often silent paths are looked for. */
const lookIntervalMs = 100;

export interface LinkSettings {
  readonly timers: Pick<Timers, 'heartbeatIntervalMs' | 'lostAfterMs'>;
  /** This node chooses the path in use; the other one does not. */
  readonly chooses: boolean;
  /** This start of the process. */
  readonly instance: string;
}

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

/** A path as people see it. */
export interface PathFacts {
  readonly state: 'active' | 'standby' | 'down';
  /** Since its connection was made, taken into use, or lost. */
  readonly forMs: number;
  /** Since the peer was heard on it. */
  readonly heardMs: number;
  /** Why it is down; else empty. */
  readonly because: string;
}

type Choice = Extract<ControlMessage, { type: 'use-path' }>;

export class LinkSession {
  readonly watch: PeerWatch;
  readonly #paths: readonly LinkPath[];
  readonly #clock: Clock;
  readonly #settings: LinkSettings;
  readonly #events: LinkSessionEvents;
  #inUse: LinkPath | undefined;
  /** Counts the choices of this side. */
  #epoch = 0;
  /** The last choice of the peer. */
  #peerChoice: Choice | undefined;
  #look: Timer | undefined;

  /** `transports`: one per network, in the order of preference. */
  constructor(
    transports: readonly LinkTransport[],
    clock: Clock,
    settings: LinkSettings,
    events: LinkSessionEvents,
  ) {
    this.#clock = clock;
    this.#settings = settings;
    this.#events = events;
    this.#paths = transports.map(
      (transport, index) =>
        new LinkPath(index, transport, clock, settings.timers.heartbeatIntervalMs, {
          opened: () => this.#choose(),
          frame: (path, header, payload) => this.#frame(path, header, payload),
          lost: (path, because) => this.#lost(path, because),
          failed: (path, because) => {
            if (this.#inUse === undefined) events.failed(this.#named(path, because));
          },
        }),
    );
    this.watch = new PeerWatch(
      clock,
      this.#paths.map(({ watch }) => watch),
    );
  }

  get channel(): PeerChannel | undefined {
    return this.#inUse?.channel;
  }

  /** One per network, in the order of the configuration. */
  get paths(): readonly PathFacts[] {
    return this.#paths.map((path) => {
      const { watch, channel } = path;
      const state = path === this.#inUse ? 'active' : this.#lives(path) ? 'standby' : 'down';
      const silent = `silent for ${(watch.silenceMs / 1000).toFixed(1)} s`;
      const because = state !== 'down' ? '' : channel === undefined ? path.problem : silent;
      return { state, forMs: path.changedAgeMs, heardMs: watch.unheardMs, because };
    });
  }

  start(): void {
    for (const path of this.#paths) path.start();
    this.#lookAgain();
  }

  stop(because: string): void {
    this.#look?.cancel();
    for (const path of this.#paths) path.stop(because);
  }

  /** Ends the connection in use from this side; `lost` is reported. Another one is made, or chosen, by itself. */
  drop(because: string): void {
    this.#inUse?.drop(because);
  }

  // ---- which path ----------------------------------------------------------------------------------------------------

  #lookAgain(): void {
    this.#look = this.#clock.after(lookIntervalMs, () => {
      this.#lookAgain();
      for (const path of this.#paths) this.#dropIfSilent(path);
      this.#choose();
    });
  }

  get #silentAfterMs(): number {
    const { heartbeatIntervalMs, lostAfterMs } = this.#settings.timers;
    return Math.min(missedHeartbeatsMax * heartbeatIntervalMs, lostAfterMs);
  }

  /** Both hear each other on it. */
  #lives(path: LinkPath): boolean {
    return path.channel !== undefined && path.watch.silenceMs <= this.#silentAfterMs;
  }

  /** Only what this side hears counts, and of that every byte: what it sends may wait behind much data. */
  #dropIfSilent(path: LinkPath): void {
    const { unheardMs } = path.watch;
    const { lostAfterMs } = this.#settings.timers;
    const anotherLives = this.#paths.some((each) => each !== path && this.#lives(each));
    if (unheardMs > lostAfterMs) path.drop(`the peer has been silent for more than ${lostAfterMs} ms`);
    else if (anotherLives && unheardMs > this.#silentAfterMs)
      path.drop(`silent for more than ${this.#silentAfterMs} ms, while another network worked`);
  }

  #choose(): void {
    if (!this.#settings.chooses || this.#inUse !== undefined) return;
    const { heartbeatIntervalMs } = this.#settings.timers;
    const path = this.#paths.find(
      (each) => this.#lives(each) && (each.index === 0 || each.watch.openedAgeMs >= heartbeatIntervalMs),
    );
    if (path === undefined) return;
    this.#epoch += 1;
    path.channel?.control({ type: 'use-path', instance: this.#settings.instance, epoch: this.#epoch });
    this.#use(path);
  }

  #chosenByPeer(path: LinkPath, choice: Choice): string | undefined {
    if (this.#settings.chooses) return 'a choice of the network that is not its to make';
    const last = this.#peerChoice;
    if (choice.instance === last?.instance && choice.epoch <= last.epoch) {
      path.drop('the peer has chosen another network since');
      return undefined;
    }
    this.#peerChoice = choice;
    this.#inUse?.drop('the peer uses another network now');
    this.#use(path);
    return undefined;
  }

  #use(path: LinkPath): void {
    const { channel } = path;
    if (channel === undefined) return;
    this.#inUse = path;
    this.watch.connected(path.watch);
    path.takeIntoUse();
    this.#events.opened(channel);
  }

  #lost(path: LinkPath, because: string): void {
    if (this.#inUse !== path) return;
    this.#inUse = undefined;
    this.#events.lost(this.#named(path, because));
    // Whoever dropped it finishes first.
    this.#clock.after(0, () => this.#choose());
  }

  #named(path: LinkPath, because: string): string {
    return this.#paths.length === 1 ? because : `network ${path.index + 1}: ${because}`;
  }

  // ---- frames --------------------------------------------------------------------------------------------------------

  #frame(path: LinkPath, header: FrameHeader, payload: readonly Uint8Array[]): string | undefined {
    if (header.type === FrameType.control) {
      if (header.payloadBytes > controlBytesMax) return 'a control message that is too large';
      const message = parseControl(joinChunks(payload));
      if (typeof message === 'string') return message;
      if (path === this.#inUse) this.#events.control(message);
      else if (message.type === 'use-path') return this.#chosenByPeer(path, message);
      else return `a ${message.type} message on a network that is not in use`;
      return undefined;
    }
    const { channel } = path;
    if (path !== this.#inUse || channel === undefined) return 'a frame on a network that is not in use';
    switch (header.type) {
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
