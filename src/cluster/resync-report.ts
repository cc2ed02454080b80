/**
 * What people are told of one resync, on either side: how far, how fast, how long still, and in the end what it took. The rate is
 * smoothed, so that a hole does not promise the end.
 */
import { sizeText } from '../base/size-text.ts';
import type { ResyncProgress } from '../base/status.ts';
import type { ResyncVerdict } from './decide-resync.ts';

/** Time constant of the smoothed rate, ms. */
const smoothingMs = 5000;

/** Bytes in the blocks that were to be examined at the start, in those examined, and of those sent. */
export interface ResyncAmounts {
  readonly totalBytes: number;
  readonly examinedBytes: number;
  readonly sentBytes: number;
}

export class ResyncReport {
  readonly #direction: ResyncProgress['direction'];
  readonly #verdict: ResyncVerdict;
  readonly #startMs: number;
  #observedMs: number;
  #amounts: ResyncAmounts = { totalBytes: 0, examinedBytes: 0, sentBytes: 0 };
  #bytesPerMs: number | undefined;

  constructor(direction: ResyncProgress['direction'], verdict: ResyncVerdict, startMs: number) {
    this.#direction = direction;
    this.#verdict = verdict;
    this.#startMs = startMs;
    this.#observedMs = startMs;
  }

  /** How far it is: to be told regularly. */
  observe(nowMs: number, amounts: ResyncAmounts): void {
    const elapsedMs = nowMs - this.#observedMs;
    if (elapsedMs > 0) {
      const rate = (amounts.examinedBytes - this.#amounts.examinedBytes) / elapsedMs;
      const weight = elapsedMs / (elapsedMs + smoothingMs);
      const before = this.#bytesPerMs ?? rate;
      this.#bytesPerMs = before + weight * (rate - before);
      this.#observedMs = nowMs;
    }
    this.#amounts = amounts;
  }

  progress(nowMs: number): ResyncProgress {
    const { totalBytes, examinedBytes } = this.#amounts;
    const leftBytes = Math.max(0, totalBytes - examinedBytes);
    const rate = this.#bytesPerMs ?? 0;
    return {
      ...this.#common(nowMs),
      bytesPerSecond: Math.round(rate * 1000),
      etaMs: leftBytes === 0 ? 0 : rate > 0 ? Math.round(leftBytes / rate) : undefined,
    };
  }

  /** Totals of a resync that is over, with its average rate. */
  totals(nowMs: number): ResyncProgress {
    const elapsedMs = Math.max(1, nowMs - this.#startMs);
    const bytesPerSecond = Math.round((this.#amounts.examinedBytes * 1000) / elapsedMs);
    return { ...this.#common(nowMs), bytesPerSecond, etaMs: 0 };
  }

  /** The totals as part of a sentence. */
  sentence(nowMs: number): string {
    const { examinedBytes, sentBytes } = this.#amounts;
    const seconds = ((nowMs - this.#startMs) / 1000).toFixed(1);
    return `${sizeText(examinedBytes)} examined, ${sizeText(sentBytes)} sent in ${seconds} s`;
  }

  #common(nowMs: number) {
    return {
      direction: this.#direction,
      rule: this.#verdict.rule,
      because: this.#verdict.because,
      ...this.#amounts,
      elapsedMs: Math.round(nowMs - this.#startMs),
    };
  }
}
