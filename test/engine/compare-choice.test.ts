import { expect } from 'chai';
import { CompareChoice } from '../../src/engine/compare-choice.ts';

const blocksPerChunk = 16;

/** Lets `count` chunks go by of which each has `equalBlocks` equal blocks; how many were compared. */
function pass(choice: CompareChoice, count: number, equalBlocks: number): number {
  let compared = 0;
  for (let chunk = 0; chunk < count; chunk += 1) {
    if (!choice.next()) continue;
    compared += 1;
    choice.compared(equalBlocks, blocksPerChunk);
  }
  return compared;
}

describe('comparing before sending', () => {
  it('copies that are mostly equal are compared all the time', () => {
    expect(pass(new CompareChoice(), 1000, blocksPerChunk - 1)).to.equal(1000);
  });

  it('a target that has nothing is compared a little at first and rarely later', () => {
    expect(pass(new CompareChoice(), 1000, 0)).to.be.within(16, 80);
  });

  it('a stretch that differs ends the comparing, and a stretch that is equal brings it back', () => {
    const choice = new CompareChoice();
    pass(choice, 200, 0);
    expect(pass(choice, 200, blocksPerChunk)).to.be.above(180);
  });
});
