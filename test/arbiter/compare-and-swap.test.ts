import { expect } from 'chai';
import { decideSwap, sameRecord } from '../../src/arbiter/compare-and-swap.ts';
import type { ArbiterRecord } from '../../src/disk/state.ts';

const operationIds = ['0', '1', '2'].map((digit) => digit.repeat(32));
const records: ArbiterRecord[] = [1, 2, 3].flatMap((generation) =>
  ['both', 'alpha', 'beta'].flatMap((holder) =>
    operationIds.map((operationId) => ({ generation, holder, operationId })),
  ),
);
const recordsOrNone: (ArbiterRecord | undefined)[] = [undefined, ...records];

const record = (generation: number, holder: string, id: number): ArbiterRecord => ({
  generation,
  holder,
  operationId: String(id).repeat(32),
});

describe('compare-and-swap', () => {
  it('every combination of record, expectation and operation has the one right verdict', () => {
    const counts = new Map<string, number>();
    for (const current of recordsOrNone) {
      for (const expected of recordsOrNone) {
        for (const next of records) {
          const { action, rule } = decideSwap(current, expected, next);
          counts.set(rule, (counts.get(rule) ?? 0) + 1);
          const wellFormed =
            next.generation > (expected?.generation ?? 0) && next.operationId !== expected?.operationId;
          const label = JSON.stringify({ current, expected, next, rule });
          const key = JSON.stringify(current);
          if (!wellFormed) expect(action.kind, label).to.equal('reject');
          else if (key === JSON.stringify(next))
            expect(action, label).to.deep.equal({ kind: 'already', record: next });
          else if (current?.operationId === next.operationId) expect(action.kind, label).to.equal('reject');
          else if (key === JSON.stringify(expected))
            expect(action, label).to.deep.equal({ kind: 'write', record: next });
          else expect(action, label).to.deep.equal({ kind: 'refuse', record: current });
        }
      }
    }
    expect([...counts.keys()].toSorted()).to.deep.equal([
      'generation-does-not-follow',
      'operation-already-granted',
      'operation-id-not-new',
      'operation-id-reused',
      'record-as-expected',
      'record-differs',
    ]);
    expect([...counts.values()].reduce((sum, count) => sum + count)).to.equal(28 * 28 * 27);
  });

  it('both nodes claim the same record: the first is granted, the second sees who holds it', () => {
    const both = record(1, 'both', 0);
    const first = decideSwap(both, both, record(2, 'alpha', 1));
    expect(first.rule).to.equal('record-as-expected');
    const held = record(2, 'alpha', 1);
    const second = decideSwap(held, both, record(2, 'beta', 2));
    expect(second.action).to.deep.equal({ kind: 'refuse', record: held });
  });

  it('the same operation is sent again after its answer was lost', () => {
    const next = record(2, 'alpha', 1);
    expect(decideSwap(next, record(1, 'both', 0), next).rule).to.equal('operation-already-granted');
  });

  it('an operation arrives again after the record moved on', () => {
    const late = decideSwap(record(3, 'both', 2), record(1, 'both', 0), record(2, 'alpha', 1));
    expect(late.action).to.deep.equal({ kind: 'refuse', record: record(3, 'both', 2) });
  });

  it('records are the same only when all fields are', () => {
    const one = record(1, 'both', 0);
    expect(sameRecord(one, { ...one })).to.equal(true);
    expect(sameRecord(undefined, undefined)).to.equal(true);
    expect(sameRecord(one, undefined)).to.equal(false);
    for (const other of [record(2, 'both', 0), record(1, 'alpha', 0), record(1, 'both', 1)]) {
      expect(sameRecord(one, other)).to.equal(false);
    }
  });
});
