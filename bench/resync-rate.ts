/**
 * How fast a full first copy is: a real pair against `nbdcopy`, which copies from a qemu-nbd at a unix socket to one over TCP on
 * loopback. Both read the same source file and write a new sparse one, and both end with a flush.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { median, medianRatio, rotate, showNumber } from './figures.ts';
import type { Encryption } from './options.ts';
import { dropPageCache } from './page-cache.ts';
import type { Bench } from './part.ts';
import type { Section } from './report.ts';
import {
  createPair,
  enterNamespace,
  fillFile,
  leaveNamespace,
  serveFile,
  serveFileOverTcp,
  startPrimary,
  startSecondary,
  until,
} from './systems.ts';
import { finish } from './tool.ts';

/** A copy that moves less than this counts as hung. */
const slowestMibPerSecond = 5;
const goalAgainstNbdcopy = 0.9;

const methods = ['clear', 'tls', 'nbdcopy'] as const;
type Method = (typeof methods)[number];
const titles: Readonly<Record<Method, string>> = {
  clear: 'vmpair, link in the clear',
  tls: 'vmpair',
  nbdcopy: 'nbdcopy',
};

export async function measureResyncRate(bench: Bench): Promise<Section> {
  const { rounds, resyncMib } = bench.options;
  const rates: Record<Method, number[]> = { clear: [], tls: [], nbdcopy: [] };
  const inNamespace = enterNamespace(bench.scratch);
  try {
    for (let round = 0; round < rounds; round += 1) {
      const directory = bench.scratch.path(`resync-${round}`);
      mkdirSync(directory);
      const source = join(directory, 'source.raw');
      fillFile(source, resyncMib * 1024 ** 2);
      for (const method of rotate(methods, round)) {
        // Otherwise the second one would find in memory what the first one has read.
        dropPageCache(source);
        const seconds =
          method === 'nbdcopy'
            ? await nbdcopySeconds(bench, source, inNamespace)
            : await resyncSeconds(bench, source, join(directory, method), method === 'clear' ? 'off' : 'on');
        const rate = resyncMib / seconds;
        rates[method].push(rate);
        bench.progress(
          `round ${round + 1} of ${rounds}: first copy, ${titles[method]}: ${Math.round(rate)} MiB/s`,
        );
      }
      rmSync(directory, { recursive: true });
    }
  } finally {
    leaveNamespace(bench.scratch);
  }
  return describe(resyncMib, rates);
}

/** From the first block to a pair in sync, s, as the module tells it: the final flush of both copies included. */
async function resyncSeconds(
  { options }: Bench,
  source: string,
  directory: string,
  encryption: Encryption,
): Promise<number> {
  const lab = await createPair(directory, options.resyncMib * 1024 ** 2, { encryption });
  renameSync(source, lab.nodes.A.diskFile);
  try {
    await startPrimary(lab);
    await startSecondary(lab);
    await until('the pair is in sync', (options.resyncMib / slowestMibPerSecond) * 1000, async () => {
      return (await lab.moduleStatus('A'))?.axes.link === 'in-sync';
    });
    const elapsedMs = (await lab.moduleStatus('A'))?.lastResync?.elapsedMs;
    if (elapsedMs === undefined)
      throw new Error('wanted the time of the first copy, found none in the status');
    return elapsedMs / 1000;
  } finally {
    await lab.stop();
    renameSync(lab.nodes.A.diskFile, source);
    rmSync(directory, { recursive: true });
  }
}

/** The time of the whole command, s. */
async function nbdcopySeconds(
  { scratch, options }: Bench,
  file: string,
  inNamespace: readonly string[],
): Promise<number> {
  const copy = scratch.path('copy.raw');
  const socket = scratch.path('copy.sock');
  rmSync(socket, { force: true });
  writeFileSync(copy, '');
  truncateSync(copy, options.resyncMib * 1024 ** 2);
  const source = await serveFile(file, socket);
  const target = await serveFileOverTcp(inNamespace, copy);
  try {
    const startedMs = performance.now();
    const [command, ...args] = [...inNamespace, 'nbdcopy', '--flush', source.uri, target.uri];
    const timeout = (options.resyncMib / slowestMibPerSecond) * 1000;
    await finish(spawn(command ?? 'nbdcopy', args, { stdio: ['ignore', 'pipe', 'pipe'], timeout }));
    return (performance.now() - startedMs) / 1000;
  } finally {
    await source.stop();
    await target.stop();
    rmSync(copy);
  }
}

function describe(sizeMib: number, rates: Readonly<Record<Method, readonly number[]>>): Section {
  const ratio = medianRatio(rates.clear, rates.nbdcopy);
  const tlsRatio = medianRatio(rates.tls, rates.nbdcopy);
  return {
    title: 'First copy',
    how:
      `${sizeMib} MiB of allocated data to a new sparse file. vmpair: from the first block to a pair in ` +
      'sync. nbdcopy: the whole command, with `--flush`, from a qemu-nbd at a unix socket to one over TCP loopback, without TLS. The source is read from the disk.',
    table: {
      columns: ['copied by', 'MiB/s', 'this/nbdcopy'],
      rows: methods.map((method) => [
        titles[method],
        showNumber(median(rates[method])),
        method === 'nbdcopy' ? '' : showNumber(method === 'clear' ? ratio : tlsRatio),
      ]),
    },
    figures: [
      {
        id: 'resync-against-nbdcopy',
        what: 'first copy, link in the clear, against nbdcopy',
        value: ratio,
        unit: 'x',
        goal: { bound: 'at least', value: goalAgainstNbdcopy },
      },
      {
        id: 'resync-tls-against-nbdcopy',
        what: 'first copy, against nbdcopy without TLS',
        value: tlsRatio,
        unit: 'x',
      },
    ],
  };
}
