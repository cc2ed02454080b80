/**
 * Virtual time: a queue of events, run one by one in order of time, then of creation. Everything that happens in a
 * simulated world is an event of this queue. A `Life` groups the events of one process: when it ends they never run, and
 * while it is frozen they wait, late, for the thaw.
 */
import type { Clock, Timer } from '../../src/base/clock.ts';

/** A process, or a guest, as long as it lives. */
export class Life {
  alive = true;
  frozen = false;
  /** Events that fell due while it was frozen, in their order. */
  readonly late: Entry[] = [];

  end(): void {
    this.alive = false;
    this.late.length = 0;
  }
}

class Entry implements Timer {
  dueMs: number;
  order: number;
  readonly life: Life | undefined;
  callback: (() => void) | undefined;

  constructor(dueMs: number, order: number, life: Life | undefined, callback: () => void) {
    this.dueMs = dueMs;
    this.order = order;
    this.life = life;
    this.callback = callback;
  }

  cancel(): void {
    this.callback = undefined;
  }
}

function isBefore(left: Entry, right: Entry): boolean {
  return left.dueMs < right.dueMs || (left.dueMs === right.dueMs && left.order < right.order);
}

export class SimulatedTime {
  #nowMs = 1_000_000;
  #order = 0;
  readonly #heap: Entry[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void, life?: Life): Timer {
    const entry = new Entry(this.#nowMs + Math.max(0, delayMs), this.#order++, life, callback);
    this.#push(entry);
    return entry;
  }

  /** The clock of one process: its timers die with it. `rate`: how fast it runs, 1 is true time. */
  clockOf(life: Life, rate = 1): Clock {
    return {
      nowMs: () => this.#nowMs * rate,
      after: (delayMs, callback) => this.after(delayMs / rate, callback, life),
    };
  }

  freeze(life: Life): void {
    life.frozen = true;
  }

  /** What fell due meanwhile runs now, in its order. */
  thaw(life: Life): void {
    life.frozen = false;
    for (const entry of life.late.splice(0)) {
      entry.dueMs = this.#nowMs;
      entry.order = this.#order++;
      this.#push(entry);
    }
  }

  /** Runs the next event that still has somebody to run for. False: there is none until `untilMs`, which is now. */
  step(untilMs: number): boolean {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.dueMs > untilMs) {
        this.#nowMs = Math.max(this.#nowMs, untilMs);
        return false;
      }
      this.#pop();
      const { callback, life } = first;
      if (callback === undefined || life?.alive === false) continue;
      if (life?.frozen === true) {
        life.late.push(first);
        continue;
      }
      this.#nowMs = first.dueMs;
      callback();
      return true;
    }
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Entry;
      if (!isBefore(entry, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child += 1;
      const below = heap[child] as Entry;
      if (!isBefore(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
  }
}
