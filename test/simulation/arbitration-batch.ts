/** Runs of arbitration in batches, because one is too short to be told of by a message of its own. */
import { runArbitration } from './arbitration-run.ts';

/** Batch n runs the seeds n * runsPerBatch and up. */
export const runsPerBatch = 100;

export interface BatchReport {
  /** Number of the batch. */
  readonly seed: number;
  readonly runs: number;
  /** Runs in whose end the VM had to run, and did. */
  readonly hadToRun: number;
  readonly violations: readonly {
    readonly seed: number;
    readonly violation: string;
    readonly transcript: readonly string[];
  }[];
}

export function runBatch(batch: number): BatchReport {
  const violations: BatchReport['violations'][number][] = [];
  let hadToRun = 0;
  for (let seed = batch * runsPerBatch; seed < (batch + 1) * runsPerBatch; seed += 1) {
    const report = runArbitration(seed);
    if (report.hadToRun) hadToRun += 1;
    const { violation, transcript } = report;
    if (violation !== undefined) violations.push({ seed, violation, transcript });
  }
  return { seed: batch, runs: runsPerBatch, hadToRun, violations };
}
