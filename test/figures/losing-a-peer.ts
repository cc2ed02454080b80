/**
 * The times of losing a peer, each many times on one pair: after every loss the node returns and both get in sync, and what guests
 * were told is compared at the end. Machines are in network namespaces; power-off takes the network first, then kills every process.
 */
import { statSync } from 'node:fs';
import { expect } from 'chai';
import { vmFiles } from '../../hypervisors/qemu/qemu-hypervisor.ts';
import { labModule, type LabNode } from '../../src/lab/lab-layout.ts';
import type { RealPair } from '../lab/real-pair.ts';
import { SeparatePair } from '../lab/separate-pair.ts';
import { monotonicMs } from '../lab/write-journal.ts';
import { until } from '../until.ts';
import type { Measure, Measurement } from './spread.ts';

export type Profile = 'default' | 'fast';

/** Writes of the load before a loss, and after it before the stall counts as over. */
const writesAround = 200;
/** How long anything may take that is waited for, ms. */
const deadlineMs = 60_000;

/** What a run needs, and its result, ms. */
type RunOnce = (separate: SeparatePair, primary: LabNode) => Promise<readonly number[]>;

export interface Repeats {
  readonly runs: number;
  progress(line: string): void;
  /** The pair that exists from now on, or none: for who has to clean up after a signal. */
  using(separate: SeparatePair | undefined): void;
}

async function repeat(
  profile: Profile,
  measures: readonly Measure[],
  once: RunOnce,
  { runs, progress, using }: Repeats,
): Promise<readonly (readonly number[])[]> {
  const separate = await SeparatePair.start(profile, 'on-disk');
  using(separate);
  const rows: (readonly number[])[] = [];
  const beganMs = monotonicMs();
  try {
    for (let run = 1; run <= runs; run += 1) {
      const primary = await separate.pair.primary();
      await separate.vmRuns(primary);
      const row = await once(separate, primary);
      await separate.pair.endLoads();
      await separate.recover();
      rows.push(row);
      progress(
        `${run}/${runs}: ${row.map((value, index) => `${measures[index]?.id} ${value.toFixed(0)} ms`).join(', ')}`,
      );
    }
    await separate.expectKept(beganMs);
  } finally {
    using(undefined);
    await separate.end();
  }
  return rows;
}

const otherThan = (node: LabNode): LabNode => (node === 'A' ? 'B' : 'A');

/** When the process of the VM was started here, in the time of day, ms. */
function vmStartedMs({ pair }: SeparatePair, node: LabNode): number {
  const place = { module: labModule, runtimeDirectory: pair.lab.nodes[node].runtimeDir };
  return statSync(vmFiles(place).recordFile).mtimeMs;
}

/** From `sinceMs`, in the time of day, to the arbiter's grant to this node; NaN: none was seen. */
async function grantedMs(pair: RealPair, node: LabNode, sinceMs: number): Promise<number> {
  const { decisions } = await pair.status(node);
  const times = decisions.filter(({ rule }) => rule === 'arbiter-granted').map(({ at }) => Date.parse(at));
  return (times.find((time) => time >= sinceMs) ?? Number.NaN) - sinceMs;
}

const losePrimary: RunOnce = async (separate, primary) => {
  const { pair } = separate;
  const secondary = otherThan(primary);
  const load = await pair.load(primary);
  await load.progress(writesAround);
  const offMs = Date.now();
  await separate.powerOff(primary);
  await separate.vmRuns(secondary);
  const decidedMs = await grantedMs(pair, secondary, offMs);
  await load.kill();
  expect((await pair.lostInExport(secondary)).slice(0, 5), 'acknowledged and lost').to.deep.equal([]);
  return [decidedMs, vmStartedMs(separate, secondary) - offMs];
};

/** The longest gap that the guest sees from the loss of the secondary until it has gone on for a while. */
async function stallOf(
  { pair }: SeparatePair,
  primary: LabNode,
  lose: () => void | Promise<void>,
): Promise<readonly number[]> {
  const load = await pair.load(primary);
  await load.progress(writesAround);
  const lostAt = Date.now();
  const lostMs = monotonicMs();
  await lose();
  await until(
    'the primary goes on alone',
    async () => !Number.isNaN(await grantedMs(pair, primary, lostAt)),
    deadlineMs,
  );
  await load.progress(writesAround, deadlineMs);
  const stallMs = pair.journal.longestGapMs(lostMs, monotonicMs());
  await load.end();
  return [stallMs];
}

const loseSecondary: RunOnce = (separate, primary) =>
  stallOf(separate, primary, () => separate.powerOff(otherThan(primary)));

const freezeSecondary: RunOnce = async (separate, primary) => {
  const { pid } = await separate.pair.status(otherThan(primary));
  return stallOf(separate, primary, () => void process.kill(pid, 'SIGSTOP'));
};

const reset = 'After each run the lost node returned and both were in sync; 0 acknowledged writes were lost.';

const losses = {
  takeover: {
    title: 'Power-off of the primary under load',
    how: `From the network of the node going down, with every process killed next, to the arbiter's grant as the other node logged it, and to the start of the VM process there. Default timers. ${reset}`,
    profile: 'default',
    once: losePrimary,
    measures: [
      { id: 'takeover-decided', what: 'takeover decided', goalMs: 7000 },
      { id: 'vm-started', what: 'VM process started', goalMs: 8000 },
    ],
  },
  'takeover-fast': {
    title: 'The same, profile fast',
    how: `As above, with the timers of the profile fast. ${reset}`,
    profile: 'fast',
    once: losePrimary,
    measures: [
      { id: 'takeover-decided-fast', what: 'takeover decided, fast', goalMs: 3500 },
      { id: 'vm-started-fast', what: 'VM process started, fast' },
    ],
  },
  stall: {
    title: 'Power-off of the secondary under load',
    how: `The longest gap between two acknowledgements that the load on the primary saw. Default timers. ${reset}`,
    profile: 'default',
    once: loseSecondary,
    measures: [{ id: 'stall-secondary-lost', what: 'write stall, secondary lost', goalMs: 4000 }],
  },
  'stall-fast': {
    title: 'The same, profile fast',
    how: `As above, with the timers of the profile fast. ${reset}`,
    profile: 'fast',
    once: loseSecondary,
    measures: [{ id: 'stall-secondary-lost-fast', what: 'write stall, secondary lost, fast', goalMs: 2000 }],
  },
  frozen: {
    title: 'The module of the secondary is frozen (SIGSTOP) under load',
    how: `The longest gap as above; the supervisor of the secondary ends the frozen process. Default timers. ${reset}`,
    profile: 'default',
    once: freezeSecondary,
    measures: [{ id: 'stall-secondary-frozen', what: 'write stall, secondary frozen', goalMs: 10_000 }],
  },
} as const satisfies Record<
  string,
  { title: string; how: string; profile: Profile; once: RunOnce; measures: readonly Measure[] }
>;

export type LossName = keyof typeof losses;
export const lossNames = Object.keys(losses) as readonly LossName[];

export async function measureLoss(name: LossName, repeats: Repeats): Promise<Measurement> {
  const { title, how, profile, once, measures } = losses[name];
  repeats.progress(`${title} (${name}), ${repeats.runs} runs`);
  return { title, how, measures, runs: await repeat(profile, measures, once, repeats) };
}
