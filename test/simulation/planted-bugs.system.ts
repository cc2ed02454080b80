/**
 * The simulation finds bugs: a few of those that `npm run sim:bugs` plants, each of another kind, found by another checker. All of
 * them take minutes.
 */
import { expect } from 'chai';
import { findPlanted, plantedBug } from './find-planted.ts';
import { withPlanted } from './planted-tree.ts';

const chosen = [
  'ack-before-peer',
  'no-activity-log',
  'equal-ids-clear-bits',
  'no-unstable-set',
  'ack-before-claim',
  'base-moves-early',
  'no-intent-resend',
  'overlaps-not-ordered',
];
const deadlineMs = 5 * 60_000;

describe('planted bugs', () => {
  for (const name of chosen) {
    it(`${name} is found`, async function () {
      this.timeout(deadlineMs);
      const found = await findPlanted(plantedBug(name));
      expect(found?.violation).to.be.a('string');
    });
  }

  it('a bug whose place has moved is an error, not a bug that is never found', async () => {
    const edit = { file: 'src/engine/range-locks.ts', find: 'this text is not there', replace: '' };
    const failure = await withPlanted([edit], () => Promise.resolve('planted')).catch(String);
    expect(failure).to.match(/wanted this once in src\/engine\/range-locks.ts, found it 0 times/);
  });
});
