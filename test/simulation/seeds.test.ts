/** A few seeds of the simulation, as a first answer. All that were kept, and many more: seeds.system.ts. */
import { runSeed } from './run-seed.ts';

/** One with two volumes, one without arbiter, one without VM. */
const seeds = [2, 3, 6];
const linesShown = 120;
const deadlineMs = 60_000;

describe('simulation', () => {
  for (const seed of seeds)
    it(`seed ${seed} violates nothing`, function () {
      this.timeout(deadlineMs);
      const { violation, transcript } = runSeed(seed);
      if (violation !== undefined)
        throw new Error(`${violation}\n${transcript.slice(-linesShown).join('\n')}`);
    });
});
