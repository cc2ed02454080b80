/** A client that opens the export again and again: what it is refused, and how long it waits. */
import { WorldError } from '../../src/base/errors.ts';
import { labVolume } from '../../src/lab/lab-layout.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { monotonicMs } from './write-journal.ts';

/** How long one attempt may take, ms. */
const openDeadlineMs = 10_000;

export class KnockingClient {
  /** Attempts that were refused, by whoever, or that nobody answered in time. */
  readonly refusals: string[] = [];
  /** Attempts that opened the export. */
  opened = 0;
  longestWaitMs = 0;
  readonly #path: string;
  readonly #done: Promise<void>;
  #ending = false;

  constructor(path: string) {
    this.#path = path;
    this.#done = this.#knockOn();
  }

  async end(): Promise<void> {
    this.#ending = true;
    await this.#done;
  }

  async #knockOn(): Promise<void> {
    while (!this.#ending) {
      const startedMs = monotonicMs();
      await this.#knock();
      this.longestWaitMs = Math.max(this.longestWaitMs, monotonicMs() - startedMs);
    }
  }

  async #knock(): Promise<void> {
    const options = { clock: systemClock, handshakeTimeoutMs: openDeadlineMs };
    try {
      const client = await connectNbd({ path: this.#path }, labVolume, options);
      client.destroy();
      this.opened += 1;
    } catch (error) {
      // A server that dies in the middle of the negotiation is no refusal.
      const text = error instanceof WorldError ? `${error.code}: ${error.found}` : String(error);
      if (!/closed|ECONNRESET|EPIPE/.test(text)) this.refusals.push(text);
    }
  }
}
