/**
 * How often the VM was restarted by a rule, on both nodes together: at most `max` times in `restartWindowMs`. The nodes tell each other
 * ages, never times of day, so clocks that differ do no harm. The count is the primary's; the other one takes it over. A
 * command of an operator begins a new `epoch`, whose count wins on both nodes. Pure.
 */

export const restartWindowMs = 24 * 3_600_000;

/** As it crosses the link and lies on disk. */
export interface RestartCount {
  /** Grows with every command that resets the count. */
  epoch: number;
  /** Ages of the restarts, ms, oldest first. */
  agesMs: number[];
}

export class RestartBudget {
  #epoch = 0;
  #atMs: number[] = [];

  get epoch(): number {
    return this.#epoch;
  }

  count(nowMs: number): number {
    this.#forget(nowMs);
    return this.#atMs.length;
  }

  spend(nowMs: number): void {
    this.#forget(nowMs);
    this.#atMs.push(nowMs);
  }

  /** An operator looked at the VM: it counts from zero. */
  reset(): void {
    this.#epoch += 1;
    this.#atMs = [];
  }

  describe(nowMs: number): RestartCount {
    this.#forget(nowMs);
    return { epoch: this.#epoch, agesMs: this.#atMs.map((atMs) => Math.round(nowMs - atMs)) };
  }

  /** Takes over what the peer, or an earlier process, counted. `isPrimary`: this node counts itself. */
  observe({ epoch, agesMs }: RestartCount, nowMs: number, isPrimary: boolean): void {
    if (epoch < this.#epoch || (epoch === this.#epoch && isPrimary)) return;
    this.#epoch = epoch;
    this.#atMs = agesMs.map((ageMs) => nowMs - ageMs);
    this.#forget(nowMs);
  }

  #forget(nowMs: number): void {
    this.#atMs = this.#atMs.filter((atMs) => nowMs - atMs < restartWindowMs);
  }
}
