/**
 * Runs seeds in worker processes, one per core, and hands out their reports in the order of the seeds: what a caller sees
 * does not depend on how many workers there are or which was faster.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

const projectRoot = fileURLToPath(new URL('../../', import.meta.url));

export interface PoolOptions {
  /** The program that runs them. */
  readonly worker?: string;
  /** Where the sources are that the workers run; the project itself when not given. */
  readonly root?: string;
  readonly workers?: number;
}

/**
 * Runs `count` seeds from `first` on. `each` is called with every report, in order; it answers false when it has seen enough:
 * then nothing more is reported. Rejects when a worker dies, which is a failure of the simulation itself.
 */
export function runSeeds<Report extends { readonly seed: number }>(
  seeds: readonly number[],
  each: (report: Report) => boolean,
  {
    root = projectRoot,
    worker = 'test/simulation/seed-worker.ts',
    workers = availableParallelism(),
  }: PoolOptions = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    const early = new Map<number, Report>();
    const children: ChildProcess[] = [];
    let given = 0;
    let reported = 0;
    let over = false;
    const finish = (error?: Error): void => {
      if (over) return;
      over = true;
      for (const child of children) child.kill('SIGKILL');
      if (error === undefined) resolve();
      else reject(error);
    };
    const give = (child: ChildProcess): void => {
      const seed = seeds[given];
      if (seed === undefined) return;
      given += 1;
      child.send(seed);
    };
    const take = (report: Report): void => {
      early.set(report.seed, report);
      for (;;) {
        const next = early.get(seeds[reported] as number);
        if (next === undefined) break;
        early.delete(next.seed);
        reported += 1;
        if (!each(next)) return finish();
      }
      if (reported === seeds.length) finish();
    };
    if (seeds.length === 0) return finish();
    for (let index = 0; index < Math.min(workers, seeds.length); index += 1) {
      const child = fork(`${root}${worker}`, {
        cwd: root,
        execArgv: ['--import', 'tsx'],
        serialization: 'advanced',
      });
      children.push(child);
      child.on('message', (report: Report) => {
        if (over) return;
        take(report);
        give(child);
      });
      child.on('exit', (code, signal) => {
        if (!over)
          finish(new Error(`a worker of the simulation ended by itself: ${signal ?? `exit code ${code}`}`));
      });
      child.on('error', finish);
      give(child);
    }
  });
}

/** Seeds `first`, `first` + 1, and so on. */
export function seedsFrom(first: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_none, index) => first + index);
}
