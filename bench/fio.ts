/** One fio run against an NBD URI, and the figures that the comparisons use. */
import { spawn } from 'node:child_process';
import { descendants, processorSeconds } from './processor-time.ts';
import { finish } from './tool.ts';

/** A pattern of requests. */
export interface Pattern {
  readonly rw: 'randwrite' | 'randread' | 'write';
  readonly blockBytes: number;
  readonly depth: number;
  readonly fsyncEach?: boolean;
  /** Random offsets are multiples of this; the block size by default. */
  readonly alignBytes?: number;
}

export interface Workload extends Pattern {
  readonly id: string;
  readonly name: string;
}

export interface FioFigures {
  readonly iops: number;
  readonly mibPerSecond: number;
  /** Completion latency; with `fsyncEach` that of the flush. */
  readonly p99Ms: number;
  /** Processor time of fio and of the processes that were watched, for each operation. */
  readonly processorUsPerOperation: number;
}

const kib = 1024;
const mib = 1024 * kib;

/** The rows of the comparison. */
export const workloads: readonly Workload[] = [
  { id: 'randwrite-qd1', name: '4 KiB random write QD1', rw: 'randwrite', blockBytes: 4 * kib, depth: 1 },
  { id: 'randwrite-qd16', name: '4 KiB random write QD16', rw: 'randwrite', blockBytes: 4 * kib, depth: 16 },
  { id: 'randwrite-qd32', name: '4 KiB random write QD32', rw: 'randwrite', blockBytes: 4 * kib, depth: 32 },
  { id: 'write-1m-qd4', name: '1 MiB write QD4', rw: 'write', blockBytes: mib, depth: 4 },
  {
    id: 'randwrite-fsync-qd1',
    name: '4 KiB write + fsync each QD1',
    rw: 'randwrite',
    blockBytes: 4 * kib,
    depth: 1,
    fsyncEach: true,
  },
  { id: 'randread-qd16', name: '4 KiB random read QD16', rw: 'randread', blockBytes: 4 * kib, depth: 16 },
];

/** Load before figures count, s. */
export const warmUpSeconds = 1;
/** Time that fio may take beyond its load before it counts as hung, s. */
const spareSeconds = 60;
/** The processor is watched from a little after the warm-up to a little before the end, ms. */
const windowMarginMs = 200;

interface FioDirection {
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: FioLatency;
}

interface FioLatency {
  readonly percentile?: Readonly<Record<string, number>>;
}

/**
 * Loads `uri` for `seconds` after the warm-up, over the first `sizeBytes` of it. `watched`: the processes whose processor time
 * counts, beside fio's own.
 */
export async function runFio(
  uri: string,
  pattern: Pattern,
  seconds: number,
  sizeBytes: number,
  watched: () => readonly number[],
): Promise<FioFigures> {
  const args = [
    '--name=bench',
    '--ioengine=nbd',
    `--uri=${uri}`,
    `--rw=${pattern.rw}`,
    `--bs=${pattern.blockBytes}`,
    `--blockalign=${pattern.alignBytes ?? pattern.blockBytes}`,
    `--iodepth=${pattern.depth}`,
    `--size=${sizeBytes}`,
    '--norandommap',
    '--time_based',
    `--runtime=${seconds}`,
    `--ramp_time=${warmUpSeconds}`,
    '--output-format=json',
    ...(pattern.fsyncEach === true ? ['--fsync=1'] : []),
  ];
  const timeout = (warmUpSeconds + seconds + spareSeconds) * 1000;
  const child = spawn('fio', args, { stdio: ['ignore', 'pipe', 'pipe'], timeout });
  const all = (): number[] => {
    const { pid } = child;
    return [...watched(), ...(pid === undefined ? [] : [pid, ...descendants(pid)])];
  };
  const processors = processorsInUse(all, warmUpSeconds * 1000 + windowMarginMs, seconds * 1000);
  const output = await finish(child);
  // fio may print notes before the JSON.
  const report = JSON.parse(output.slice(output.indexOf('{'))) as {
    jobs: [{ read: FioDirection; write: FioDirection; sync: { lat_ns: FioLatency } }];
  };
  const [job] = report.jobs;
  const direction = pattern.rw === 'randread' ? job.read : job.write;
  const latency = pattern.fsyncEach === true ? job.sync.lat_ns : direction.clat_ns;
  const p99 = latency.percentile?.['99.000000'] ?? Number.NaN;
  return {
    iops: direction.iops,
    mibPerSecond: direction.bw_bytes / mib,
    p99Ms: p99 / 1e6,
    processorUsPerOperation: ((await processors) * 1e6) / direction.iops,
  };
}

/** Processors that the processes kept busy on average in the window, 1.5 for one and a half. */
async function processorsInUse(pids: () => number[], fromMs: number, lengthMs: number): Promise<number> {
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  await pause(fromMs);
  const watched = pids();
  const before = { seconds: processorSeconds(watched), ms: performance.now() };
  await pause(lengthMs - 2 * windowMarginMs);
  const seconds = processorSeconds(watched) - before.seconds;
  return (seconds * 1000) / (performance.now() - before.ms);
}
