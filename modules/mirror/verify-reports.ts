/**
 * The report of the last verify: a small file beside the metadata, so that `vmpair status` still shows it after the process
 * was restarted. Only for people: a report that cannot be read or written is logged and missing.
 */
import { z } from 'zod';
import type { Log } from '../../src/base/log.ts';
import type { VerifyReportStore } from '../../src/cluster/verify.ts';
import { SmallFile } from './small-file.ts';

const reportSchema = z.object({
  outcome: z.enum(['running', 'waiting', 'complete', 'stopped', 'interrupted']),
  because: z.string(),
  volumes: z.array(z.string()),
  rateBytesPerSecond: z.number().optional(),
  startedAt: z.string(),
  endedAt: z.string().optional(),
  elapsedMs: z.number(),
  totalBytes: z.number(),
  examinedBytes: z.number(),
  ranges: z.array(
    z.object({
      volume: z.string(),
      offsetBytes: z.number(),
      lengthBytes: z.number(),
      repaired: z.boolean(),
    }),
  ),
  rangesOmitted: z.number(),
  etaMs: z.number().optional(),
});

export function openVerifyReports(metadataFile: string, log: Log): VerifyReportStore {
  const file = new SmallFile(`${metadataFile}.verify`, 'verify-report', log);
  const last = file.read(reportSchema);
  return {
    last: last && { ...last, endedAt: last.endedAt, etaMs: last.etaMs },
    keep: (report) => file.write(report),
  };
}
