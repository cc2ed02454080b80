/**
 * The arbiter of a simulated world: the shipped compare-and-swap rule behind a network that delays, loses answers,
 * repeats requests, and delivers some of them long after the asker gave up. Its store can be lost and made anew.
 */
import type { Arbiter, ArbiterAnswer } from '../../src/arbiter/arbiter.ts';
import { decideSwap } from '../../src/arbiter/compare-and-swap.ts';
import type { ArbiterRecord, PendingOperation, StoreId } from '../../src/disk/state.ts';
import type { Random } from './random.ts';
import type { Life, SimulatedTime } from './simulated-time.ts';

/** An asker gives up after this. */
const deadlineMs = 2000;

export class SimulatedArbiter {
  record: ArbiterRecord | undefined;
  /** Requests that arrive now are answered. */
  running = true;
  /** Shares of requests and answers with each fate. */
  lostAnswers = 0;
  lateRequests = 0;
  repeatedRequests = 0;
  /** Called when the record changes. */
  onChange: (record: ArbiterRecord) => void = () => {};
  /** Nodes that cannot reach it. */
  readonly unreachableFrom = new Set<string>();
  #stores = 1;
  readonly #time: SimulatedTime;
  readonly #random: Random;
  readonly #log: (text: string) => void;

  constructor(time: SimulatedTime, random: Random, log: (text: string) => void) {
    this.#time = time;
    this.#random = random;
    this.#log = log;
  }

  /** The arbiter as one process of `node` reaches it. */
  reachedBy(node: string, life: Life): Arbiter {
    return {
      swap: (operation, answered) => {
        if (!this.running || this.unreachableFrom.has(node)) {
          const sent = this.#random.chance(0.2);
          this.#time.after(
            this.#random.between(1, 100),
            () => answered({ kind: 'no-answer', sent, because: 'no connection' }),
            life,
          );
          return;
        }
        this.#ask(life, answered, () => this.#swap(node, operation));
      },
      read: (answered) => {
        if (!this.running || this.unreachableFrom.has(node)) {
          this.#time.after(1, () => answered({ kind: 'no-answer', because: 'no connection' }), life);
          return;
        }
        const noAnswer = (): void => answered({ kind: 'no-answer', because: 'no answer in time' });
        const deadline = this.#time.after(deadlineMs, noAnswer, life);
        this.#time.after(this.#random.between(0.2, 5), () => {
          const { record, store } = this;
          this.#time.after(
            this.#random.between(0.2, 5),
            () => {
              deadline.cancel();
              answered({ kind: 'record', record, store });
            },
            life,
          );
        });
      },
    };
  }

  /** The request travels, is applied (even when its asker died or gave up meanwhile), and the answer travels back. */
  #ask(life: Life, answered: (answer: ArbiterAnswer) => void, apply: () => ArbiterAnswer | undefined): void {
    let answeredAlready = false;
    const answerOnce = (answer: ArbiterAnswer): void => {
      if (answeredAlready) return;
      answeredAlready = true;
      answered(answer);
    };
    this.#time.after(
      deadlineMs,
      () => answerOnce({ kind: 'no-answer', sent: true, because: 'no answer in time' }),
      life,
    );
    const late = this.#random.chance(this.lateRequests);
    const arrivals = this.#random.chance(this.repeatedRequests) ? 2 : 1;
    for (let arrival = 0; arrival < arrivals; arrival += 1) {
      const delayMs = late || arrival > 0 ? this.#random.between(1, 15_000) : this.#random.between(0.2, 10);
      this.#time.after(delayMs, () => {
        if (!this.running) return;
        const answer = apply();
        if (answer === undefined || this.#random.chance(this.lostAnswers)) return;
        this.#time.after(this.#random.between(0.2, 10), () => answerOnce(answer), life);
      });
    }
  }

  /** The records are gone; the arbiter begins with an empty store. */
  loseStore(): void {
    this.#log('arbiter: its records are lost');
    this.record = undefined;
    this.#stores += 1;
  }

  /** What `loseStore` took away is back. */
  findStore(record: ArbiterRecord | undefined): void {
    this.#stores -= 1;
    this.record = record;
  }

  get store(): StoreId {
    return this.#stores.toString(16).padStart(32, '0');
  }

  #swap(node: string, { store: wanted, expected, next }: PendingOperation): ArbiterAnswer | undefined {
    const { store } = this;
    if (wanted !== undefined && wanted !== store) return { kind: 'other-store', store };
    const { action, rule } = decideSwap(this.record, expected, next);
    this.#log(
      `arbiter: ${node} asks ${expected?.generation ?? 0} -> ${next.generation}/${next.holder}: ${rule}`,
    );
    switch (action.kind) {
      case 'write':
        this.record = action.record;
        this.onChange(action.record);
        return { kind: 'granted', record: action.record, store };
      case 'already':
        return { kind: 'granted', record: action.record, store };
      case 'refuse':
        return { kind: 'refused', record: action.record, store };
      case 'reject':
        throw new Error(`a node sent an operation that can never be right: ${rule}`);
    }
  }
}
