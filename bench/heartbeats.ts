/**
 * Whether heartbeats stay on time while the kernel throttles writes: each node's module under a limit of memory that is much
 * smaller than what the load dirties, and the longest gap between heartbeats as the other node saw it.
 */
import { readFileSync } from 'node:fs';
import { type LabNode, labNodes } from '../src/lab/lab-layout.ts';
import { type Figure, showNumber } from './figures.ts';
import { type FioFigures, type Pattern, runFio } from './fio.ts';
import { MemoryLimit } from './memory-limit.ts';
import type { Bench } from './part.ts';
import type { Section } from './report.ts';
import { createPair, modulePid, type PairSystem, pairSystem, roles } from './systems.ts';

/** Room of each module for itself and its dirty pages. */
const limitBytes = 256 * 1024 ** 2;
/** Sparse at first: a page counts against the limit of the process that brought it into memory. */
const volumeBytes = 4 * 1024 ** 3;
/** Heartbeats are sent every 500 ms: at most one may be missing. */
const gapGoalMs = 1000;
/** Long enough for the kernel to throttle more than once. */
const loadSecondsMin = 15;
const load: Pattern = { rw: 'write', blockBytes: 1024 ** 2, depth: 8 };
const others: Readonly<Record<LabNode, LabNode>> = { A: 'B', B: 'A' };

interface Gap {
  /** Longest gap between the heartbeats of this node, ms. */
  readonly gapMs: number;
  /** How often the limit was reached; `undefined`: there was none. */
  readonly throttled: number | undefined;
  readonly linksLost: number;
}

export async function measureHeartbeats(bench: Bench): Promise<Section> {
  const seconds = Math.max(bench.options.seconds, loadSecondsMin);
  bench.progress('starting a pair for its heartbeats');
  const lab = await createPair(bench.scratch.path('heartbeats'), volumeBytes, {
    encryption: bench.options.encryption,
  });
  const limits: Partial<Record<LabNode, MemoryLimit>> = {};
  try {
    await lab.start();
    const pair = pairSystem(lab);
    for (const node of labNodes) {
      const pids = [await modulePid(lab, node)];
      const limit = MemoryLimit.create(`${bench.scratch.namespace}-${node}`, limitBytes, pids);
      if (limit !== undefined) limits[node] = limit;
    }
    bench.progress(`writing for ${seconds} s under a limit of memory`);
    const written = await runFio(pair.uri, load, seconds, volumeBytes, () => pair.pids());
    const gaps = { A: await gapOf(pair, 'A', limits.A), B: await gapOf(pair, 'B', limits.B) };
    return describe(seconds, written, gaps);
  } finally {
    await lab.stop();
    for (const limit of Object.values(limits)) limit.remove();
  }
}

async function gapOf({ lab }: PairSystem, node: LabNode, limit: MemoryLimit | undefined): Promise<Gap> {
  const seenBy = await lab.moduleStatus(others[node]);
  const log = readFileSync(lab.nodes[node].paths.log, 'utf8');
  return {
    gapMs: seenBy?.counters['heartbeatGapMaxMs'] ?? Number.NaN,
    throttled: limit?.reached,
    linksLost: log.split('"link-lost"').length - 1,
  };
}

function describe(seconds: number, written: FioFigures, gaps: Readonly<Record<LabNode, Gap>>): Section {
  const limited = labNodes.every((node) => gaps[node].throttled !== undefined);
  return {
    title: 'Heartbeats while writes are throttled',
    how:
      `1 MiB writes QD${load.depth} for ${seconds} s (${showNumber(written.mibPerSecond)} MiB/s, p99 ${showNumber(written.p99Ms)} ms). ` +
      (limited
        ? `Each module has ${limitBytes / 1024 ** 2} MiB of memory with its page cache, in a control group, so that the kernel lets writes wait for the disk.`
        : 'No control group could be made here: whether the kernel throttled is not known.') +
      ' The gap is the longest time between two heartbeats of a node as the other one saw it; the interval is 500 ms.',
    table: {
      columns: ['heartbeats of', 'longest gap ms', 'limit reached', 'links lost'],
      rows: labNodes.map((node) => [
        roles[node],
        String(gaps[node].gapMs),
        String(gaps[node].throttled ?? '-'),
        String(gaps[node].linksLost),
      ]),
    },
    figures: labNodes.map((node): Figure => {
      // A new connection starts the count over: what was lost was late in any case.
      const value = gaps[node].linksLost > 0 ? Number.NaN : gaps[node].gapMs;
      const what = `longest gap between heartbeats of a throttled ${roles[node]}`;
      return {
        id: `heartbeat-gap-${roles[node]}`,
        what,
        value,
        unit: 'ms',
        goal: { bound: 'at most', value: gapGoalMs },
      };
    }),
  };
}
