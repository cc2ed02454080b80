/**
 * `npm run figures [-- flags]`: the times of losing a peer over many runs, with their goals. Needs root, ip and nft. `--help` lists
 * the flags. Fails when a goal was missed.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { verdictOf } from '../../bench/figures.ts';
import { machineFacts } from '../../bench/machine.ts';
import { chosen, wholeNumber } from '../../bench/options.ts';
import {
  describeMachine,
  goalsTable,
  type MachineFacts,
  renderSummary,
  renderTable,
  type Section,
} from '../../bench/report.ts';
import type { SeparatePair } from '../lab/separate-pair.ts';
import { type LossName, lossNames, measureLoss } from './losing-a-peer.ts';
import { sectionOf } from './spread.ts';

const page = fileURLToPath(new URL('../../docs/figures.md', import.meta.url));
const runsDefault = '50';
const runsMax = 1000;
const exitMissed = 1;
const exitUsage = 2;
const exitInterrupted = 130;

const usage = `npm run figures -- [flags]
  --only LIST         measurements, of: ${lossNames.join(', ')}
  --runs N            of each measurement (${runsDefault})
  --json              one JSON object instead of tables
  --write             write docs/figures.md; wants all measurements`;

interface FiguresOptions {
  readonly losses: readonly LossName[];
  readonly runs: number;
  readonly json: boolean;
  readonly write: boolean;
}

/** Throws an error whose message is for the person who typed. */
function parseOptions(args: readonly string[]): FiguresOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string' },
      runs: { type: 'string', default: runsDefault },
      json: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  });
  if (values.write && values.only !== undefined)
    throw new Error('wanted all measurements for --write, found a selection: leave out --only');
  return {
    losses: chosen('--only', values.only, lossNames),
    runs: wholeNumber('--runs', values.runs, 1, runsMax),
    json: values.json,
    write: values.write,
  };
}

function checkMachine(): void {
  if (process.getuid?.() !== 0)
    throw new Error('wanted root, to make network namespaces; found another user: run it with sudo');
  for (const tool of ['ip', 'nft', 'nsenter'])
    if (spawnSync(tool, ['--version']).error !== undefined)
      throw new Error(
        `wanted the program ${tool}; found none: install the packages iproute2, nftables and util-linux`,
      );
}

function renderPage(machine: MachineFacts, runs: number, sections: readonly Section[]): string {
  const parts = sections.map(({ title, how, table }) => `## ${title}\n\n${how}\n\n${renderTable(table)}`);
  const facts = [
    `- Version ${machine.version}, commit ${machine.commit}, ${machine.date}`,
    `- ${describeMachine(machine)}`,
    `- Load of the machine before the runs (mean of one minute): ${machine.loadBefore.toFixed(1)}`,
    `- ${runs} runs of each measurement. The 99th percentile of so many runs is their maximum.`,
    '- Both nodes, the witness, the VM and the load share this machine, each in a network namespace of its own; the VM is a simulated one.',
  ];
  return `${[
    '# Figures of losing a peer',
    'Written by `npm run figures -- --write`; nothing here is typed by hand.',
    facts.join('\n'),
    `## Goals\n\n${renderTable(goalsTable(sections))}`,
    ...parts,
  ].join('\n\n')}\n`;
}

async function run(options: FiguresOptions): Promise<void> {
  const machine = machineFacts([]);
  const { runs } = options;
  let pair: SeparatePair | undefined;
  const interrupt = (): void =>
    void Promise.resolve(pair?.end()).finally(() => process.exit(exitInterrupted));
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const repeats = {
    runs,
    progress: (line: string): void => console.error(line),
    using: (separate: SeparatePair | undefined): void => {
      pair = separate;
    },
  };
  const sections: Section[] = [];
  for (const name of options.losses) sections.push(sectionOf(await measureLoss(name, repeats)));
  if (options.write) writeFileSync(page, renderPage(machine, runs, sections));
  if (options.json) console.log(JSON.stringify({ machine, options, sections }));
  else console.log(`\n${describeMachine(machine)}\n${renderSummary(sections)}`);
  const isMissed = sections.some(({ figures }) => figures.some((figure) => verdictOf(figure) === 'missed'));
  if (isMissed) process.exitCode = exitMissed;
}

function readOptions(): FiguresOptions | undefined {
  try {
    const options = parseOptions(process.argv.slice(2));
    checkMachine();
    return options;
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
