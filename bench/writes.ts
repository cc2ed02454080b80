/** Requests of a guest: the pair against QEMU's synchronous mirror and an unreplicated qemu-nbd, in interleaved rounds. */
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Figure, type Goal, median, medianRatio, rotate, showNumber } from './figures.ts';
import { type FioFigures, runFio, type Workload, workloads } from './fio.ts';
import type { SystemName } from './options.ts';
import { dropPageCache } from './page-cache.ts';
import type { Bench } from './part.ts';
import type { Section } from './report.ts';
import { programsOf, startMirror, startPair, startPlain, type System } from './systems.ts';

/** Smallest ratios of operations a second, by workload and by what the pair is measured against. */
const ratioGoals: Readonly<Record<string, Partial<Record<SystemName, number>>>> = {
  'randwrite-qd1': { mirror: 1.2 },
  'randwrite-qd16': { mirror: 2.5, 'qemu-nbd': 0.9 },
  'randwrite-qd32': { mirror: 3, 'qemu-nbd': 0.9 },
  'write-1m-qd4': { mirror: 1.2 },
  'randwrite-fsync-qd1': { mirror: 0.8 },
  'randread-qd16': { 'qemu-nbd': 1 },
};
/** The same for the pair with an unencrypted link, against the mirror. */
const clearRatioGoals: Readonly<Record<string, number>> = { 'write-1m-qd4': 2 };
/** Largest 99th percentiles of the pair, ms. */
const p99Goals: Readonly<Record<string, number>> = { 'randwrite-qd32': 5 };

const titles: Readonly<Record<SystemName, string>> = {
  vmpair: 'vmpair',
  clear: 'vmpair, link in the clear',
  baseline: 'vmpair, other build',
  mirror: 'QEMU mirror',
  'qemu-nbd': 'qemu-nbd, unreplicated',
};

/** Figures of each round, by workload and system. */
type Results = ReadonlyMap<string, readonly FioFigures[]>;

export function measureWrites(bench: Bench): Promise<Section> {
  return measure(bench, 'warm', () => {});
}

/**
 * The small writes once more, after the page cache of all files was dropped: what a tool left there in long pieces makes small
 * writes dear on ext4, and the pair, which drops it when it opens its files, looks better beside the others than it would otherwise.
 */
export async function measureColdWrites(bench: Bench): Promise<Section> {
  const options = { ...bench.options, systems: coldSystems, workloads: coldWorkloads };
  const section = await measure({ ...bench, options }, 'cold', () => dropPageCaches(bench.scratch.path('')));
  const figures = section.figures.map(({ id, what, value, unit }) => ({
    id: `cold-${id}`,
    what: `${what}, page cache dropped before`,
    value,
    unit,
  }));
  const how =
    'As above, but the page cache of the files of all systems was dropped before the first round. No goals are set for it.';
  return { ...section, title: 'Small writes after the page cache was dropped', how, figures };
}

const coldSystems: readonly SystemName[] = ['vmpair', 'mirror', 'qemu-nbd'];
const coldWorkloads: readonly string[] = ['randwrite-qd1', 'randwrite-qd16', 'randwrite-qd32'];
/** Smaller files hold no disks. */
const diskBytesMin = 10 * 1024 ** 2;

function dropPageCaches(directory: string): void {
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || statSync(path).size < diskBytesMin) continue;
    dropPageCache(path);
  }
}

/** `label`: of the directories of its systems. `prepared`: called when they all run. */
async function measure(bench: Bench, label: string, prepared: () => void): Promise<Section> {
  const { systems, workloads: ids } = bench.options;
  const running = new Map<SystemName, System>();
  try {
    for (const name of systems) {
      bench.progress(`starting ${titles[name]}`);
      running.set(name, await startSystem(bench, label, name));
    }
    prepared();
    const chosen = workloads.filter(({ id }) => ids.includes(id));
    return describe(bench, chosen, await runRounds(bench, chosen, running));
  } finally {
    for (const system of running.values()) await system.stop();
  }
}

function startSystem({ options, scratch }: Bench, label: string, name: SystemName): Promise<System> {
  const directory = scratch.path(`${label}-${name}`);
  const sizeBytes = options.sizeMib * 1024 ** 2;
  const { encryption } = options;
  if (name === 'vmpair') return startPair(directory, sizeBytes, { encryption });
  if (name === 'clear') return startPair(directory, sizeBytes, { encryption: 'off' });
  if (name === 'baseline')
    return startPair(directory, sizeBytes, { encryption, programs: programsOf(options.baseline ?? '') });
  mkdirSync(directory);
  if (name === 'mirror') return startMirror(directory, sizeBytes, scratch);
  return startPlain(directory, sizeBytes);
}

