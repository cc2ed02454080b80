/**
 * How long the peer has been silent, seen from both ends. Each heartbeat says how long ago its sender last heard this node,
 * so that a cut in one direction is seen by both at once: silence counts from the older of "I heard it" and "it heard me".
 */
import type { Clock } from '../base/clock.ts';

export class PeerWatch {
  readonly #clock: Clock;
  #heardMs: number;
  #heardByPeerMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#heardMs = clock.nowMs();
    this.#heardByPeerMs = this.#heardMs;
  }

  /** Any bytes of the peer arrived. */
  observeBytes(): void {
    this.#heardMs = this.#clock.nowMs();
  }

  /** A heartbeat arrived; the peer had heard this node `ageMs` before it sent it. */
  observeHeartbeat(ageMs: number): void {
    this.#heardMs = this.#clock.nowMs();
    this.#heardByPeerMs = Math.max(this.#heardByPeerMs, this.#heardMs - ageMs);
  }

  /** A new connection, or a start: silence counts from now. */
  restart(): void {
    this.#heardMs = this.#clock.nowMs();
    this.#heardByPeerMs = this.#heardMs;
  }

  /** Age of what this node heard last, for its own heartbeats. */
  get heardAgeMs(): number {
    return this.#clock.nowMs() - this.#heardMs;
  }

  get silenceMs(): number {
    return this.#clock.nowMs() - Math.min(this.#heardMs, this.#heardByPeerMs);
  }
}
