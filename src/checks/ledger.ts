/**
 * What the checks of a module must not forget: restarts, maintenance, the last automatic swap, why the node waits or was stopped. It is
 * kept beside the metadata, and the part that both nodes share crosses the link, as ages and remaining times.
 */
import type { Clock } from '../base/clock.ts';
import type { KeptFacts, KeptFactsStore, KeptReason } from './kept-facts.ts';
import { Maintenance } from './maintenance.ts';
import type { ChecksMessage } from './peer-word.ts';
import { RestartBudget } from './restart-budget.ts';

/** From an automatic swap to the next one, ms, on both nodes together. */
export const swapDwellMs = 600_000;

export class Ledger {
  readonly budget = new RestartBudget();
  readonly maintenance = new Maintenance();
  /** A rule made this node leave until its checks are well. */
  waiting: KeptReason | undefined;
  /** A rule stopped this node. */
  stopped: KeptReason | undefined;
  /** The VM ended in maintenance and is to stay off until its end. */
  endedInMaintenance = false;
  /** When a rule moved the VM. */
  swapMs = Number.NEGATIVE_INFINITY;
  readonly #clock: Clock;
  readonly #store: KeptFactsStore;

  constructor(clock: Clock, store: KeptFactsStore) {
    this.#clock = clock;
    this.#store = store;
    if (store.last !== undefined) this.#restore(store.last);
  }

  /** The VM was moved by a rule not long ago. */
  get dwells(): boolean {
    return this.#clock.nowMs() - this.swapMs < swapDwellMs;
  }

  /** Changes with what both nodes share, but not with time alone. */
  get shared(): string {
    const { epoch } = this.budget;
    return [epoch, this.budget.count(this.#clock.nowMs()), this.maintenance.sequence, this.dwells].join(' ');
  }

  /** What the peer is told. */
  get word(): Pick<ChecksMessage, 'restarts' | 'maintenance' | 'swapAgeMs'> {
    const nowMs = this.#clock.nowMs();
    return {
      restarts: this.budget.describe(nowMs),
      maintenance: this.maintenance.describe(nowMs),
      ...(this.dwells ? { swapAgeMs: Math.round(nowMs - this.swapMs) } : {}),
    };
  }

  /** Takes over what the peer knows better. `isPrimary`: this node counts. */
  observe({ restarts, maintenance, swapAgeMs }: ChecksMessage, isPrimary: boolean): void {
    const nowMs = this.#clock.nowMs();
    const before = this.shared;
    this.budget.observe(restarts, nowMs, isPrimary);
    this.maintenance.observe(maintenance, nowMs);
    if (swapAgeMs !== undefined && !isPrimary) this.swapMs = Math.max(this.swapMs, nowMs - swapAgeMs);
    if (this.shared !== before) this.keep(() => {});
  }

  /** `then` when it is durable. */
  keep(then: () => void): void {
    const { waiting, stopped, endedInMaintenance } = this;
    const facts: KeptFacts = {
      ...this.word,
      endedInMaintenance,
      ...(waiting === undefined ? {} : { waiting }),
      ...(stopped === undefined ? {} : { stopped }),
    };
    this.#store.keep(facts, then);
  }

  #restore(facts: KeptFacts): void {
    const nowMs = this.#clock.nowMs();
    this.budget.observe(facts.restarts, nowMs, false);
    this.maintenance.observe(facts.maintenance, nowMs);
    if (facts.swapAgeMs !== undefined) this.swapMs = nowMs - facts.swapAgeMs;
    this.endedInMaintenance = facts.endedInMaintenance;
    this.waiting = facts.waiting;
    this.stopped = facts.stopped;
  }
}
