/**
 * A rate with a burst: `perSecond` in the long run, `burst` at once. Pure: the caller brings the time, which never runs
 * backwards.
 */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

const msPerSecond = 1000;

export class TokenBucket {
  readonly #rate: Rate;
  #tokens: number;
  #filledMs: number;

  constructor(rate: Rate, nowMs: number) {
    this.#rate = rate;
    this.#tokens = rate.burst;
    this.#filledMs = nowMs;
  }

  /** Whether one more is within the rate; it counts only then. */
  take(nowMs: number): boolean {
    const { perSecond, burst } = this.#rate;
    const gained = ((nowMs - this.#filledMs) / msPerSecond) * perSecond;
    this.#tokens = Math.min(burst, this.#tokens + gained);
    this.#filledMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
