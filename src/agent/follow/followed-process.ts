/**
 * One process of this node that is followed over its control socket: subscribed to, and asked the same question whenever an
 * event says so, and now and then anyway. One question at a time; one that does not answer is asked again on a new
 * connection, so that questions do not pile up in front of a process that hangs.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import { WorldError } from '../../base/errors.ts';
import { ControlClient } from '../../platform/control-client.ts';

/** Without an event, ms. */
export const askIntervalMs = 2000;
/** While it does not answer, ms. */
const retryIntervalMs = 250;
/** These processes answer from their event loop; one that takes longer hangs. */
const answerDeadlineMs = 1500;
/** From one question to the next, ms: a burst of events is one question. */
const spacingMs = 50;

export interface FollowedProcessOptions {
  readonly control: string;
  /** The verb that is asked; its answer is passed on as it is. */
  readonly question: string;
  readonly clock: Clock;
  readonly answered: (answer: unknown) => void;
  /** It does not answer, and why; called for each question without an answer. */
  readonly silent: (because: string) => void;
  /** Whether the event is a reason to ask. */
  readonly event: (event: unknown) => boolean;
}

export class FollowedProcess {
  readonly #options: FollowedProcessOptions;
  readonly #client: ControlClient;
  #subscribed = false;
  #asking = false;
  #askAgain = false;
  #closed = false;
  #timer: Timer | undefined;
  readonly #waiters = new Set<(answered: boolean) => void>();

  constructor(options: FollowedProcessOptions) {
    this.#options = options;
    this.#client = new ControlClient({
      path: options.control,
      event: (event) => {
        if (options.event(event)) this.#soon(spacingMs);
      },
      disconnected: () => {
        this.#subscribed = false;
        this.#soon(0);
      },
    });
  }

  begin(): void {
    void this.#ask();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#client.close();
    for (const resolve of this.#waiters) resolve(false);
    this.#waiters.clear();
  }

  /** Asks once more from now on; resolves to whether it answered. */
  fresh(): Promise<boolean> {
    return new Promise((resolve) => {
      this.#waiters.add(resolve);
      this.#soon(0);
    });
  }

  /** Another question, beside the one that is asked always. */
  call(verbName: string, deadlineMs: number): Promise<unknown> {
    return this.#client.call(verbName, {}, deadlineMs);
  }

  #soon(delayMs: number): void {
    if (this.#closed) return;
    if (this.#asking) {
      this.#askAgain = true;
      return;
    }
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(delayMs, () => void this.#ask());
  }

  async #ask(): Promise<void> {
    if (this.#asking || this.#closed) return;
    this.#asking = true;
    this.#askAgain = false;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    const answered = await this.#askOnce();
    this.#asking = false;
    for (const resolve of waiters) resolve(answered);
    this.#soon(answered ? (this.#askAgain ? spacingMs : askIntervalMs) : retryIntervalMs);
  }

  async #askOnce(): Promise<boolean> {
    const { question, answered, silent } = this.#options;
    try {
      if (!this.#subscribed) await this.#client.call('subscribe', {}, answerDeadlineMs);
      this.#subscribed = true;
      const answer = await this.#client.call(question, {}, answerDeadlineMs);
      if (!this.#closed) answered(answer);
      return true;
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      this.#subscribed = false;
      this.#client.close();
      if (!this.#closed) silent(error.found);
      return false;
    }
  }
}
