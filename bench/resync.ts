/**
 * `npm run bench:resync [-- --json] [--rounds N] [--seconds N] [--mebibytes N]`: what a resync of the shipped pair does, in one run
 * on one machine: its rate while the guest rests, against nbdcopy into a qemu-nbd over TLS with files of the same content; its
 * rate beside a guest that writes all the time, and what that guest notices. Everything is interleaved; figures are medians.
 * Not measured: disks that are slower than the page cache, and links that are slower than the loopback.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { ModuleStatus } from '../src/base/status.ts';
import { createLabIssuer } from '../src/lab/lab-identities.ts';
import type { LabCluster } from '../src/lab/pair.ts';
import { findFreePort } from '../src/platform/free-port.ts';
import { systemClock } from '../src/platform/system-clock.ts';
import { waitUntil } from '../src/platform/wait-until.ts';
import { median } from './figures.ts';
import { type Pattern, runFio } from './fio.ts';
import { Scratch } from './scratch.ts';
import { startPair } from './systems.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '5' },
    mebibytes: { type: 'string', default: '2048' },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const mebibyte = 1024 * 1024;
const sizeBytes = Number(values.mebibytes) * mebibyte;
const deadlineMs = 120_000;
const depths = [4, 16] as const;

const randomWrites = (depth: number): Pattern => ({ rw: 'randwrite', blockBytes: 4096, depth });
/** Whose processor time is watched: nobody's. */
const nobody = (): readonly number[] => [];

/** Every block of the file is written, with bytes that the source has not. */
function fillWith(file: string, value: number): void {
  const piece = Buffer.alloc(4 * mebibyte, value);
  const fd = openSync(file, existsSync(file) ? 'r+' : 'w');
  for (let at = 0; at < sizeBytes; at += piece.length)
    writeSync(fd, piece, 0, Math.min(piece.length, sizeBytes - at), at);
  fsyncSync(fd);
  closeSync(fd);
}

function listens(port: number): Promise<true | undefined> {
  const accepted = (): Promise<true | undefined> =>
    new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.1', port }, () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', () => resolve(undefined));
    });
  return waitUntil(systemClock, deadlineMs, accepted);
}

async function endServer(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return;
  const gone = once(server, 'exit');
  server.kill('SIGTERM');
  await gone;
}

function say(text: string): void {
  if (values.json !== true) console.log(text);
}

async function statusWhen(
  lab: LabCluster,
  what: string,
  test: (status: ModuleStatus) => boolean,
): Promise<ModuleStatus> {
  const found = await waitUntil(systemClock, deadlineMs, async () => {
    const status = await lab.moduleStatus('A');
    return status !== undefined && test(status) ? status : undefined;
  });
  if (found === undefined) throw new Error(`not within ${deadlineMs} ms: ${what}`);
  return found;
}

const inSync = (status: ModuleStatus): boolean => status.axes.link === 'in-sync';
const copies = (status: ModuleStatus): boolean => (status.resync?.examinedBytes ?? 0) > 0;

/** The metadata of B is gone: everything will be copied to it, over the file that it has. */
async function forgetB(lab: LabCluster): Promise<void> {
  await lab.powerOff('B');
  rmSync(lab.nodes.B.metadataFile);
  fillWith(lab.nodes.B.diskFile, 0x11);
  await statusWhen(lab, 'A goes on alone', ({ state }) => state === 'ALONE');
  await lab.startMachine('B');
}

/** MiB/s of a full copy while the guest rests, its flushes included. */
async function freeResync(lab: LabCluster): Promise<number> {
  await forgetB(lab);
  const { lastResync } = await statusWhen(lab, 'in sync', inSync);
  if (lastResync?.examinedBytes !== sizeBytes) throw new Error('the resync was not a full copy');
  return lastResync.bytesPerSecond / mebibyte;
}

interface Beside {
  readonly resyncMibPerSecond: number;
  readonly p99Ms: number;
  readonly iops: number;
}

/** A full copy beside a guest that begins to write when the copy has begun. */
async function besideGuest(lab: LabCluster, depth: number): Promise<Beside> {
  await forgetB(lab);
  await statusWhen(lab, 'the copy begins', copies);
  const fio = runFio(lab.nodes.A.nbdUri, randomWrites(depth), seconds, sizeBytes, nobody);
  const samples: { readonly atMs: number; readonly examinedBytes: number }[] = [];
  let over = false;
  void fio.finally(() => {
    over = true;
  });
  await waitUntil(systemClock, deadlineMs, async () => {
    const status = await lab.moduleStatus('A');
    const examinedBytes = status?.resync?.examinedBytes;
    if (examinedBytes !== undefined && (status?.counters['writes'] ?? 0) > 0)
      samples.push({ atMs: systemClock.nowMs(), examinedBytes });
    return over || undefined;
  });
  const { p99Ms, iops } = await fio;
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || first === last)
    throw new Error('no resync beside the guest');
  const bytesPerMs = (last.examinedBytes - first.examinedBytes) / (last.atMs - first.atMs);
  const stillRuns = (await lab.moduleStatus('A'))?.resync !== undefined;
  if (!stillRuns) say('  (the copy ended before the guest did; use more --mebibytes)');
  await statusWhen(lab, 'in sync', inSync);
  return { resyncMibPerSecond: (bytesPerMs * 1000) / mebibyte, p99Ms, iops };
}

