/** A deterministic `Clock` for tests: time moves only when the test says so; timers fire in order of time, then of creation. */
import type { Clock, Timer } from '../../src/base/clock.ts';

interface Entry {
  readonly dueMs: number;
  readonly order: number;
  readonly callback: () => void;
}

export class VirtualClock implements Clock {
  #nowMs: number;
  #order = 0;
  readonly #entries = new Set<Entry>();

  constructor(startMs = 1_000_000) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    const entry = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback };
    this.#entries.add(entry);
    return { cancel: () => void this.#entries.delete(entry) };
  }

  /** Timers that have neither fired nor been cancelled. */
  get pendingCount(): number {
    return this.#entries.size;
  }

  /** Moves time by `ms` and fires every timer that becomes due, each at its own time. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (let entry = this.#next(endMs); entry !== undefined; entry = this.#next(endMs)) {
      this.#nowMs = Math.max(this.#nowMs, entry.dueMs);
      this.#entries.delete(entry);
      entry.callback();
    }
    this.#nowMs = endMs;
  }

  /** Moves time by `ms` as a frozen process sees it: what became due meanwhile fires late, at the end. */
  freeze(ms: number): void {
    this.#nowMs += ms;
    this.advance(0);
  }

  /** Moves to the next timer and fires it. Returns false when there is none. */
  step(): boolean {
    const entry = this.#next(Number.POSITIVE_INFINITY);
    if (entry === undefined) return false;
    this.advance(Math.max(0, entry.dueMs - this.#nowMs));
    return true;
  }

  #next(endMs: number): Entry | undefined {
    let found: Entry | undefined;
    for (const entry of this.#entries) {
      if (entry.dueMs > endMs) continue;
      if (found === undefined || entry.dueMs < found.dueMs) found = entry;
      else if (entry.dueMs === found.dueMs && entry.order < found.order) found = entry;
    }
    return found;
  }
}
