/**
 * How fast a resync may go. While the guest rests: as fast as it can. The more of the time the guest waits for requests, the
 * slower, down to a share of what the resync reached undisturbed and never below, so that it always ends. Pure: the caller says
 * what time it is and how many requests of the guest are open.
 *
 * The undisturbed rate is measured whenever nothing holds the resync back. Beside a guest that never rests it is learnt
 * in short stretches at full speed, which together are too short to show in the guest's 99th percentile.
 * It knows no latencies: a guest whose requests take longer has requests open for more of the time.
 */

/** Part of the undisturbed rate that is kept beside a guest that never rests. */
export const shareMin = 0.4;
/** A guest that has requests open for less than this part of the time counts as resting. */
const restingPart = 0.1;
/** Time constant of the guest's average, ms. */
const guestAverageMs = 100;
/** Length of one measurement at full speed, ms. */
const measureMs = 150;
/** How long a measurement counts while the guest never rests, ms. */
const measurementAgeMaxMs = 60_000;
/** How much of an older measurement a newer and lower one beside a working guest leaves. */
const agedPart = 0.9;
/** How much of a delay may be caught up at once, ms: timers are late, more so on a busy host. */
const catchUpMsMax = 50;

/** Largest piece of data that is locked, read and sent at once: bounds what a guest's write may wait for. */
export const chunkBytesMax = 1024 * 1024;
const chunkBytesBesideGuest = 256 * 1024;
/** Data under way at once: bounds memory, and what stands before a guest's write in the link. */
const inFlightBytesMax = 8 * 1024 * 1024;
const inFlightBytesBesideGuest = 4 * 1024 * 1024;
/** Longest hole that is announced in one piece. Giving back space takes the target some time, with the range locked. */
export const holeBytesMax = 1024 * 1024 * 1024;
const holeBytesBesideGuest = 64 * 1024 * 1024;

export class ResyncPace {
  readonly #bytesPerSecondMax: () => number | undefined;
  /** Part of the time in which the guest had requests open, averaged. */
  #guestPart = 0;
  #guestWaits = false;
  #observedMs: number | undefined;
  /** Bytes per ms that were reached undisturbed; `undefined`: not measured yet. */
  #free: number | undefined;
  #measuredAtMs = 0;
  #stretch: { readonly startMs: number; bytes: number } | undefined;
  /** When the next chunk may begin. */
  #nextMs = Number.NEGATIVE_INFINITY;

  /** The limit is asked again for every chunk: an operator may change it meanwhile. `undefined`: none. */
  constructor(bytesPerSecondMax: () => number | undefined) {
    this.#bytesPerSecondMax = bytesPerSecondMax;
  }

  /** Bytes per ms; infinite: no limit is configured. */
  get #limit(): number {
    return (this.#bytesPerSecondMax() ?? Number.POSITIVE_INFINITY) / 1000;
  }

  get #guestRests(): boolean {
    return this.#guestPart < restingPart;
  }
  get chunkBytes(): number {
    return this.#guestRests ? chunkBytesMax : chunkBytesBesideGuest;
  }
  get inFlightBytes(): number {
    return this.#guestRests ? inFlightBytesMax : inFlightBytesBesideGuest;
  }
  get holeBytes(): number {
    return this.#guestRests ? holeBytesMax : holeBytesBesideGuest;
  }

  /** Looks at the guest: to be called often, at least before each question. */
  observeGuest(nowMs: number, openRequests: number): void {
    const elapsedMs = nowMs - (this.#observedMs ?? nowMs);
    const weight = elapsedMs / (elapsedMs + guestAverageMs);
    this.#guestPart += weight * ((this.#guestWaits ? 1 : 0) - this.#guestPart);
    this.#guestWaits = openRequests > 0;
    this.#observedMs = nowMs;
  }

  /** Ms until the next chunk may begin; 0: now. */
  waitMs(nowMs: number): number {
    if (this.#rate(nowMs) === Number.POSITIVE_INFINITY) return 0;
    return Math.max(0, this.#nextMs - nowMs);
  }

  /** A chunk begins. `bytes` of a hole are 0. */
  began(nowMs: number, bytes: number): void {
    const rate = this.#rate(nowMs);
    if (rate === Number.POSITIVE_INFINITY) this.#nextMs = nowMs;
    else this.#nextMs = Math.max(this.#nextMs, nowMs - catchUpMsMax) + bytes / rate;
  }

  /** A chunk is done. */
  ended(nowMs: number, bytes: number): void {
    const stretch = this.#stretch;
    if (stretch === undefined) return;
    // Holes say nothing of the rate of data.
    if (bytes === 0) this.#stretch = undefined;
    stretch.bytes += bytes;
    const elapsedMs = nowMs - stretch.startMs;
    if (elapsedMs < measureMs || this.#stretch === undefined) return;
    const measured = stretch.bytes / elapsedMs;
    this.#free = this.#guestRests ? measured : Math.max(measured, (this.#free ?? 0) * agedPart);
    this.#measuredAtMs = nowMs;
    this.#stretch = undefined;
  }

  /** Bytes per ms that are allowed now. */
  #rate(nowMs: number): number {
    const free = this.#free;
    const mustMeasure = free === undefined || nowMs - this.#measuredAtMs > measurementAgeMaxMs;
    if (this.#guestRests || mustMeasure) {
      this.#stretch ??= { startMs: nowMs, bytes: 0 };
      return this.#limit;
    }
    this.#stretch = undefined;
    return Math.min(this.#limit, free * Math.max(shareMin, 1 - this.#guestPart));
  }
}
