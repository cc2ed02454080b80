/** What a guest reports on its serial file, with the time on this host's clock at which each line was seen. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { type GuestReport, parseGuestReport } from '../../../hypervisors/guest-report.ts';
import type { Clock, Timer } from '../../base/clock.ts';

/** How often the file is looked at: the resolution of the times, ms. */
const pollIntervalMs = 10;

export type SeenReport = GuestReport & { readonly seenMs: number };

export class SerialWatch {
  readonly #file: string;
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #offset = 0;
  #rest = '';
  readonly reports: SeenReport[] = [];

  constructor(file: string, clock: Clock) {
    this.#file = file;
    this.#clock = clock;
    this.#poll();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#read();
  }

  get lastAcknowledged(): number {
    return this.reports.reduce(
      (last, report) => (report.type === 'acknowledged' ? Math.max(last, report.record) : last),
      0,
    );
  }

  /** Reports that were seen after `sinceMs`. */
  since(sinceMs: number): SeenReport[] {
    return this.reports.filter((report) => report.seenMs > sinceMs);
  }

  #poll(): void {
    this.#read();
    this.#timer = this.#clock.after(pollIntervalMs, () => this.#poll());
  }

  #read(): void {
    let fd: number;
    try {
      fd = openSync(this.#file, 'r');
    } catch {
      return;
    }
    try {
      const size = fstatSync(fd).size;
      // A guest that starts again may begin its file anew.
      if (size < this.#offset) this.#offset = 0;
      const bytes = Buffer.alloc(size - this.#offset);
      this.#offset += readSync(fd, bytes, 0, bytes.length, this.#offset);
      const lines = (this.#rest + bytes.toString('latin1')).split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) {
        const report = parseGuestReport(line);
        if (report !== undefined) this.reports.push({ ...report, seenMs: this.#clock.nowMs() });
      }
    } finally {
      closeSync(fd);
    }
  }
}
