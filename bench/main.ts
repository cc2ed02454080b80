/**
 * `npm run bench [-- --json] [--rounds N] [--seconds N]`: the pair against QEMU's synchronous mirror and an unreplicated
 * qemu-nbd, in one run on one machine. Rounds are interleaved, figures are medians, and what counts are the ratios.
 */
import { mkdtempSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type FioFigures, runFio, workloads } from './fio.ts';
import { removeFiles, startMirror, startPair, startPlain, type System } from './systems.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const sizeBytes = 1000 * 1024 * 1024;

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

async function measure(systems: readonly System[]): Promise<Map<string, FioFigures[]>> {
  const figures = new Map<string, FioFigures[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const workload of workloads) {
      for (const system of systems) {
        const key = `${workload.name}|${system.name}`;
        const result = await runFio(system.uri, workload, seconds, sizeBytes);
        figures.set(key, [...(figures.get(key) ?? []), result]);
        if (values.json !== true)
          console.log(`round ${round + 1}: ${key.replace('|', ', ')}: ${Math.round(result.iops)} IOPS`);
      }
    }
  }
  return figures;
}

const directory = mkdtempSync(join(tmpdir(), 'vmpair-bench-'));
const running: System[] = [];
try {
  running.push(await startPair(directory, sizeBytes));
  running.push(await startMirror(directory, sizeBytes));
  running.push(await startPlain(directory, sizeBytes));
  const figures = await measure(running);
  const rows = workloads.map((workload) => {
    const of = (name: string): FioFigures => {
      const all = figures.get(`${workload.name}|${name}`) ?? [];
      return {
        iops: median(all.map(({ iops }) => iops)),
        mibPerSecond: median(all.map(({ mibPerSecond }) => mibPerSecond)),
        p99Ms: median(all.map(({ p99Ms }) => p99Ms)),
      };
    };
    const [pair, mirror, plain] = [of('vmpair'), of('qemu mirror'), of('qemu-nbd')];
    return {
      workload: workload.name,
      vmpair: pair,
      mirror,
      plain,
      againstMirror: pair.iops / mirror.iops,
      againstPlain: pair.iops / plain.iops,
    };
  });
  const machine = {
    cpus: cpus().length,
    model: cpus()[0]?.model ?? '',
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    node: process.version,
  };
  if (values.json === true) console.log(JSON.stringify({ machine, rounds, seconds, rows }));
  else {
    console.log(
      `\n${machine.cpus} x ${machine.model}, ${machine.memoryGiB} GiB, Node ${machine.node}; medians of ${rounds} interleaved rounds of ${seconds} s\n`,
    );
    console.log(
      '| fio nbd | vmpair IOPS | p99 ms | MiB/s | QEMU mirror | qemu-nbd | against mirror | against qemu-nbd |',
    );
    console.log('|---|---|---|---|---|---|---|---|');
    for (const row of rows) {
      const { workload, vmpair, mirror, plain } = row;
      console.log(
        `| ${workload} | ${Math.round(vmpair.iops)} | ${vmpair.p99Ms.toFixed(1)} | ${Math.round(vmpair.mibPerSecond)} | ${Math.round(mirror.iops)} | ${Math.round(plain.iops)} | ${row.againstMirror.toFixed(2)} | ${row.againstPlain.toFixed(2)} |`,
      );
    }
  }
} finally {
  for (const system of running) await system.stop();
  removeFiles(directory);
}
