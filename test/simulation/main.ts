/**
 * `npm run sim -- --seeds N [--seed FIRST]`: runs seeds of the simulation, prints the transcript of those that fail and, in
 * the end, how many violations there were. Exit code 1 when there was one.
 */
import { parseArgs } from 'node:util';
import { runSeed } from './run-seed.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    /** Failing seeds after which it ends. */
    failures: { type: 'string', default: '3' },
    /** Lines of a transcript that are shown. */
    lines: { type: 'string', default: '120' },
    coverage: { type: 'boolean', default: false },
  },
});
const [first, count, failuresMax, lines] = [values.seed, values.seeds, values.failures, values.lines].map(
  Number,
) as [number, number, number, number];
const coverage = new Map<string, number>();
const resyncs = new Map<string, number>();
const add = (sums: Map<string, number>, more: ReadonlyMap<string, number>): void => {
  for (const [key, value] of more) sums.set(key, (sums.get(key) ?? 0) + value);
};
let failed = 0;
let seed = first;
let events = 0;
let acknowledged = 0;
let forfeited = 0;
for (; seed < first + count && failed < failuresMax; seed += 1) {
  const report = runSeed(seed);
  add(coverage, report.coverage);
  add(resyncs, report.resyncs);
  events += report.events;
  acknowledged += report.acknowledged;
  forfeited += report.forfeited;
  if (report.violation === undefined) continue;
  failed += 1;
  console.log(`seed ${seed} FAILS: ${report.violation}\n${report.transcript.slice(-lines).join('\n')}\n`);
}
console.log(
  `resyncs by rule: ${JSON.stringify(Object.fromEntries([...resyncs].sort(([one], [other]) => one.localeCompare(other))))}`,
);
if (values.coverage)
  for (const [key, value] of [...coverage].sort(([one], [other]) => one.localeCompare(other)))
    console.log(`${String(value).padStart(6)}  ${key}`);
console.log(
  `${events} events, ${acknowledged} acknowledged writes, ${forfeited} unflushed ones given up by rule`,
);
console.log(`${seed - first} seeds, ${failed} violations`);
process.exitCode = failed === 0 ? 0 : 1;
