/**
 * `npm run bench [-- flags]`: what vmpair costs on this machine, beside other systems on the same machine in the same run.
 * Rounds are interleaved, figures are medians, and what counts are the ratios. `--help` lists the flags.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { measureActivityLogCost } from './activity-log-cost.ts';
import { measureHeartbeats } from './heartbeats.ts';
import { machineFacts } from './machine.ts';
import { measureMemory } from './memory.ts';
import { measureOpenTime } from './open-time.ts';
import { type BenchOptions, parseOptions, type PartName, usage } from './options.ts';
import type { Part } from './part.ts';
import { describeMachine, renderPage, renderSummary, type Section } from './report.ts';
import { measureResyncRate } from './resync-rate.ts';
import { Scratch } from './scratch.ts';
import { measureColdWrites, measureWrites } from './writes.ts';

const parts: Readonly<Record<PartName, Part>> = {
  writes: measureWrites,
  'cold-writes': measureColdWrites,
  resync: measureResyncRate,
  memory: measureMemory,
  open: measureOpenTime,
  'activity-log': measureActivityLogCost,
  heartbeats: measureHeartbeats,
};
const resultsPage = fileURLToPath(new URL('RESULTS.md', import.meta.url));
/** Exit codes: wrong flags, and the one of a program that SIGINT ended. */
const exitUsage = 2;
const exitInterrupted = 130;

async function run(options: BenchOptions): Promise<void> {
  const machine = machineFacts();
  const scratch = await Scratch.create();
  const interrupt = (): void => void scratch.remove().finally(() => process.exit(exitInterrupted));
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const sections: Section[] = [];
  const progress = (line: string): void => console.error(line);
  try {
    for (const name of options.parts) sections.push(await parts[name]({ options, scratch, progress }));
  } catch (error) {
    console.error(scratch.logEnds());
    throw error;
  } finally {
    await scratch.remove();
  }
  if (options.write) writeFileSync(resultsPage, renderPage(machine, options, sections));
  if (options.json) console.log(JSON.stringify({ machine, options, sections }));
  else console.log(`\n${describeMachine(machine)}\n${renderSummary(sections)}`);
}

function readOptions(): BenchOptions | undefined {
  try {
    return parseOptions(process.argv.slice(2));
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    console.error(usage);
    process.exitCode = exitUsage;
    return undefined;
  }
}

if (process.argv.includes('--help')) console.log(usage);
else {
  const options = readOptions();
  if (options !== undefined) await run(options);
}
