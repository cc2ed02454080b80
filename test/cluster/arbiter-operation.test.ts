/** One arbiter operation, over an arbiter and a superblock that answer when the test says so. */
import { expect } from 'chai';
import fc from 'fast-check';
import type { Arbiter, ArbiterAnswer, ReadAnswer } from '../../src/arbiter/arbiter.ts';
import {
  ArbiterOperation,
  headStartMs,
  type OperationOutcome,
  retryIntervalMs,
} from '../../src/cluster/arbiter-operation.ts';
import type { ArbiterRecord, PendingOperation } from '../../src/disk/state.ts';
import { VirtualClock } from '../base/virtual-clock.ts';

const record = (generation: number, holder: string): ArbiterRecord => ({
  generation,
  holder,
  operationId: generation.toString(16).padStart(32, '0'),
});
const claim: PendingOperation = { expected: record(1, 'both'), next: record(2, 'A') };

const unsent: ArbiterAnswer = { kind: 'no-answer', sent: false, because: 'connection refused' };
const lost: ArbiterAnswer = { kind: 'no-answer', sent: true, because: 'no answer in time' };
const store = 'a'.repeat(32);
const granted: ArbiterAnswer = { kind: 'granted', record: claim.next, store };

class Fixture {
  readonly clock = new VirtualClock();
  /** What happened, in order. */
  readonly events: string[] = [];
  readonly swaps: { readonly next: ArbiterRecord; readonly answered: (answer: ArbiterAnswer) => void }[] = [];
  readonly persists: (() => void)[] = [];
  /** What the superblock holds. */
  durable: PendingOperation | undefined;
  readonly outcomes: OperationOutcome[] = [];
  readonly operation: ArbiterOperation;
  readonly reads: ((answer: ReadAnswer) => void)[] = [];

  constructor(yields = false) {
    const arbiter: Arbiter = {
      swap: ({ next }, answered) => {
        this.events.push('send');
        expect(this.durable?.next, 'sent only what is durable').to.equal(next);
        this.swaps.push({ next, answered });
      },
      read: (answered) => {
        this.events.push('read');
        this.reads.push(answered);
      },
    };
    this.operation = new ArbiterOperation(arbiter, this.clock, {
      persistPending: (pending, done) => {
        this.events.push(pending === undefined ? 'persist-withdrawal' : 'persist');
        this.persists.push(() => {
          this.durable = pending;
          done();
        });
      },
      resolved: (outcome) => {
        this.events.push(outcome.kind);
        this.outcomes.push(outcome);
      },
      unanswered: () => this.events.push('unanswered'),
      yields: () => yields,
    });
  }

  /** Begun and durable, the first attempt under way. */
  begun(): this {
    this.operation.begin(claim);
    this.persist();
    return this;
  }

  persist(): void {
    const next = this.persists.shift();
    if (next === undefined) throw new Error('nothing is being persisted');
    next();
  }

  answer(answer: ArbiterAnswer): void {
    const swap = this.swaps.shift();
    if (swap === undefined) throw new Error('no attempt is under way');
    swap.answered(answer);
  }
}

