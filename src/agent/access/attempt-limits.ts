/**
 * How often somebody may try: one token bucket for each key (an address, a user). Keys that have not tried for long are
 * forgotten, and their number is bounded, so that inventing keys takes no memory. Pure: the caller brings the time.
 */
import { type Rate, TokenBucket } from '../../base/token-bucket.ts';

/** Keys that are remembered. */
export const keysMax = 4096;

export class AttemptLimits {
  readonly #rate: Rate;
  /** In the order of the last attempt. */
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  /** Whether one more attempt is within the rate; it counts then. */
  take(key: string, nowMs: number): boolean {
    const bucket = this.#buckets.get(key) ?? new TokenBucket(this.#rate, nowMs);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > keysMax) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    return bucket.take(nowMs);
  }
}
