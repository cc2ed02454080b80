/**
 * How fast a full first copy is: a real pair against `nbdcopy`, which copies from a qemu-nbd at a unix socket to one over TCP on
 * loopback. Both read the same source file and write a new sparse one, and both end with a flush.
 */
import { spawn } from 'node:child_process';
import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import type { LabCluster } from '../src/lab/pair.ts';
import { median, medianRatio, rotate, showNumber } from './figures.ts';
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

const methods = ['vmpair', 'nbdcopy'] as const;
type Method = (typeof methods)[number];

export async function measureResyncRate(bench: Bench): Promise<Section> {
  const { rounds, resyncMib, encryption } = bench.options;
  const rates: Record<Method, number[]> = { vmpair: [], nbdcopy: [] };
  const inNamespace = enterNamespace(bench.scratch);
  try {
    for (let round = 0; round < rounds; round += 1) {
      const directory = bench.scratch.path(`resync-${round}`);
      const lab = await createPair(directory, resyncMib * 1024 ** 2, { encryption });
      fillFile(lab.nodes.A.diskFile, resyncMib * 1024 ** 2);
      for (const method of rotate(methods, round)) {
        const copy = method === 'vmpair' ? resyncSeconds : nbdcopySeconds;
        const rate = resyncMib / (await copy(bench, lab, inNamespace));
        rates[method].push(rate);
        bench.progress(`round ${round + 1} of ${rounds}: first copy, ${method}: ${Math.round(rate)} MiB/s`);
      }
      rmSync(directory, { recursive: true });
    }
  } finally {
    leaveNamespace(bench.scratch);
  }
  return describe(resyncMib, rates);
}

/** From the command that starts the empty node to a pair in sync, s: connecting and agreeing included. */
async function resyncSeconds({ options }: Bench, lab: LabCluster): Promise<number> {
  try {
    await startPrimary(lab);
    const startedMs = performance.now();
    await startSecondary(lab);
    await until('the pair is in sync', (options.resyncMib / slowestMibPerSecond) * 1000, async () => {
      return (await lab.moduleStatus('A'))?.axes.link === 'in-sync';
    });
    return (performance.now() - startedMs) / 1000;
  } finally {
    await lab.stop();
  }
}

/** The time of the whole command, s. */
async function nbdcopySeconds(
  { scratch, options }: Bench,
  lab: LabCluster,
  inNamespace: readonly string[],
): Promise<number> {
  const copy = scratch.path('copy.raw');
  const socket = scratch.path('copy.sock');
  rmSync(socket, { force: true });
  writeFileSync(copy, '');
  truncateSync(copy, options.resyncMib * 1024 ** 2);
  const source = await serveFile(lab.nodes.A.diskFile, socket);
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
  const ratio = medianRatio(rates.vmpair, rates.nbdcopy);
  return {
    title: 'First copy',
    how:
      `${sizeMib} MiB of allocated data to a new sparse file. vmpair: from the command that starts the empty node to a pair in ` +
      'sync. nbdcopy: the whole command, with `--flush`, from a qemu-nbd at a unix socket to one over TCP loopback, without TLS.',
    table: {
      columns: ['copied by', 'MiB/s', 'vmpair/this'],
      rows: methods.map((method) => [
        method,
        showNumber(median(rates[method])),
        method === 'vmpair' ? '' : showNumber(ratio),
      ]),
    },
    figures: [
      {
        id: 'resync-against-nbdcopy',
        what: 'first copy, against nbdcopy',
        value: ratio,
        unit: 'x',
        goal: { bound: 'at least', value: goalAgainstNbdcopy },
      },
    ],
  };
}
