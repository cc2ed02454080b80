/** A client that connects again and again: what it is refused, and how long it waits for the server's greeting. */
import { connect } from 'node:net';
import { monotonicMs } from './write-journal.ts';

/** How long one connection may wait for the greeting, ms. */
const greetingDeadlineMs = 10_000;

export class KnockingClient {
  /** Connections that were refused, or that nobody greeted in time. */
  readonly refusals: string[] = [];
  greetings = 0;
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
      const outcome = await this.#knock();
      if (outcome === 'greeted') this.greetings += 1;
      else if (outcome !== 'dropped') this.refusals.push(outcome);
      this.longestWaitMs = Math.max(this.longestWaitMs, monotonicMs() - startedMs);
    }
  }

  /** `dropped`: it was accepted, and the server died before it said anything. */
  #knock(): Promise<string> {
    return new Promise((resolve) => {
      const socket = connect(this.#path);
      let connected = false;
      const end = (outcome: string): void => {
        socket.destroy();
        resolve(outcome);
      };
      socket.setTimeout(greetingDeadlineMs, () => end('no greeting in time'));
      socket.once('connect', () => {
        connected = true;
      });
      socket.once('data', () => end('greeted'));
      socket.once('error', (error) => end(connected ? 'dropped' : error.message));
      socket.once('close', () => end('dropped'));
    });
  }
}
