/** What the arbiter's record means for a copy, and with the alone table: which copies start by themselves, in every cell. */
import { expect } from 'chai';
import { decideRecord, recordTable, type RecordSituation } from '../../src/cluster/decide-record.ts';
import type { ArbiterRecord } from '../../src/disk/state.ts';
import { answers, copies, forEachStart } from './start-universe.ts';

const ids = ['a', 'b', 'c'].map((letter) => letter.repeat(32));
const stores = ['1', '2'].map((letter) => letter.repeat(32));

/** Every path of up to two operations, with every record over the same operations, in each of two stores or unknown. */
function forEachRecord(visit: (situation: RecordSituation) => void): number {
  const paths = [[], ...ids.map((id) => [id]), ...ids.flatMap((id) => ids.map((other) => [id, other]))];
  const records: (ArbiterRecord | undefined)[] = [undefined];
  for (const operationId of ids)
    for (const holder of ['A', 'B', 'both'])
      for (const generation of [1, 2, 3]) records.push({ operationId, holder, generation });
  let count = 0;
  for (const path of paths)
    for (const record of records)
      for (const store of stores)
        for (const arbiterStore of [undefined, ...stores]) {
          count += 1;
          const known = arbiterStore === undefined ? {} : { arbiterStore };
          visit({ copy: { self: 'A', peer: 'B', path, generation: path.length, ...known }, record, store });
        }
  return count;
}

describe('record table', () => {
  it('every combination is decided by the first row that matches, and every row decides some', () => {
    const deciding = new Set<string>();
    const count = forEachRecord((situation) => {
      const { rule, action } = decideRecord(situation);
      deciding.add(rule);
      const row = recordTable.find(({ matches }) => matches(situation));
      expect([row?.rule, row?.action]).to.deep.equal([rule, action]);
    });
    expect(count).to.be.above(2000);
    expect([...deciding].sort()).to.deep.equal(recordTable.map(({ rule }) => rule).sort());
  });

  it('a node goes on alone only by a record of its own last operation, in the store that it knows', () => {
    forEachRecord((situation) => {
      const { action } = decideRecord(situation);
      const { copy, record, store } = situation;
      const isOwn =
        record?.holder === 'A' &&
        record.operationId === copy.path.at(-1) &&
        (copy.arbiterStore ?? store) === store;
      expect(action === 'go-on-alone').to.equal(isOwn);
    });
  });

  it('a copy becomes outdated only by a record that names the peer, in the store that it knows', () => {
    forEachRecord((situation) => {
      const { copy, record, store } = situation;
      const namesPeer = record?.holder === 'B' && (copy.arbiterStore ?? store) === store;
      expect(decideRecord(situation).action === 'stand-down').to.equal(namesPeer);
    });
  });

  it('every decision has a sentence for people, without a full stop', () => {
    forEachRecord((situation) => expect(decideRecord(situation).because).to.match(/^\S.*[^.\s]$/));
  });
});

describe('start table', () => {
  it('a node starts by itself only with an up-to-date copy, and only by the word of the record that it knows', () => {
    const count = forEachStart(({ outcome }, copyName, answerName, { data }) => {
      const may =
        data === 'up-to-date' &&
        (copyName.includes('alone')
          ? answerName === 'this node, as it knows'
          : answerName === 'both, as this copy knows');
      expect(outcome === 'starts', `${copyName} / ${answerName}`).to.equal(may);
    });
    expect(count).to.equal(Object.keys(copies).length * Object.keys(answers).length);
  });

  it('what is not up to date never even asks', () => {
    forEachStart(({ outcome, rule }, copyName, _answerName, { data }) => {
      if (data !== 'up-to-date') expect([outcome, rule], copyName).to.deep.equal(['waits', 'not-up-to-date']);
    });
  });
});
