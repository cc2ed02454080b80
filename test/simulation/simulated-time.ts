/**
 * Virtual time: a queue of events, run one by one in order of time, then of creation. Everything that happens in a
 * simulated world is an event of this queue. A `Life` groups the events of one process: when it ends they never run.
 */
import type { Clock, Timer } from '../../src/base/clock.ts';

/** A process, or a guest, as long as it lives. */
export class Life {
  alive = true;

  end(): void {
    this.alive = false;
  }
}

interface Entry {
  readonly dueMs: number;
  readonly order: number;
  readonly life: Life | undefined;
  callback: (() => void) | undefined;
}

const before = (left: Entry, right: Entry): boolean =>
  left.dueMs < right.dueMs || (left.dueMs === right.dueMs && left.order < right.order);

export class SimulatedTime {
  #nowMs = 1_000_000;
  #order = 0;
  readonly #heap: Entry[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void, life?: Life): Timer {
    const entry: Entry = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, life, callback };
    this.#push(entry);
    return {
      cancel: () => {
        entry.callback = undefined;
      },
    };
  }

  /** The clock of one process: its timers die with it. */
  clockOf(life: Life): Clock {
    return {
      nowMs: () => this.#nowMs,
      after: (delayMs, callback) => this.after(delayMs, callback, life),
    };
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
      const { callback } = first;
      if (callback === undefined || first.life?.alive === false) continue;
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
      if (!before(entry, above)) break;
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
      if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child += 1;
      const below = heap[child] as Entry;
      if (!before(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
  }
}
