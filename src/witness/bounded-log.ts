/** Lines that strangers can cause: a rate bounds them, and the next line that is written says how many were left out. */
import type { Log, LogFields } from '../base/log.ts';
import { type Rate, TokenBucket } from '../base/token-bucket.ts';

const lineRate: Rate = { perSecond: 1, burst: 20 };

export class BoundedLog {
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #bucket: TokenBucket;
  #leftOut = 0;

  constructor(log: Log, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
    this.#bucket = new TokenBucket(lineRate, nowMs());
  }

  warn(event: string, fields: LogFields): void {
    if (!this.#bucket.take(this.#nowMs())) {
      this.#leftOut += 1;
      return;
    }
    const leftOut = this.#leftOut === 0 ? {} : { linesLeftOut: this.#leftOut };
    this.#leftOut = 0;
    this.#log.warn(event, { ...fields, ...leftOut });
  }
}
