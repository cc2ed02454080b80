/**
 * What a lab guest reports, as text lines: `UPTIME WORD DETAIL`, uptime in seconds on the guest's monotonic clock. Written
 * by the guest in QEMU to its serial console and by the simulated guest to its serial file; read by tests and the lab.
 *
 * `BOOT`; `VERIFY OK last=N records=N tail=BYTES` or `VERIFY FAIL ...` once per boot: every record of the journal was
 * read, `last` is the newest, `tail` is what a crash left of a record that nobody had acknowledged; `START`; `ACK N`
 * after record N is on stable storage; `IOERR N` when it could not be written (the guest then stops writing);
 * `STOPPING N`, `POWEROFF` on an orderly way down.
 */

export type GuestReport = { readonly atMs: number } & (
  | { readonly type: 'boot' | 'start' | 'poweroff' }
  | { readonly type: 'verified'; readonly last: number; readonly records: number; readonly tailBytes: number }
  | { readonly type: 'verify-failed'; readonly because: string }
  | { readonly type: 'acknowledged' | 'io-error' | 'stopping'; readonly record: number }
);

const linePattern = /^(\d+\.\d+) ([A-Z]+)(?: (.*))?$/;
const verifiedPattern = /^OK last=(\d+) records=(\d+) tail=(\d+)$/;

const plainWords = new Map<string, 'boot' | 'start' | 'poweroff'>([
  ['BOOT', 'boot'],
  ['START', 'start'],
  ['POWEROFF', 'poweroff'],
]);
const recordWords = new Map<string, 'acknowledged' | 'io-error' | 'stopping'>([
  ['ACK', 'acknowledged'],
  ['IOERR', 'io-error'],
  ['STOPPING', 'stopping'],
]);

/** `undefined` for lines that are no report: the kernel writes to the same console. */
export function parseGuestReport(line: string): GuestReport | undefined {
  const match = linePattern.exec(line.trim());
  if (match === null) return undefined;
  const [, seconds, word = '', detail = ''] = match;
  const atMs = Math.round(Number(seconds) * 1000);
  const plain = plainWords.get(word);
  if (plain !== undefined) return { atMs, type: plain };
  const record = recordWords.get(word);
  if (record !== undefined && /^\d{1,15}$/.test(detail))
    return { atMs, type: record, record: Number(detail) };
  if (word !== 'VERIFY') return undefined;
  const verified = verifiedPattern.exec(detail);
  if (verified === null) return { atMs, type: 'verify-failed', because: detail.replace(/^FAIL /, '') };
  const [, last, records, tail] = verified;
  return { atMs, type: 'verified', last: Number(last), records: Number(records), tailBytes: Number(tail) };
}

/** All reports in a serial log; a last line without its end is left out. */
export function parseGuestReports(text: string): GuestReport[] {
  const lines = text.split('\n').slice(0, -1);
  return lines.map(parseGuestReport).filter((report) => report !== undefined);
}

/** Newest acknowledged record in a serial log, 0 when there is none. */
export function lastAcknowledged(reports: readonly GuestReport[]): number {
  let last = 0;
  for (const report of reports) if (report.type === 'acknowledged') last = Math.max(last, report.record);
  return last;
}
