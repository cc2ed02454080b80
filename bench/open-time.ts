/**
 * How long a module with a volume of 1 TiB takes to be there again: for the first time, after both nodes lost power with a full
 * activity log, and after its process was killed with one. Counted from the start of the module's process.
 */
import { readFileSync } from 'node:fs';
import { inspectFile } from '../src/cli/inspect-command.ts';
import { labVolume } from '../src/lab/lab-layout.ts';
import type { LabCluster } from '../src/lab/pair.ts';
import { connectNbd } from '../src/platform/nbd-connection.ts';
import { systemClock } from '../src/platform/system-clock.ts';
import { type Figure, median, showNumber } from './figures.ts';
import { runFio } from './fio.ts';
import type { Bench } from './part.ts';
import { processStartMs } from './process-start.ts';
import type { Section } from './report.ts';
import { createPair, modulePid, until } from './systems.ts';

const volumeBytes = 1024 ** 4;
const goalMs = 1000;
const readBytes = 4096;
const firstReadDeadlineMs = 60_000;
/** Enough writes at random places to fill the activity log of 256 extents, and not more: each takes room in a sparse file of its own. */
const fillSeconds = 1;

const cases = {
  first: 'first start, metadata file is made',
  power: 'both nodes lost power after load, peer is up',
  killed: 'process killed after load, peer is up',
} as const;
type Case = keyof typeof cases;
const caseNames = ['first', 'power', 'killed'] as const;

interface Opening {
  /** Disks and metadata are open and the module answers, ms. */
  readonly readyMs: number;
  /** A guest's first read of 4 KiB is answered, ms; NaN where that also waits for the operator. */
  readonly readMs: number;
  readonly hotExtents: number;
}

export async function measureOpenTime(bench: Bench): Promise<Section> {
  const found: Record<Case, Opening[]> = { first: [], power: [], killed: [] };
  const { rounds } = bench.options;
  for (let round = 0; round < rounds; round += 1) {
    const lab = await createPair(bench.scratch.path(`open-${round}`), volumeBytes, {
      encryption: bench.options.encryption,
    });
    try {
      bench.progress(`round ${round + 1} of ${rounds}: opening 1 TiB`);
      await lab.start();
      found.first.push({ readyMs: await readyMs(lab), readMs: Number.NaN, hotExtents: 0 });
      found.power.push(await openAfterPowerLoss(lab));
      found.killed.push(await openAfterKill(lab));
    } finally {
      await lab.stop();
    }
  }
  return describe(rounds, found);
}

async function openAfterPowerLoss(lab: LabCluster): Promise<Opening> {
  await fillActivityLog(lab);
  await Promise.all([lab.powerOff('A'), lab.powerOff('B')]);
  const hotExtents = hotExtentsOf(lab);
  await lab.startMachine('B');
  await lab.startMachine('A');
  return openingOf(lab, hotExtents);
}

async function openAfterKill(lab: LabCluster): Promise<Opening> {
  const inSyncDeadlineMs = 60_000;
  await lab.waitInSync(inSyncDeadlineMs);
  await fillActivityLog(lab);
  const hotExtents = hotExtentsOf(lab);
  const killed = lab.killModule('A');
  await until('the next module process', firstReadDeadlineMs, async () => {
    const pid = await modulePid(lab, 'A').catch(() => killed);
    return pid !== killed;
  });
  return openingOf(lab, hotExtents);
}

/** Random writes over the whole volume: each of them is in another extent. */
async function fillActivityLog(lab: LabCluster): Promise<void> {
  const pattern = { rw: 'randwrite', blockBytes: 4096, depth: 16 } as const;
  await runFio(lab.nodes.A.nbdUri, pattern, fillSeconds, volumeBytes, () => []);
}

function hotExtentsOf(lab: LabCluster): number {
  return inspectFile(lab.nodes.A.metadataFile).volumes[0]?.log.hotExtents.length ?? 0;
}

async function openingOf(lab: LabCluster, hotExtents: number): Promise<Opening> {
  const readAtMs = await firstRead(lab);
  return {
    readyMs: await readyMs(lab),
    readMs: readAtMs - processStartMs(await modulePid(lab, 'A')),
    hotExtents,
  };
}

/** The time of day at which a read is answered, ms. A guest that is turned away asks again at once. */
async function firstRead(lab: LabCluster): Promise<number> {
  const address = { path: lab.nodes.A.paths.nbd(labVolume) };
  await until('the first read', firstReadDeadlineMs, async () => {
    try {
      const client = await connectNbd(address, labVolume, { clock: systemClock });
      await client.read(0, readBytes);
      await client.disconnect();
      return true;
    } catch {
      return false;
    }
  });
  return Date.now();
}

/** From the start of the module's process to its own word that it is ready, ms. */
async function readyMs(lab: LabCluster): Promise<number> {
  const pid = await modulePid(lab, 'A');
  const lines = readFileSync(lab.nodes.A.paths.log, 'utf8').trim().split('\n');
  const ready = lines
    .map(
      (line) => JSON.parse(line) as { readonly event: string; readonly pid: number; readonly time: string },
    )
    .find((line) => line.event === 'module-ready' && line.pid === pid);
  if (ready === undefined)
    throw new Error(`wanted a line "module-ready" of process ${pid}, found none in its log`);
  return Date.parse(ready.time) - processStartMs(pid);
}

function describe(rounds: number, found: Readonly<Record<Case, readonly Opening[]>>): Section {
  const of = (name: Case, key: keyof Opening): number => median(found[name].map((opening) => opening[key]));
  const figure = (name: Case, key: 'readyMs' | 'readMs', what: string): Figure => ({
    id: `open-${name}-${key === 'readyMs' ? 'ready' : 'read'}`,
    what: `1 TiB, ${cases[name]}: ${what}`,
    value: of(name, key),
    unit: 'ms',
    goal: { bound: 'at most', value: goalMs },
  });
  return {
    title: 'Opening 1 TiB',
    how:
      `Sparse files, medians of ${rounds}, from the start of the module's process. The load is 4 KiB random writes over the ` +
      'whole volume. Ready: disks and metadata are open and the module answers. First read: a guest that connects ' +
      'again and again has 4 KiB; the nodes have agreed who may serve.',
    table: {
      columns: ['start', 'hot extents in the log', 'ready ms', 'first read ms'],
      rows: caseNames.map((name) => [
        cases[name],
        showNumber(of(name, 'hotExtents')),
        showNumber(of(name, 'readyMs')),
        showNumber(of(name, 'readMs')),
      ]),
    },
    figures: [
      figure('first', 'readyMs', 'ready'),
      figure('power', 'readMs', 'first read'),
      figure('killed', 'readMs', 'first read'),
    ],
  };
}