async function runRounds(
  bench: Bench,
  chosen: readonly Workload[],
  running: ReadonlyMap<SystemName, System>,
): Promise<Results> {
  const { rounds, seconds, sizeMib } = bench.options;
  const results = new Map<string, FioFigures[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const workload of chosen) {
      for (const [name, system] of rotate([...running], round)) {
        const sizeBytes = sizeMib * 1024 ** 2;
        const found = await runFio(system.uri, workload, seconds, sizeBytes, () => system.pids());
        const key = keyOf(workload, name);
        results.set(key, [...(results.get(key) ?? []), found]);
        const line = `${Math.round(found.iops)} IOPS, ${Math.round(found.processorUsPerOperation)} us`;
        bench.progress(`round ${round + 1} of ${rounds}: ${workload.name}, ${titles[name]}: ${line}`);
      }
    }
  }
  return results;
}

function keyOf(workload: Workload, system: SystemName): string {
  return `${workload.id} ${system}`;
}

function describe({ options }: Bench, chosen: readonly Workload[], results: Results): Section {
  const rows: string[][] = [];
  const figures: Figure[] = [];
  for (const workload of chosen) {
    const of = (system: SystemName, key: keyof FioFigures): number[] =>
      (results.get(keyOf(workload, system)) ?? []).map((round) => round[key]);
    for (const system of options.systems) {
      const ratio = (key: keyof FioFigures): number => medianRatio(of('vmpair', key), of(system, key));
      const medians = (['iops', 'mibPerSecond', 'p99Ms', 'processorUsPerOperation'] as const).map((key) =>
        median(of(system, key)),
      );
      const ratios = [ratio('iops'), ratio('processorUsPerOperation')];
      const shown = system === 'vmpair' ? ['', ''] : ratios.map(showNumber);
      rows.push([workload.name, titles[system], ...medians.map(showNumber), ...shown]);
      if (system !== 'vmpair') figures.push(ratioFigure(workload, system, ratios[0] ?? Number.NaN));
    }
    const clearGoal = clearRatioGoals[workload.id];
    if (clearGoal !== undefined && options.systems.includes('clear') && options.systems.includes('mirror')) {
      figures.push({
        id: `${workload.id}-clear-against-mirror`,
        what: `${workload.name}, link in the clear, against ${titles.mirror}`,
        value: medianRatio(of('clear', 'iops'), of('mirror', 'iops')),
        unit: 'x',
        goal: { bound: 'at least', value: clearGoal },
      });
    }
    const p99Ms = median(of('vmpair', 'p99Ms'));
    if (Number.isFinite(p99Ms)) figures.push(p99Figure(workload, p99Ms));
  }
  return {
    title: 'Requests of a guest',
    how:
      `fio's nbd engine on preallocated volumes of ${options.sizeMib} MiB, write-back caching. The pair runs as shipped: ` +
      'mutual TLS, activity log and checks on. The mirror is `blockdev-mirror` with `copy-mode=write-blocking` to a qemu-nbd ' +
      'over TCP loopback whose route acknowledges at once; it uses no TLS and does not forward flushes to its target. Processor ' +
      'time is that of all processes of the system and of fio, user and system, for each operation. Ratios are vmpair divided ' +
      'by the other: more is better for operations, less is better for processor time.',
    table: {
      columns: [
        'workload',
        'system',
        'IOPS',
        'MiB/s',
        'p99 ms',
        'CPU us/op',
        'vmpair/this, IOPS',
        'vmpair/this, CPU',
      ],
      rows,
    },
    figures,
  };
}

function ratioFigure({ id, name }: Workload, system: SystemName, value: number): Figure {
  const least = ratioGoals[id]?.[system];
  const goal: { goal?: Goal } = least === undefined ? {} : { goal: { bound: 'at least', value: least } };
  return {
    id: `${id}-against-${system}`,
    what: `${name}, against ${titles[system]}`,
    value,
    unit: 'x',
    ...goal,
  };
}

function p99Figure({ id, name }: Workload, value: number): Figure {
  const most = p99Goals[id];
  const goal: { goal?: Goal } = most === undefined ? {} : { goal: { bound: 'at most', value: most } };
  return { id: `${id}-p99`, what: `${name}, 99th percentile`, value, unit: 'ms', ...goal };
}
