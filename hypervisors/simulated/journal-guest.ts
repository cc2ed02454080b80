/**
 * What the simulated guest does: verify its journal, then append one record after the other, each flushed before it is
 * reported, in the words of `guest-report.ts`.
 */
import type { Clock } from '../../src/base/clock.ts';
import type { GuestDisk } from './guest-disk.ts';
import {
  decideJournalVerdict,
  encodeJournalRecord,
  type JournalBlock,
  journalBlockCount,
  journalBlockIndex,
  journalRecordBytes,
  parseJournalBlock,
} from './journal.ts';

/** Bytes of one read while the journal is verified. */
const readBytes = 1024 ** 2;

export interface JournalGuestOptions {
  readonly disk: GuestDisk;
  readonly clock: Clock;
  /** Between two records. */
  readonly intervalMs: number;
  /** Takes a report without its time. */
  readonly say: (report: string) => void;
  /** A request failed; the guest stands still until `resume`, then issues it again. */
  readonly diskFailed: (error: unknown) => void;
}

export class JournalGuest {
  readonly #options: JournalGuestOptions;
  readonly #blockCount: number;
  #stage: 'off' | 'booted' | 'broken' = 'off';
  #running = false;
  #last = 0;
  #work: Promise<void> | undefined;
  #wake: () => void = () => {};

  constructor(options: JournalGuestOptions) {
    this.#options = options;
    this.#blockCount = journalBlockCount(options.disk.sizeBytes);
  }

  /** Boots, or goes on. */
  resume(): void {
    this.#running = true;
    this.#work ??= this.#run().finally(() => {
      this.#work = undefined;
      // Resumed while the last request was still on its way.
      if (this.#running && this.#stage !== 'broken') this.resume();
    });
  }

  /** No request is issued any more; resolves when the one in flight, if any, has ended. */
  async pause(): Promise<void> {
    this.#running = false;
    this.#wake();
    await this.#work;
  }

  async powerOff(): Promise<void> {
    await this.pause();
    this.#options.say(`STOPPING ${this.#last}`);
    await this.#options.disk.flush();
    this.#options.say('POWEROFF');
  }

  async #run(): Promise<void> {
    try {
      if (this.#stage === 'off') await this.#boot();
      while (this.#running && this.#stage === 'booted') {
        await this.#append(this.#last + 1);
        if (this.#running) await this.#interval();
      }
    } catch (error) {
      this.#running = false;
      this.#options.diskFailed(error);
    }
  }

  async #append(number: number): Promise<void> {
    const { disk, say } = this.#options;
    const offsetBytes = journalBlockIndex(number, this.#blockCount) * journalRecordBytes;
    await disk.write(offsetBytes, encodeJournalRecord(number));
    await disk.flush();
    this.#last = number;
    say(`ACK ${number}`);
  }

  async #boot(): Promise<void> {
    const { disk, say } = this.#options;
    say('BOOT');
    const blocks: JournalBlock[] = [];
    const totalBytes = this.#blockCount * journalRecordBytes;
    for (let offsetBytes = 0; offsetBytes < totalBytes; offsetBytes += readBytes) {
      const data = await disk.read(offsetBytes, Math.min(readBytes, totalBytes - offsetBytes));
      for (let start = 0; start < data.length; start += journalRecordBytes) {
        blocks.push(parseJournalBlock(data.subarray(start, start + journalRecordBytes)));
      }
    }
    const verdict = decideJournalVerdict(blocks);
    if (!verdict.ok) {
      this.#stage = 'broken';
      return say(`VERIFY FAIL ${verdict.because}`);
    }
    say(`VERIFY OK last=${verdict.last} records=${verdict.records} tail=${verdict.tailBytes}`);
    this.#last = verdict.last;
    this.#stage = 'booted';
    say('START');
  }

  #interval(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(this.#options.intervalMs, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}
