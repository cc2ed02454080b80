/**
 * How long the peer has been silent on one network, seen from both ends. Each heartbeat says how long ago its sender last heard
 * this node there, so that a cut in one direction is seen by both at once, and gives back the time stamp of the last heartbeat
 * that its sender received: at that time, by this node's own clock, the peer certainly had not yet begun to miss it.
 *
 * What the measures decide is told in peer-watch.ts, which puts those of all networks together.
 */
import type { Clock } from '../base/clock.ts';

export class PathWatch {
  readonly #clock: Clock;
  #heardMs: number;
  #heardByPeerMs: number;
  #certainMs: number;
  #openedMs: number;
  /** Stamp of the last heartbeat of the peer on this connection, by its clock; 0: none yet. */
  #stampOfPeer = 0;
  #heartbeatMs: number;
  #heartbeatGapMaxMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#heardMs = clock.nowMs();
    this.#heardByPeerMs = this.#heardMs;
    this.#certainMs = this.#heardMs;
    this.#openedMs = this.#heardMs;
    this.#heartbeatMs = this.#heardMs;
  }

  /** Any bytes of the peer arrived. */
  observeBytes(): void {
    this.#heardMs = this.#clock.nowMs();
  }

  /**
   * A heartbeat arrived; the peer had heard this node `ageMs` before it sent it. `stamp` is to be given back; `returnedMs` is
   * the stamp of an own heartbeat of this connection, 0 for none.
   */
  observeHeartbeat(ageMs: number, stamp: number, returnedMs: number): void {
    this.#heardMs = this.#clock.nowMs();
    this.#heardByPeerMs = Math.max(this.#heardByPeerMs, this.#heardMs - ageMs);
    this.#heartbeatGapMaxMs = Math.max(this.#heartbeatGapMaxMs, this.#heardMs - this.#heartbeatMs);
    this.#heartbeatMs = this.#heardMs;
    this.#stampOfPeer = stamp;
    if (returnedMs > 0 && returnedMs <= this.#heardMs)
      this.#certainMs = Math.max(this.#certainMs, returnedMs);
  }

  /** The module starts: everything counts from now. */
  restart(): void {
    this.opened();
    this.#certainMs = this.#heardMs;
  }

  /** A new connection. */
  opened(): void {
    this.#heardMs = this.#clock.nowMs();
    this.#heardByPeerMs = this.#heardMs;
    this.#openedMs = this.#heardMs;
    this.#stampOfPeer = 0;
    this.#heartbeatMs = this.#heardMs;
    this.#heartbeatGapMaxMs = 0;
  }

  /** For own heartbeats: a time stamp, and the stamp to give back. */
  get stamps(): { readonly own: number; readonly returned: number } {
    return { own: Math.floor(this.#clock.nowMs()), returned: this.#stampOfPeer };
  }

  /** Since one of the two last heard the other here: whichever is longer. */
  get silenceMs(): number {
    return this.#clock.nowMs() - Math.min(this.#heardMs, this.#heardByPeerMs);
  }

  /** Since this node sent the last heartbeat that the peer gave back. */
  get doubtMs(): number {
    return this.#clock.nowMs() - this.#certainMs;
  }

  /** Since this node last heard the peer here; told to it in own heartbeats. */
  get unheardMs(): number {
    return this.#clock.nowMs() - this.#heardMs;
  }

  /** Longest time between two heartbeats of the peer on the newest connection, or before the first. */
  get heartbeatGapMaxMs(): number {
    return this.#heartbeatGapMaxMs;
  }

  /** Age of the newest connection, whether it still exists or not. */
  get openedAgeMs(): number {
    return this.#clock.nowMs() - this.#openedMs;
  }
}