interface CopyTarget {
  readonly source: string;
  readonly uri: string;
  readonly server: ChildProcess;
}

/** A qemu-nbd that takes copies over TLS. */
async function startCopyTarget(directory: string): Promise<CopyTarget> {
  // A certificate like those of the link, with a name that libnbd accepts.
  const issuer = await createLabIssuer('0'.repeat(32));
  const tls = join(directory, 'tls');
  mkdirSync(tls);
  const { ca, cert, key } = await issuer.issue('node', 'localhost', tls);
  copyFileSync(ca, join(tls, 'ca-cert.pem'));
  copyFileSync(cert, join(tls, 'server-cert.pem'));
  copyFileSync(key, join(tls, 'server-key.pem'));
  const files = [join(directory, 'nbdcopy-source.raw'), join(directory, 'nbdcopy-target.raw')] as const;
  fillWith(files[0], 0x5a);
  fillWith(files[1], 0x11);
  const port = await findFreePort('127.0.0.1');
  const credentials = `tls-creds-x509,id=tls0,endpoint=server,dir=${tls},verify-peer=no`;
  const options = `-f raw -e 8 -t --cache=writeback --discard=unmap -b 127.0.0.1 -p ${port} -x b --tls-creds tls0`;
  const server = spawn('qemu-nbd', [...options.split(' '), '--object', credentials, files[1]], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  await listens(port);
  return { source: files[0], uri: `nbds://localhost:${port}/b?tls-certificates=${tls}`, server };
}

/** MiB/s of nbdcopy, the flush included. */
async function nbdcopy({ source, uri }: CopyTarget): Promise<number> {
  const startMs = performance.now();
  const child = spawn('nbdcopy', ['--flush', source, uri], { stdio: ['ignore', 'inherit', 'inherit'] });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`nbdcopy ended with ${code}`);
  return sizeBytes / mebibyte / ((performance.now() - startMs) / 1000);
}

const scratch = await Scratch.create();
const { directory } = scratch;
const ends: (() => Promise<void>)[] = [];
try {
  const target = await startCopyTarget(directory);
  ends.push(() => endServer(target.server));
  const pair = await startPair(join(directory, 'pair'), sizeBytes);
  ends.push(() => pair.stop());
  const free: number[] = [];
  const copied: number[] = [];
  const beside = depths.map((depth) => ({ depth, quiet: [] as number[], during: [] as Beside[] }));
  for (let round = 1; round <= rounds; round += 1) {
    free.push(await freeResync(pair.lab));
    copied.push(await nbdcopy(target));
    say(
      `round ${round}: resync ${free.at(-1)?.toFixed(0)} MiB/s, nbdcopy ${copied.at(-1)?.toFixed(0)} MiB/s`,
    );
    for (const { depth, quiet, during } of beside) {
      const without = await runFio(pair.uri, randomWrites(depth), seconds, sizeBytes, nobody);
      const result = await besideGuest(pair.lab, depth);
      quiet.push(without.p99Ms);
      during.push(result);
      say(
        `round ${round}: QD${depth}: guest p99 ${without.p99Ms.toFixed(2)} ms without, ${result.p99Ms.toFixed(2)} ms ` +
          `(${Math.round(without.iops)} and ${Math.round(result.iops)} IOPS) beside ${result.resyncMibPerSecond.toFixed(0)} MiB/s`,
      );
    }
  }
  const freeRate = median(free);
  const rows = beside.map(({ depth, quiet, during }) => {
    const resyncMibPerSecond = median(during.map((each) => each.resyncMibPerSecond));
    const [p99Without, p99Beside] = [median(quiet), median(during.map(({ p99Ms }) => p99Ms))];
    return {
      depth,
      resyncMibPerSecond,
      ofFreeRate: resyncMibPerSecond / freeRate,
      p99Without,
      p99Beside,
      p99Ratio: p99Beside / p99Without,
    };
  });
  const nbdcopyRate = median(copied);
  const figures = { freeRate, nbdcopyRate, againstNbdcopy: freeRate / nbdcopyRate, rows };
  if (values.json === true) console.log(JSON.stringify({ rounds, seconds, sizeBytes, ...figures }));
  else {
    console.log(`\nmedians of ${rounds} rounds, ${values.mebibytes} MiB`);
    console.log(
      `resync ${freeRate.toFixed(0)} MiB/s, nbdcopy over TLS ${nbdcopyRate.toFixed(0)} MiB/s: ${figures.againstNbdcopy.toFixed(2)} x (aim: >= 0.9)\n`,
    );
    console.log(
      '| guest | resync beside it, MiB/s | of its free rate (aim: >= 0.3) | p99 ms without | p99 ms beside | ratio (aim: <= 3) |',
    );
    console.log('|---|---|---|---|---|---|');
    for (const row of rows) {
      console.log(
        `| 4 KiB random write QD${row.depth} | ${row.resyncMibPerSecond.toFixed(0)} | ${row.ofFreeRate.toFixed(2)} | ${row.p99Without.toFixed(2)} | ${row.p99Beside.toFixed(2)} | ${row.p99Ratio.toFixed(2)} |`,
      );
    }
  }
} finally {
  for (const end of ends.toReversed()) await end();
  await scratch.remove();
}
