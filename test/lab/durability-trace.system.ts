/**
 * Durability, traced: SIGKILL keeps the page cache, so no kill test sees a missing fdatasync. strace watches both modules of a
 * real pair while a client flushes and writes with FUA: no answer may arrive before an fdatasync of the disk file that began
 * after the request was sent has returned on both nodes.
 *
 * It does not show what the disk itself does with a flush.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { createLabIssuer } from '../../src/lab/lab-identities.ts';
import { LabCluster } from '../../src/lab/pair.ts';
import { labNodes, type LabNode } from '../../src/lab/lab-layout.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';

interface Interval {
  readonly fromMs: number;
  readonly toMs: number;
}

/** When fdatasync of the disk file ran, on the host's clock, ms. */
function syncsOf(trace: string): Interval[] {
  const begun = new Map<string, number>();
  const intervals: Interval[] = [];
  for (const line of trace.split('\n')) {
    const whole = /^(\d+) +(\d+\.\d+) fdatasync\(\d+<[^>]*disk0\.img>\) += 0 <(\d+\.\d+)>/.exec(line);
    if (whole !== null) {
      const fromMs = Number(whole[2]) * 1000;
      intervals.push({ fromMs, toMs: fromMs + Number(whole[3]) * 1000 });
      continue;
    }
    const start = /^(\d+) +(\d+\.\d+) fdatasync\(\d+<[^>]*disk0\.img> <unfinished/.exec(line);
    if (start !== null) begun.set(start[1] as string, Number(start[2]) * 1000);
    const end = /^(\d+) +(\d+\.\d+) <\.\.\. fdatasync resumed>\) += 0/.exec(line);
    const fromMs = end === null ? undefined : begun.get(end[1] as string);
    if (end !== null && fromMs !== undefined) {
      intervals.push({ fromMs, toMs: Number(end[2]) * 1000 });
      begun.delete(end[1] as string);
    }
  }
  return intervals;
}

/** Wall-clock time with the resolution of the trace. */
const wallMs = (): number => performance.timeOrigin + performance.now();

describe('durability of a real pair, traced', function () {
  this.timeout(120_000);
  let directory: TempDirectory;
  let lab: LabCluster;
  const tracers: ChildProcess[] = [];

  before(async () => {
    directory = makeTempDirectory();
    lab = await LabCluster.create({
      directory: join(directory.path, 'lab'),
      sizeBytes: 64 * 1024 * 1024,
      issuer: createLabIssuer,
    });
    await lab.start();
  });

  after(async () => {
    for (const tracer of tracers) tracer.kill('SIGTERM');
    await lab.stop();
    directory.remove();
  });

  it('no flush and no FUA write is answered before fdatasync returned on both nodes', async () => {
    const traces = {} as Record<LabNode, string>;
    for (const node of labNodes) {
      const pid = (await lab.moduleStatus(node))?.pid;
      traces[node] = join(directory.path, `${node}.trace`);
      const options = [
        '-f',
        '-ttt',
        '-T',
        '-y',
        '-e',
        'trace=fdatasync',
        '-o',
        traces[node],
        '-p',
        String(pid),
      ];
      const tracer = spawn('strace', options, { stdio: ['ignore', 'ignore', 'pipe'] });
      tracers.push(tracer);
      await new Promise<void>((attached, failed) => {
        tracer.stderr?.on('data', (chunk: Buffer) => {
          if (chunk.toString().includes('attached')) attached();
        });
        tracer.once('exit', (code) => failed(new Error(`strace ended with ${code}`)));
      });
    }
    const client = await connectNbd({ path: lab.nodes.A.paths.nbd('disk0') }, 'disk0', {
      clock: systemClock,
    });
    const requests: Interval[] = [];
    const block = Buffer.alloc(4096, 7);
    for (let index = 0; index < 30; index += 1) {
      const offset = index * 65536;
      if (index % 2 === 0) await client.write(offset, block);
      const fromMs = wallMs();
      if (index % 2 === 0) await client.flush();
      else await client.write(offset, block, { fua: true });
      requests.push({ fromMs, toMs: wallMs() });
    }
    client.destroy();
    for (const node of labNodes) {
      const covered = (): number => {
        const syncs = existsSync(traces[node]) ? syncsOf(readFileSync(traces[node], 'utf8')) : [];
        return requests.filter(({ fromMs, toMs }) =>
          syncs.some((sync) => sync.fromMs >= fromMs && sync.toMs <= toMs),
        ).length;
      };
      await until(`the trace of node ${node} is written`, () => covered() === requests.length);
      expect(covered()).to.equal(requests.length);
    }
  });
});
