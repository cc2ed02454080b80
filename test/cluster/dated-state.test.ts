/** The times of day that tell people what a copy lacks. */
import { expect } from 'chai';
import { dated } from '../../src/cluster/dated-state.ts';
import { id, sampleState } from '../disk/sample-state.ts';

const dates = { now: '2026-02-03T00:00:00.000Z', upToDateAt: undefined, writtenBefore: undefined };
const before = '2026-02-02T00:00:00.000Z';

describe('since when a copy is alone', () => {
  const { self, peer, path } = sampleState;
  const alone = { path: [...path, id(77)], holder: self };

  it('is now, for a copy that was not', () => {
    const state = { ...sampleState, holder: peer, aloneSince: undefined };
    expect(dated(state, alone, dates).aloneSince).to.equal(dates.now);
  });

  it('stays when it goes on alone again after a restart: its peer lacks what it wrote since the first time', () => {
    const state = { ...sampleState, holder: self, aloneSince: before };
    expect(dated(state, alone, dates).aloneSince).to.equal(before);
  });

  it('is over when both hold every write', () => {
    const state = { ...sampleState, holder: self, aloneSince: before };
    expect(dated(state, { holder: 'both' }, dates)).to.include({
      aloneSince: undefined,
      inSyncAt: dates.now,
    });
  });
});
