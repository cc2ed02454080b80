/** Memory of a module that has worked and is idle again: compiled programs, primary and secondary. */
import { readFileSync } from 'node:fs';
import { type LabNode, labNodes } from '../src/lab/lab-layout.ts';
import { type Figure, showNumber } from './figures.ts';
import { runFio, workloads } from './fio.ts';
import type { Bench } from './part.ts';
import type { Section } from './report.ts';
import { modulePid, type PairSystem, roles, startPair } from './systems.ts';

/** Megabytes of 10^6 bytes. */
const residentGoalMb = 80;
const moments = ['in sync, no load yet', 'at the end of the load', 'idle'] as const;

interface Memory {
  /** Pages in memory, MB. */
  readonly residentMb: number;
  /** Part of it that is the process's own; the rest are pages of files, most of the Node program, which all modules share. */
  readonly ownMb: number;
  /** Pages in memory with shared ones divided among those who share them, MB. */
  readonly proportionalMb: number;
}

export async function measureMemory(bench: Bench): Promise<Section> {
  const { sizeMib, seconds, idleSeconds } = bench.options;
  bench.progress('starting a pair for its memory');
  const pair = await startPair(bench.scratch.path('memory'), sizeMib * 1024 ** 2, {
    encryption: bench.options.encryption,
  });
  try {
    const found = [await memoryOf(pair)];
    for (const workload of workloads) {
      await runFio(pair.uri, workload, seconds, sizeMib * 1024 ** 2, () => pair.pids());
    }
    found.push(await memoryOf(pair));
    bench.progress(`idle for ${idleSeconds} s`);
    // Time itself is what is measured here: how much an idle process gives back.
    await new Promise((resolve) => setTimeout(resolve, idleSeconds * 1000));
    found.push(await memoryOf(pair));
    return describe(bench, found);
  } finally {
    await pair.stop();
  }
}

async function memoryOf({ lab }: PairSystem): Promise<Record<LabNode, Memory>> {
  const [A, B] = await Promise.all(labNodes.map(async (node) => readMemory(await modulePid(lab, node))));
  return { A: A as Memory, B: B as Memory };
}

function readMemory(pid: number): Memory {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const megabytes = (name: string): number =>
    (Number(new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(rollup)?.[1]) * 1024) / 1e6;
  return {
    residentMb: megabytes('Rss'),
    ownMb: megabytes('Anonymous'),
    proportionalMb: megabytes('Pss'),
  };
}

function describe({ options }: Bench, found: readonly Readonly<Record<LabNode, Memory>>[]): Section {
  const figures = labNodes.map((node): Figure => {
    const role = roles[node];
    const value = found.at(-1)?.[node].residentMb ?? Number.NaN;
    const goal = { bound: 'at most', value: residentGoalMb } as const;
    return { id: `memory-${role}`, what: `resident memory of an idle ${role}`, value, unit: 'MB', goal };
  });
  return {
    title: 'Memory of a module',
    how:
      `Compiled programs, one volume. The load is each workload of the requests for ${options.seconds} s; idle is ` +
      `${options.idleSeconds} s later. MB are 10^6 bytes. Own pages are the process's alone; the others are of files, most of them of ` +
      'the Node program, which all modules of a host share.',
    table: {
      columns: ['module', 'when', 'RSS MB', 'own pages MB', 'PSS MB'],
      rows: labNodes.flatMap((node) =>
        found.map((memory, index) => [
          roles[node],
          moments[index] ?? '',
          showNumber(memory[node].residentMb),
          showNumber(memory[node].ownMb),
          showNumber(memory[node].proportionalMb),
        ]),
      ),
    },
    figures,
  };
}
