/**
 * How long the peer has been silent on all networks together: as long as on the one where it was silent for the shortest time.
 *
 * Three measures. `silenceMs` decides when the peer counts as lost: there is no network left on which both hear each other.
 * `doubtMs` decides when a VM that may not write is paused: only a returned stamp starts it over, so that neither a half-open
 * connection nor delayed bytes make it shorter than what the peer measures. `unheardMs` is what the peer measures when it is to
 * claim. A stamp that came back on one network was heard by the peer on that network, so doubt here is never
 * shorter than `unheardMs` there, whichever networks work.
 */
import type { Clock } from '../base/clock.ts';
import type { PathWatch } from './path-watch.ts';

export class PeerWatch {
  readonly #clock: Clock;
  readonly #paths: readonly PathWatch[];
  #connectedSinceMs: number;
  #connectedPath: PathWatch | undefined;

  /** `paths`: one per network, at least one. */
  constructor(clock: Clock, paths: readonly PathWatch[]) {
    this.#clock = clock;
    this.#paths = paths;
    this.#connectedSinceMs = clock.nowMs();
  }

  /** A connection became the one that carries the link. */
  connected(path: PathWatch): void {
    this.#connectedSinceMs = this.#clock.nowMs();
    this.#connectedPath = path;
  }

  get silenceMs(): number {
    return Math.min(...this.#paths.map(({ silenceMs }) => silenceMs));
  }

  get doubtMs(): number {
    return Math.min(...this.#paths.map(({ doubtMs }) => doubtMs));
  }

  get unheardMs(): number {
    return Math.min(...this.#paths.map(({ unheardMs }) => unheardMs));
  }

  /**
   * Longest time between two heartbeats of the peer on the network in use: how late a node that is busy or waits for its disk
   * becomes. Decides nothing.
   */
  get heartbeatGapMaxMs(): number {
    return this.#connectedPath?.heartbeatGapMaxMs ?? 0;
  }

  /** Since when the link has been on its present network, or was on its last one. */
  get connectedMs(): number {
    return this.#clock.nowMs() - this.#connectedSinceMs;
  }
}
