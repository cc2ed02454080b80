/**
 * What the NBD server costs by itself: fio's nbd engine against a disk in memory, one JSON line per pattern.
 * `node --import tsx bench/nbd-memory.ts [seconds]`; needs fio with its nbd engine.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../src/base/log.ts';
import { ExportTable } from '../src/nbd/export-table.ts';
import { NbdListener } from '../src/platform/nbd-listener.ts';
import { systemClock } from '../src/platform/system-clock.ts';
import { MemoryDevice } from '../test/nbd/memory-device.ts';

const patterns = [
  { rw: 'randwrite', bs: '4k', iodepth: 1 },
  { rw: 'randwrite', bs: '4k', iodepth: 16 },
  { rw: 'randwrite', bs: '4k', iodepth: 32 },
  { rw: 'randread', bs: '4k', iodepth: 16 },
  { rw: 'write', bs: '1m', iodepth: 4 },
  { rw: 'read', bs: '1m', iodepth: 4 },
] as const;

interface FioSide {
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

function runTool(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (text: Buffer) => {
      output += text.toString();
    });
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(output) : reject(new Error(`${command} ended with ${code}`)),
    );
  });
}

const seconds = Number(process.argv[2] ?? 3);
const folder = mkdtempSync(join(tmpdir(), 'vmpair-bench-'));
const device = new MemoryDevice(256 * 1024 * 1024);
device.recordCalls = false;
device.bytes.fill(1);
const exports = new ExportTable();
exports.serve('disk0', device);
const path = join(folder, 'nbd.sock');
const listener = await NbdListener.listen({ path }, { exports, clock: systemClock, log: silentLog });
for (const { rw, bs, iodepth } of patterns) {
  const output = await runTool('fio', [
    '--name=bench',
    '--ioengine=nbd',
    `--uri=nbd+unix:///disk0?socket=${path}`,
    `--rw=${rw}`,
    `--bs=${bs}`,
    `--iodepth=${iodepth}`,
    '--size=256m',
    '--time_based',
    `--runtime=${seconds}`,
    '--output-format=json',
  ]);
  const report = JSON.parse(output.slice(output.indexOf('{'))) as {
    jobs: { read: FioSide; write: FioSide }[];
  };
  const job = report.jobs[0];
  const side = rw.endsWith('read') ? job?.read : job?.write;
  const p99Us = Math.round((side?.clat_ns.percentile?.['99.000000'] ?? 0) / 1000);
  const megabytesPerSecond = Math.round((side?.bw_bytes ?? 0) / 1e6);
  console.log(
    JSON.stringify({ rw, bs, iodepth, iops: Math.round(side?.iops ?? 0), megabytesPerSecond, p99Us }),
  );
}
await listener.close('the bench is over');
rmSync(folder, { recursive: true });
