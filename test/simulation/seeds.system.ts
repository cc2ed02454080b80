/**
 * Many seeds of the simulation in worker processes: none violates anything, and every fault fell in every phase. And every
 * seed that once failed, kept for ever: the world has grown since, so that the history of a number is not what it was, and what
 * each had found is told in test/scenarios/found-by-seeds.test.ts.
 */
import { expect } from 'chai';
import { addCoverage, type Coverage, emptyCells } from './coverage.ts';
import type { SeedReport } from './run-seed.ts';
import { runSeeds, seedsFrom } from './seed-pool.ts';

const keptSeeds = [
  12, 13, 18, 27, 55, 107, 111, 126, 243, 269, 573, 610, 724, 857, 1199, 1323, 3566, 3593, 5074, 5392, 5459,
  10_018, 139, 145, 151, 20_227, 100_281, 100_517, 100_631, 101_010, 101_112, 101_253, 102_957, 103_152,
  104_561, 104_719, 107_681, 109_611,
];
const firstSeed = 20_001;
const seedsCount = 300;
const linesShown = 120;
/** Half a minute on two idle cores. */
const deadlineMs = 15 * 60_000;

/** Runs them until one fails, and says how. */
async function violations(seeds: readonly number[], coverage: Coverage = new Map()): Promise<string> {
  let failure = '';
  await runSeeds<SeedReport>(seeds, (report) => {
    addCoverage(coverage, report.coverage);
    if (report.violation === undefined) return true;
    failure = `${report.violation}\n${report.transcript.slice(-linesShown).join('\n')}`;
    return false;
  });
  return failure;
}

describe('simulation', function () {
  this.timeout(deadlineMs);

  it('the seeds that once failed violate nothing', async () => {
    expect(await violations(keptSeeds)).to.equal('');
  });

  it('three hundred seeds violate nothing, and no cell of fault by phase is empty', async () => {
    const coverage: Coverage = new Map();
    expect(await violations(seedsFrom(firstSeed, seedsCount), coverage)).to.equal('');
    expect(emptyCells(coverage)).to.deep.equal([]);
  });
});
