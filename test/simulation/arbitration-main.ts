/**
 * `npm run sim:arbitration -- --runs N [--run FIRST]`: short runs of the rules of arbitration on all cores. Exit code 1 when something was
 * violated. `FIRST` and `N` are rounded to whole batches.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { type BatchReport, runsPerBatch } from './arbitration-batch.ts';
import { plantedBug } from './find-planted.ts';
import { withPlanted } from './planted-tree.ts';
import { runSeeds, seedsFrom } from './seed-pool.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '10000' },
    run: { type: 'string', default: '0' },
    /** Failing runs after which it ends. */
    failures: { type: 'string', default: '3' },
    /** Plants this bug of planted-bugs.ts in a copy of the sources. */
    bug: { type: 'string' },
    /** Adds a line to docs/simulation-runs.md. */
    record: { type: 'boolean', default: false },
    workers: { type: 'string', default: String(availableParallelism()) },
  },
});
const [runs, first, failuresMax, workers] = [values.runs, values.run, values.failures, values.workers].map(
  Number,
) as [number, number, number, number];

const sum = { runs: 0, hadToRun: 0, failed: 0 };
const startedMs = Date.now();
const batches = seedsFrom(Math.floor(first / runsPerBatch), Math.ceil(runs / runsPerBatch));
const run = (root?: string): Promise<void> =>
  runSeeds<BatchReport>(
    batches,
    (report) => {
      sum.runs += report.runs;
      sum.hadToRun += report.hadToRun;
      for (const { seed, violation, transcript } of report.violations) {
        sum.failed += 1;
        console.log(`run ${seed} FAILS: ${violation}\n${transcript.join('\n')}\n`);
      }
      return sum.failed < failuresMax;
    },
    { workers, worker: 'test/simulation/arbitration-worker.ts', ...(root === undefined ? {} : { root }) },
  );
if (values.bug === undefined) await run();
else await withPlanted(plantedBug(values.bug).edits, run);
const minutes = (Date.now() - startedMs) / 60_000;
console.log(`${sum.hadToRun} runs in whose end the VM had to run`);
console.error(`${(sum.runs / minutes).toFixed(0)} runs a minute`);
if (values.record) {
  const root = new URL('../../', import.meta.url);
  const { version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { version: string };
  const row = [version, first, sum.runs, sum.hadToRun, sum.failed, minutes.toFixed(1)];
  appendFileSync(new URL('docs/arbitration-runs.md', root), `| ${row.join(' | ')} |\n`);
}
console.log(`${sum.runs} runs of arbitration, ${sum.failed} violations`);
process.exitCode = sum.failed === 0 ? 0 : 1;
