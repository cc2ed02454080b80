/** The end of a call: a time on a clock, or the caller's abort, whichever is first. */
import type { Clock } from '../src/base/clock.ts';
import { WorldError } from '../src/base/errors.ts';
import type { Wait } from './port.ts';

/** What a promise that lost against the deadline is replaced by. */
const passed = Symbol('deadline passed');

export class Deadline {
  readonly #clock: Clock;
  readonly #endMs: number;
  readonly #wait: Wait;

  constructor(clock: Clock, wait: Wait) {
    this.#clock = clock;
    this.#wait = wait;
    this.#endMs = clock.nowMs() + wait.timeoutMs;
  }

  /** Zero when it has passed. */
  remainingMs(): number {
    if (this.#wait.signal?.aborted === true) return 0;
    return Math.max(0, this.#endMs - this.#clock.nowMs());
  }

  hasPassed(): boolean {
    return this.remainingMs() === 0;
  }

  /** At most what remains, and at most `timeoutMs`. */
  part(timeoutMs: number): Wait {
    return { timeoutMs: Math.min(timeoutMs, this.remainingMs()), signal: this.#wait.signal };
  }

  /** The value of `promise`, or `undefined` when the deadline passed first. */
  async within<Value>(promise: Promise<Value>): Promise<Value | undefined> {
    const { signal } = this.#wait;
    let give: (value: typeof passed) => void = () => {};
    const limit = new Promise<typeof passed>((resolve) => {
      give = resolve;
    });
    const pass = () => give(passed);
    const timer = this.#clock.after(this.remainingMs(), pass);
    signal?.addEventListener('abort', pass);
    try {
      const first = await Promise.race([promise, limit]);
      if (first !== passed) return first;
      promise.catch(() => {});
      return undefined;
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', pass);
    }
  }

  /** Resolves after `delayMs`, or earlier when the deadline passes. */
  async pause(delayMs: number): Promise<void> {
    const waited = new Promise<true>((resolve) => {
      this.#clock.after(Math.min(delayMs, this.remainingMs()), () => resolve(true));
    });
    await this.within(waited);
  }
}

export function actionFailed(wanted: string, found: string, next: string, cause?: unknown): WorldError {
  return new WorldError('vm-action-failed', { wanted, found, next }, cause);
}

/** Text of anything that was thrown. */
export function causeText(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
