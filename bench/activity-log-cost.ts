/**
 * What the activity log costs when writes are spread wider than it covers: the same blocks of 4 KiB, written once before, once
 * within 1 GiB (all hot) and once over 100 GiB (each block in an extent of its own, nine of ten writes cold). An unreplicated qemu-nbd over a
 * file of the same shape shows what spreading costs by itself.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import type { ModuleStatus } from '../src/base/status.ts';
import { extentSizeBytes, hotExtentsMax } from '../src/disk/state.ts';
import type { LabCluster } from '../src/lab/pair.ts';
import { median, medianRatio, showNumber } from './figures.ts';
import { type FioFigures, type Pattern, runFio } from './fio.ts';
import type { Bench } from './part.ts';
import type { Section } from './report.ts';
import {
  createPair,
  type PairSystem,
  pairSystem,
  serveFile,
  startPrimary,
  startSecondary,
  type System,
} from './systems.ts';

const volumeBytes = 100 * 1024 ** 3;
const blockBytes = 4096;
const depth = 16;
/** Loads of 2 s each. */
const warmTriesMax = 30;

/** For the first copy of the pair, ms. */
const inSyncDeadlineMs = 180_000;

/** Where blocks are written: as many in both cases, over the range and evenly spaced. */
const spreads = {
  hot: { name: 'within 1 GiB', sizeBytes: hotExtentsMax * extentSizeBytes, alignBytes: 320 * 1024 },
  cold: { name: 'over 100 GiB', sizeBytes: volumeBytes, alignBytes: 8 * extentSizeBytes },
} as const;
type Spread = keyof typeof spreads;
const spreadNames = ['hot', 'cold'] as const;

const systemNames = ['vmpair', 'qemu-nbd'] as const;
type Name = (typeof systemNames)[number];

interface Found extends FioFigures {
  readonly transactionsPerSecond: number;
}

export async function measureActivityLogCost(bench: Bench): Promise<Section> {
  const { scratch } = bench;
  bench.progress('starting a pair and a qemu-nbd with 100 GiB');
  const lab = await createPair(scratch.path('log-pair'), volumeBytes, {
    encryption: bench.options.encryption,
  });
  writeBlocks(lab.nodes.A.diskFile);
  const running: Partial<Record<Name, System>> = {};
  try {
    await startPrimary(lab);
    await startSecondary(lab);
    await lab.waitInSync(inSyncDeadlineMs);
    const pair = pairSystem(lab);
    running.vmpair = pair;
    mkdirSync(scratch.path('log-plain'));
    const file = scratch.path('log-plain/plain.raw');
    writeFileSync(file, '');
    truncateSync(file, volumeBytes);
    writeBlocks(file);
    const plain = await serveFile(file, scratch.path('log-plain/plain.sock'));
    running['qemu-nbd'] = plain;
    return describe(await runRounds(bench, pair, plain));
  } finally {
    if (running.vmpair === undefined) await lab.stop();
    for (const system of Object.values(running)) await system.stop();
  }
}

/** Allocates every block that will be written, so that no case pays for allocation; the rest stays a hole. */
function writeBlocks(file: string): void {
  const block = Buffer.alloc(blockBytes, 0x5a);
  const fd = openSync(file, 'r+');
  for (const { sizeBytes, alignBytes } of Object.values(spreads)) {
    for (let at = 0; at + blockBytes <= sizeBytes; at += alignBytes) writeSync(fd, block, 0, blockBytes, at);
  }
  fsyncSync(fd);
  closeSync(fd);
}

/** Writes within the hot range until that needs no transaction any more. */
async function warm({ lab, uri }: PairSystem): Promise<void> {
  const { sizeBytes, alignBytes } = spreads.hot;
  const pattern: Pattern = { rw: 'randwrite', blockBytes, depth, alignBytes };
  for (let tries = 0; tries < warmTriesMax; tries += 1) {
    const before = await transactionsOf(lab);
    await runFio(uri, pattern, 1, sizeBytes, () => []);
    if ((await transactionsOf(lab)) === before) return;
  }
  throw new Error(
    `wanted a hot range within ${warmTriesMax} loads of it, found transactions in each of them`,
  );
}

/** Activity-log transactions since the primary's module started. */
async function transactionsOf(lab: LabCluster): Promise<number> {
  const { counters } = (await lab.call('A', 'status')) as ModuleStatus;
  return counters['activityLogTransactions'] ?? Number.NaN;
}

type Results = Record<Name, Record<Spread, Found[]>>;

async function runRounds(bench: Bench, pair: PairSystem, plain: System): Promise<Results> {
  const { rounds, seconds } = bench.options;
  const results: Results = { vmpair: { hot: [], cold: [] }, 'qemu-nbd': { hot: [], cold: [] } };
  for (let round = 0; round < rounds; round += 1) {
    for (const spread of spreadNames) {
      if (spread === 'hot') await warm(pair);
      for (const name of systemNames) {
        const system = name === 'vmpair' ? pair : plain;
        const before = { transactions: await transactionsOf(pair.lab), ms: performance.now() };
        const { sizeBytes, alignBytes } = spreads[spread];
        const pattern: Pattern = { rw: 'randwrite', blockBytes, depth, alignBytes };
        const found = await runFio(system.uri, pattern, seconds, sizeBytes, () => system.pids());
        const count = (await transactionsOf(pair.lab)) - before.transactions;
        const transactionsPerSecond = (count * 1000) / (performance.now() - before.ms);
        results[name][spread].push({ ...found, transactionsPerSecond });
        const line = `${Math.round(found.iops)} IOPS`;
        bench.progress(`round ${round + 1} of ${rounds}: ${spreads[spread].name}, ${name}: ${line}`);
      }
    }
  }
  return results;
}

function describe(results: Results): Section {
  const of = (name: Name, spread: Spread, key: keyof Found): number[] =>
    results[name][spread].map((round) => round[key]);
  const ratio = (name: Name): number => medianRatio(of(name, 'cold', 'iops'), of(name, 'hot', 'iops'));
  const rows = systemNames.flatMap((name) =>
    spreadNames.map((spread) => [
      name,
      spreads[spread].name,
      ...(['iops', 'p99Ms', 'processorUsPerOperation'] as const).map((key) =>
        showNumber(median(of(name, spread, key))),
      ),
      name === 'vmpair' ? showNumber(median(of(name, spread, 'transactionsPerSecond'))) : '',
      spread === 'cold' ? showNumber(ratio(name)) : '',
    ]),
  );
  return {
    title: 'Cost of the activity log',
    how:
      `4 KiB random writes QD${depth} on a sparse volume of 100 GiB. 3,200 blocks are written once beforehand and then again at ` +
      'random: in one case they lie within 1 GiB, which the activity log covers, in the other one each in an extent of its own over ' +
      'the whole volume, so that nine of ten writes need their extent in the log first.',
    table: {
      columns: ['system', 'blocks', 'IOPS', 'p99 ms', 'CPU us/op', 'log transactions/s', 'cold/hot'],
      rows,
    },
    figures: systemNames.map((name) => ({
      id: `activity-log-cold-${name}`,
      what: `writes over 100 GiB against within 1 GiB, ${name}`,
      value: ratio(name),
      unit: 'x',
    })),
  };
}
