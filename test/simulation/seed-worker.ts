/** One worker process of seed-pool.ts: runs the seeds that it is told, one after the other, and ends with its parent. */
import { runSeed } from './run-seed.ts';

process.on('message', (seed: number) => {
  const report = runSeed(seed);
  process.send?.(
    report.violation === undefined ? { ...report, transcript: [] } : report,
    (error: unknown) => {
      // The parent is gone, or has seen enough.
      if (error !== null) process.exit(0);
    },
  );
});
process.on('disconnect', () => process.exit(0));
