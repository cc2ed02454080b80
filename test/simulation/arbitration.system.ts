/** Short runs of the rules of arbitration: those that once failed, kept for ever, and some thousands of others. */
import { expect } from 'chai';
import { type BatchReport, runsPerBatch } from './arbitration-batch.ts';
import { runArbitration } from './arbitration-run.ts';
import { runSeeds, seedsFrom } from './seed-pool.ts';

const keptRuns = [2713, 5953, 7671, 16_052, 38_971, 43_162, 45_410, 58_428, 500_371];
const runsCount = 5000;
const deadlineMs = 10 * 60_000;

describe('arbitration alone', function () {
  this.timeout(deadlineMs);

  for (const seed of keptRuns)
    it(`run ${seed} violates nothing`, () => {
      const { violation, transcript } = runArbitration(seed);
      expect(violation, transcript.join('\n')).to.equal(undefined);
    });

  it('thousands of runs violate nothing, and in most of them a VM had to run in the end, and did', async () => {
    const violations: string[] = [];
    let hadToRun = 0;
    await runSeeds<BatchReport>(
      seedsFrom(0, runsCount / runsPerBatch),
      (report) => {
        hadToRun += report.hadToRun;
        for (const { violation, transcript } of report.violations)
          violations.push(`${violation}\n${transcript.join('\n')}`);
        return violations.length === 0;
      },
      { worker: 'test/simulation/arbitration-worker.ts' },
    );
    expect(violations).to.deep.equal([]);
    expect(hadToRun).to.be.above(runsCount / 2);
  });
});