describe('arbiter operation', () => {
  it('is durable before it is sent', () => {
    const fixture = new Fixture();
    fixture.operation.begin(claim);
    fixture.clock.advance(60_000);
    expect(fixture.events).to.deep.equal(['persist']);
    expect(fixture.operation.open).to.equal(claim);
    fixture.persist();
    expect(fixture.events).to.deep.equal(['persist', 'send']);
  });

  it('is sent again, with its id, until the arbiter answers', () => {
    const fixture = new Fixture().begun();
    for (let attempt = 0; attempt < 5; attempt += 1) {
      fixture.answer(attempt % 2 === 0 ? lost : unsent);
      expect(fixture.swaps).to.have.length(0);
      fixture.clock.advance(retryIntervalMs - 1);
      expect(fixture.swaps).to.have.length(0);
      fixture.clock.advance(1);
      expect(fixture.swaps.map(({ next }) => next.operationId)).to.deep.equal([claim.next.operationId]);
    }
    fixture.answer(granted);
    expect(fixture.outcomes).to.deep.equal([{ ...granted, operation: claim }]);
    expect(fixture.operation.open).to.equal(undefined);
    expect(fixture.clock.pendingCount).to.equal(0);
  });

  it('one attempt at a time, however slow the arbiter is', () => {
    const fixture = new Fixture().begun();
    fixture.clock.advance(60_000);
    expect(fixture.swaps).to.have.length(1);
  });

  it('a refusal ends it and brings the record that stands', () => {
    const fixture = new Fixture().begun();
    fixture.answer({ kind: 'refused', record: record(2, 'B'), store });
    expect(fixture.outcomes).to.deep.equal([
      { kind: 'refused', operation: claim, record: record(2, 'B'), store },
    ]);
    expect(fixture.operation.open).to.equal(undefined);
  });

  it('one that was found in the superblock is sent without being persisted again', () => {
    const fixture = new Fixture();
    fixture.durable = claim;
    fixture.operation.continue(claim);
    expect(fixture.events).to.deep.equal(['send']);
  });

  describe('of a node whose peer may hold the VM', () => {
    const answer: ReadAnswer = { kind: 'record', record: claim.expected, store };
    const silence: ReadAnswer = { kind: 'no-answer', because: 'connection refused' };

    it('asks at once, and after a silence gives the peer a head start when the arbiter is back', () => {
      const fixture = new Fixture(true).begun();
      fixture.answer(lost);
      fixture.clock.advance(retryIntervalMs);
      fixture.reads.shift()?.(silence);
      fixture.clock.advance(retryIntervalMs);
      fixture.reads.shift()?.(answer);
      fixture.clock.advance(headStartMs - 1);
      expect(fixture.swaps).to.have.length(0);
      fixture.clock.advance(1);
      fixture.answer(granted);
      expect(fixture.events).to.deep.equal([
        'persist',
        'send',
        'unanswered',
        'read',
        'unanswered',
        'read',
        'send',
        'granted',
      ]);
    });

    it('asks at once when the record shows that its operation, or another one, has arrived', () => {
      const fixture = new Fixture(true).begun();
      fixture.answer(lost);
      fixture.clock.advance(retryIntervalMs);
      fixture.reads.shift()?.({ kind: 'record', record: claim.next, store });
      fixture.clock.advance(0);
      fixture.answer(granted);
      expect(fixture.outcomes).to.have.length(1);
    });

    it('is withdrawn during the head start, when nothing had left this node', () => {
      const fixture = new Fixture(true).begun();
      fixture.answer(unsent);
      fixture.clock.advance(retryIntervalMs);
      fixture.reads.shift()?.(answer);
      fixture.operation.withdrawIfUnsent(() => fixture.events.push('withdrawn'));
      fixture.persist();
      fixture.clock.advance(60_000);
      expect(fixture.events.slice(-2)).to.deep.equal(['persist-withdrawal', 'withdrawn']);
      expect(fixture.swaps).to.have.length(0);
    });
  });

  describe('withdrawal', () => {
    it('of one that provably never left this node is durable before it counts', () => {
      const fixture = new Fixture().begun();
      fixture.answer(unsent);
      let withdrawn = false;
      fixture.operation.withdrawIfUnsent(() => {
        withdrawn = true;
      });
      fixture.clock.advance(60_000);
      expect([withdrawn, fixture.swaps.length]).to.deep.equal([false, 0]);
      expect(fixture.operation.open, 'still open for the handshake').to.equal(claim);
      fixture.persist();
      expect(withdrawn).to.equal(true);
      expect(fixture.durable).to.equal(undefined);
      expect(fixture.operation.open).to.equal(undefined);
      fixture.clock.advance(60_000);
      expect(fixture.swaps).to.have.length(0);
    });

    it('is not possible once an attempt may have arrived, even if later ones did not', () => {
      const fixture = new Fixture().begun();
      fixture.answer(lost);
      fixture.clock.advance(retryIntervalMs);
      fixture.answer(unsent);
      fixture.operation.withdrawIfUnsent(() => {
        throw new Error('withdrawn');
      });
      fixture.clock.advance(retryIntervalMs);
      expect(fixture.swaps).to.have.length(1);
      expect(fixture.persists).to.have.length(0);
    });

    it('is not possible for one that was found in the superblock', () => {
      const fixture = new Fixture();
      fixture.durable = claim;
      fixture.operation.continue(claim);
      fixture.answer(unsent);
      fixture.operation.withdrawIfUnsent(() => {
        throw new Error('withdrawn');
      });
      expect(fixture.persists).to.have.length(0);
    });

    it('while an attempt is under way waits for how it ends: unsent', () => {
      const fixture = new Fixture().begun();
      let withdrawn = false;
      fixture.operation.withdrawIfUnsent(() => {
        withdrawn = true;
      });
      expect(fixture.persists).to.have.length(0);
      fixture.answer(unsent);
      fixture.persist();
      expect(withdrawn).to.equal(true);
    });

    it('while an attempt is under way waits for how it ends: it may have arrived', () => {
      const fixture = new Fixture().begun();
      fixture.operation.withdrawIfUnsent(() => {
        throw new Error('withdrawn');
      });
      fixture.answer(lost);
      fixture.clock.advance(retryIntervalMs);
      fixture.answer(granted);
      expect(fixture.outcomes).to.have.length(1);
      expect(fixture.persists).to.have.length(0);
    });

    it('while the intent is being persisted sends nothing at all', () => {
      const fixture = new Fixture();
      fixture.operation.begin(claim);
      let withdrawn = false;
      fixture.operation.withdrawIfUnsent(() => {
        withdrawn = true;
      });
      fixture.persist();
      fixture.persist();
      expect(withdrawn).to.equal(true);
      expect(fixture.events).to.deep.equal(['persist', 'persist-withdrawal']);
    });

    it('leaves room for the next operation', () => {
      const fixture = new Fixture().begun();
      fixture.answer(unsent);
      fixture.operation.withdrawIfUnsent(() => {});
      fixture.persist();
      fixture.begun();
      fixture.answer(granted);
      expect(fixture.outcomes).to.have.length(1);
    });
  });

  it('a second operation while one is open is our own mistake', () => {
    const fixture = new Fixture().begun();
    expect(() => fixture.operation.begin(claim)).to.throw('one arbiter operation at a time');
    expect(() => fixture.operation.continue(claim)).to.throw('one arbiter operation at a time');
  });

  it('stopped: nothing is sent and no answer is heard any more', () => {
    const fixture = new Fixture().begun();
    fixture.answer(lost);
    fixture.operation.stop();
    fixture.clock.advance(60_000);
    expect(fixture.swaps).to.have.length(0);
    expect(fixture.clock.pendingCount).to.equal(0);
  });

  it('stopped and started again: the next operation is sent, and a late answer to the old one is not taken for its own', () => {
    const fixture = new Fixture().begun();
    const late = fixture.swaps.shift();
    fixture.operation.stop();
    fixture.operation.continue(claim);
    late?.answered({ kind: 'refused', record: record(2, 'B'), store });
    expect(fixture.outcomes).to.deep.equal([]);
    expect(fixture.operation.open).to.equal(claim);
    fixture.answer(granted);
    expect(fixture.outcomes).to.deep.equal([{ ...granted, operation: claim }]);
  });

  it('however answers, withdrawals and time fall, it is granted, or it was withdrawn and can never have been granted', () => {
    const step = fc.constantFrom(
      'persist',
      'answer-unsent',
      'answer-lost',
      'deliver-lost',
      'withdraw',
      'time',
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const fixture = new Fixture();
        let arrived = false;
        let withdrawn = false;
        fixture.operation.begin(claim);
        for (const each of steps) {
          if (each === 'persist' && fixture.persists.length > 0) fixture.persist();
          if (each === 'answer-unsent' && fixture.swaps.length > 0) fixture.answer(unsent);
          if (each === 'answer-lost' && fixture.swaps.length > 0) fixture.answer(lost);
          if (each === 'deliver-lost' && fixture.swaps.length > 0) {
            arrived = true;
            fixture.answer(lost);
          }
          if (each === 'withdraw')
            fixture.operation.withdrawIfUnsent(() => {
              withdrawn = true;
            });
          if (each === 'time') fixture.clock.advance(retryIntervalMs);
          expect(arrived && withdrawn).to.equal(false);
        }
        while (fixture.persists.length > 0) fixture.persist();
        for (let round = 0; round < 2; round += 1) {
          fixture.clock.advance(retryIntervalMs);
          if (fixture.swaps.length > 0) fixture.answer(granted);
        }
        expect(fixture.outcomes.length).to.equal(withdrawn ? 0 : 1);
        expect(fixture.operation.open).to.equal(undefined);
      }),
      { numRuns: 300 },
    );
  });
});
