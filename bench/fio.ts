/** One fio run against an NBD URI, and the figures that the comparison uses. */
import { spawn } from 'node:child_process';

export interface Workload {
  readonly name: string;
  readonly rw: 'randwrite' | 'randread' | 'write';
  readonly blockBytes: number;
  readonly depth: number;
  readonly fsyncEach?: boolean;
}

export interface FioFigures {
  readonly iops: number;
  readonly mibPerSecond: number;
  readonly p99Ms: number;
}

/** The rows of the comparison. */
export const workloads: readonly Workload[] = [
  { name: '4 KiB random write QD1', rw: 'randwrite', blockBytes: 4096, depth: 1 },
  { name: '4 KiB random write QD16', rw: 'randwrite', blockBytes: 4096, depth: 16 },
  { name: '4 KiB random write QD32', rw: 'randwrite', blockBytes: 4096, depth: 32 },
  { name: '1 MiB write QD4', rw: 'write', blockBytes: 1024 * 1024, depth: 4 },
  { name: '4 KiB write + fsync each QD1', rw: 'randwrite', blockBytes: 4096, depth: 1, fsyncEach: true },
  { name: '4 KiB random read QD16', rw: 'randread', blockBytes: 4096, depth: 16 },
];

interface FioDirection {
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

export async function runFio(
  uri: string,
  workload: Workload,
  seconds: number,
  sizeBytes: number,
): Promise<FioFigures> {
  const args = [
    '--name=bench',
    '--ioengine=nbd',
    `--uri=${uri}`,
    `--rw=${workload.rw}`,
    `--bs=${workload.blockBytes}`,
    `--iodepth=${workload.depth}`,
    `--size=${sizeBytes}`,
    '--time_based',
    `--runtime=${seconds}`,
    '--ramp_time=1',
    '--output-format=json',
    ...(workload.fsyncEach === true ? ['--fsync=1'] : []),
  ];
  const child = spawn('fio', args, { stdio: ['ignore', 'pipe', 'inherit'], timeout: (seconds + 60) * 1000 });
  let output = '';
  for await (const chunk of child.stdout) output += String(chunk);
  // fio may print notes before the JSON.
  const report = JSON.parse(output.slice(output.indexOf('{'))) as {
    jobs: [{ read: FioDirection; write: FioDirection }];
  };
  const direction = workload.rw === 'randread' ? report.jobs[0].read : report.jobs[0].write;
  const p99 = direction.clat_ns.percentile?.['99.000000'] ?? 0;
  return { iops: direction.iops, mibPerSecond: direction.bw_bytes / 1024 ** 2, p99Ms: p99 / 1e6 };
}
