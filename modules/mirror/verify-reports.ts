/**
 * The report of the last verify: a small file beside the metadata, so that `vmpair status` still shows it after the process
 * was restarted. Only for people: a report that cannot be read or written is logged and missing.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Log } from '../../src/base/log.ts';
import type { VerifyReport } from '../../src/base/status.ts';
import type { VerifyReportStore } from '../../src/cluster/verify.ts';
import { replaceFile } from '../../src/platform/durable-file.ts';

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
  const file = `${metadataFile}.verify`;
  let newest: VerifyReport | undefined;
  let writing = false;
  const write = (): void => {
    if (newest === undefined || writing) return;
    const text = `${JSON.stringify(newest)}\n`;
    newest = undefined;
    writing = true;
    void replaceFile(file, text, 0o600)
      .catch((error: unknown) => log.warn('verify-report-not-kept', { file, because: String(error) }))
      .finally(() => {
        writing = false;
        write();
      });
  };
  return {
    last: readReport(file, log),
    keep(report) {
      newest = report;
      write();
    },
  };
}

function readReport(file: string, log: Log): VerifyReport | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  try {
    const report = reportSchema.parse(JSON.parse(text));
    return { ...report, endedAt: report.endedAt, etaMs: report.etaMs };
  } catch (error) {
    log.warn('verify-report-unreadable', { file, because: String(error) });
    return undefined;
  }
}
