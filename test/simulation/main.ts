/**
 * `npm run sim -- --seeds N [--seed FIRST]`: runs seeds of the simulation on all cores, prints the transcript of those that fail, the
 * coverage of faults by phases, and in the end how many violations there were. Exit code 1 when there was one.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { addCoverage, type Coverage, coverageTable, emptyCells } from './coverage.ts';
import { plantedBug } from './find-planted.ts';
import { withPlanted } from './planted-tree.ts';
import type { SeedReport } from './run-seed.ts';
import { runSeeds, seedsFrom } from './seed-pool.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    /** Failing seeds after which it ends. */
    failures: { type: 'string', default: '3' },
    /** Lines of a transcript that are shown. */
    lines: { type: 'string', default: '120' },
    /** Plants this bug of planted-bugs.ts in a copy of the sources. */
    bug: { type: 'string' },
    /** Adds a line to docs/simulation-runs.md. */
    record: { type: 'boolean', default: false },
    workers: { type: 'string', default: String(availableParallelism()) },
  },
});
const [first, count, failuresMax, lines, workers] = [
  values.seed,
  values.seeds,
  values.failures,
  values.lines,
  values.workers,
].map(Number) as [number, number, number, number, number];
/** With fewer seeds a cell of the table may well be empty. */
const completeFromSeeds = 300;

const coverage: Coverage = new Map();
const resyncs: Coverage = new Map();
const sum = { seeds: 0, failed: 0, events: 0, acknowledged: 0, forfeited: 0, faults: 0 };
const startedMs = Date.now();
const run = (root?: string): Promise<void> =>
  runSeeds<SeedReport>(
    seedsFrom(first, count),
    (report) => {
      addCoverage(coverage, report.coverage);
      addCoverage(resyncs, report.resyncs);
      sum.seeds += 1;
      for (const key of ['events', 'acknowledged', 'forfeited', 'faults'] as const) sum[key] += report[key];
      if (report.violation === undefined) return true;
      sum.failed += 1;
      console.log(
        `seed ${report.seed} FAILS: ${report.violation}\n${report.transcript.slice(-lines).join('\n')}\n`,
      );
      return sum.failed < failuresMax;
    },
    { workers, ...(root === undefined ? {} : { root }) },
  );
if (values.bug === undefined) await run();
else await withPlanted(plantedBug(values.bug).edits, run);
const minutes = (Date.now() - startedMs) / 60_000;
const byRule = [...resyncs].sort(([one], [other]) => one.localeCompare(other));
console.log(`resyncs by rule: ${byRule.map(([rule, times]) => `${rule} ${times}`).join(', ')}\n`);
if (sum.failed === 0) console.log(`${coverageTable(coverage)}\n`);
const empty = emptyCells(coverage);
if (sum.seeds >= completeFromSeeds && empty.length > 0) console.log(`never happened: ${empty.join(', ')}\n`);
console.log(
  `${sum.events} events, ${sum.faults} faults, ${sum.acknowledged} acknowledged writes, ` +
    `${sum.forfeited} unflushed ones given up by rule`,
);
console.error(`${(sum.seeds / minutes).toFixed(0)} seeds a minute`);
if (values.record) {
  const root = new URL('../../', import.meta.url);
  const { version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { version: string };
  const row = [version, first, sum.seeds, sum.faults, sum.acknowledged, sum.failed, minutes.toFixed(1)];
  appendFileSync(new URL('docs/simulation-runs.md', root), `| ${row.join(' | ')} |\n`);
}
console.log(`${sum.seeds} seeds, ${sum.failed} violations`);
process.exitCode = sum.failed === 0 && (sum.seeds < completeFromSeeds || empty.length === 0) ? 0 : 1;
