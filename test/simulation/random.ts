/** The one source of randomness of a simulation: a small deterministic generator, so that one number replays a run. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
    // Neighbouring seeds start far apart.
    for (let turn = 0; turn < 4; turn += 1) this.#next();
  }

  /** A whole number, 0 <= n < `end`. */
  below(end: number): number {
    return this.#next() % end;
  }

  /** A number of `from` <= n < `to`, for delays in ms. */
  between(from: number, to: number): number {
    return from + ((to - from) * this.#next()) / 2 ** 32;
  }

  /** True with probability `share` (0..1). */
  chance(share: number): boolean {
    return this.#next() < share * 2 ** 32;
  }

  pick<Value>(values: readonly Value[]): Value {
    return values[this.below(values.length)] as Value;
  }

  /** 128 bits as 32 hex digits. */
  hexId(): string {
    let text = '';
    for (let word = 0; word < 4; word += 1) text += this.#next().toString(16).padStart(8, '0');
    return text;
  }

  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    const state = this.#state;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }
}
