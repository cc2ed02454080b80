/** What is counted, kept and shared: restarts, maintenance, the dwell time, and how both nodes come to one count. */
import { expect } from 'chai';
import { aged, type KeptFacts, keptFactsSchema, type KeptFactsStore } from '../../src/checks/kept-facts.ts';
import { Ledger, swapDwellMs } from '../../src/checks/ledger.ts';
import { maintenanceMaxMs } from '../../src/checks/maintenance.ts';
import type { ChecksMessage } from '../../src/checks/peer-word.ts';
import { restartWindowMs } from '../../src/checks/restart-budget.ts';
import { VirtualClock } from '../base/virtual-clock.ts';

const hourMs = 3_600_000;

class MemoryStore implements KeptFactsStore {
  readonly last: KeptFacts | undefined;
  kept: KeptFacts | undefined;

  constructor(last?: KeptFacts) {
    this.last = last;
  }

  keep(facts: KeptFacts, then: () => void): void {
    this.kept = facts;
    then();
  }
}

function ledger(clock = new VirtualClock(), last?: KeptFacts) {
  const store = new MemoryStore(last);
  return { clock, store, ledger: new Ledger(clock, store) };
}

function tell(from: Ledger, to: Ledger, toIsPrimary = false): void {
  const message: ChecksMessage = { type: 'checks', well: [], failing: [], ...from.word };
  to.observe(message, toIsPrimary);
}

describe('the count of restarts', () => {
  it('a restart counts for 24 hours', () => {
    const { clock, ledger: own } = ledger();
    own.budget.spend(clock.nowMs());
    clock.advance(restartWindowMs - 1);
    expect(own.budget.count(clock.nowMs())).to.equal(1);
    clock.advance(1);
    expect(own.budget.count(clock.nowMs())).to.equal(0);
  });

  it('the other node takes the count of the primary over, however its clock stands, and not the other way round', () => {
    const primary = ledger(new VirtualClock(5));
    const secondary = ledger(new VirtualClock(900 * hourMs));
    primary.ledger.budget.spend(primary.clock.nowMs());
    primary.clock.advance(hourMs);
    secondary.clock.advance(hourMs);
    tell(primary.ledger, secondary.ledger);
    expect(secondary.ledger.word.restarts.agesMs).to.deep.equal([hourMs]);
    expect(secondary.store.kept?.restarts.agesMs).to.deep.equal([hourMs]);
    secondary.ledger.budget.spend(secondary.clock.nowMs());
    tell(secondary.ledger, primary.ledger, true);
    expect(primary.ledger.word.restarts.agesMs).to.deep.equal([hourMs]);
  });

  it('a reset on either node wins on both', () => {
    const primary = ledger();
    const secondary = ledger();
    primary.ledger.budget.spend(primary.clock.nowMs());
    secondary.ledger.budget.reset();
    tell(primary.ledger, secondary.ledger);
    tell(secondary.ledger, primary.ledger, true);
    expect(primary.ledger.word.restarts).to.deep.equal({ epoch: 1, agesMs: [] });
    expect(secondary.ledger.word.restarts).to.deep.equal({ epoch: 1, agesMs: [] });
  });
});

describe('a maintenance', () => {
  it('ends by itself, on both nodes at once', () => {
    const first = ledger(new VirtualClock(5));
    const second = ledger(new VirtualClock(900 * hourMs));
    first.ledger.maintenance.set(hourMs, first.clock.nowMs());
    tell(first.ledger, second.ledger, true);
    second.clock.advance(hourMs - 1);
    expect(second.ledger.maintenance.leftMs(second.clock.nowMs())).to.equal(1);
    second.clock.advance(1);
    expect(second.ledger.maintenance.leftMs(second.clock.nowMs())).to.equal(0);
  });

  it('the newest command counts: an older word of the peer does not bring it back', () => {
    const first = ledger();
    const second = ledger();
    first.ledger.maintenance.set(hourMs, first.clock.nowMs());
    tell(first.ledger, second.ledger);
    second.ledger.maintenance.set(0, second.clock.nowMs());
    tell(first.ledger, second.ledger);
    expect(second.ledger.maintenance.leftMs(second.clock.nowMs())).to.equal(0);
    tell(second.ledger, first.ledger, true);
    expect(first.ledger.maintenance.leftMs(first.clock.nowMs())).to.equal(0);
  });

  it('the peer cannot make it longer than it may be', () => {
    const { clock, ledger: own } = ledger();
    own.maintenance.observe({ sequence: 1, leftMs: Number.MAX_SAFE_INTEGER }, clock.nowMs());
    expect(own.maintenance.leftMs(clock.nowMs())).to.equal(maintenanceMaxMs);
  });
});

describe('what the next process knows', () => {
  const facts: KeptFacts = {
    restarts: { epoch: 4, agesMs: [hourMs, 5] },
    maintenance: { sequence: 2, leftMs: hourMs },
    endedInMaintenance: true,
    swapAgeMs: 1000,
    waiting: { rule: 'web', because: 'it is away' },
  };

  it('is what the one before it kept, older by the time between them', () => {
    const { store, ledger: own } = ledger(new VirtualClock(), aged(facts, 2000));
    own.keep(() => {});
    expect(keptFactsSchema.parse(store.kept)).to.deep.equal({
      ...facts,
      restarts: { epoch: 4, agesMs: [hourMs + 2000, 2005] },
      maintenance: { sequence: 2, leftMs: hourMs - 2000 },
      swapAgeMs: 3000,
    });
  });

  it('a clock that was set back makes nothing younger, one that was set forward ends nothing below zero', () => {
    expect(aged(facts, -50 * hourMs)).to.deep.equal(facts);
    expect(aged(facts, 50 * hourMs).maintenance.leftMs).to.equal(0);
  });

  it('a dwell time that is over is not kept', () => {
    const { clock, store, ledger: own } = ledger(new VirtualClock(), facts);
    expect(own.dwells).to.equal(true);
    clock.advance(swapDwellMs);
    expect(own.dwells).to.equal(false);
    own.keep(() => {});
    expect(store.kept?.swapAgeMs).to.equal(undefined);
  });
});
