/** One worker process of the runs of arbitration: takes a batch number, runs the batch, and ends with its parent. */
import { runBatch } from './arbitration-batch.ts';

process.on('message', (batch: number) => {
  process.send?.(runBatch(batch), (error: unknown) => {
    // The parent is gone, or has seen enough.
    if (error !== null) process.exit(0);
  });
});
process.on('disconnect', () => process.exit(0));
