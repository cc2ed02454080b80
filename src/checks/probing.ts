/**
 * Asks every check of a module at its interval, one question of each at a time, and keeps what they found. Checks about the VM are asked
 * only while it runs and may work, and not in the grace after its start. It decides nothing.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { type CheckResult, CheckWatch } from './check-watch.ts';
import type { CheckSettings } from './settings.ts';

/** One question; `done` is called once, within the check's `timeoutMs` and not from inside the call. */
export type AskCheck = (check: CheckSettings, done: (result: CheckResult) => void) => void;

export interface VmSituation {
  /** It runs here, and nothing keeps it from working. */
  readonly works: boolean;
  /** When it was started, or found; `undefined`: it does not run here. */
  readonly startedMs: number | undefined;
}

/** How often it is looked whether a check may be asked that could not be. */
const lookIntervalMs = 1000;

interface Asked {
  readonly check: CheckSettings;
  readonly watch: CheckWatch;
  /** Of the question that counts; answers to earlier ones do not. */
  turn: number;
  timer: Timer | undefined;
  /** The failure that was logged last; empty: it is well. */
  logged: string;
}

export class Probing {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #ask: AskCheck;
  readonly #vm: () => VmSituation;
  readonly #changed: () => void;
  #asked: readonly Asked[] = [];
  #runs = false;

  constructor(parts: {
    readonly clock: Clock;
    readonly log: Log;
    readonly ask: AskCheck;
    readonly vm: () => VmSituation;
    readonly changed: () => void;
  }) {
    this.#clock = parts.clock;
    this.#log = parts.log;
    this.#ask = parts.ask;
    this.#vm = parts.vm;
    this.#changed = parts.changed;
  }

  /** Takes these checks from now on; one that is as it was keeps what it found. */
  configure(checks: readonly CheckSettings[]): void {
    const before = this.#asked;
    for (const { timer } of before) timer?.cancel();
    this.#asked = checks.map((check) => {
      const same = before.find((each) => JSON.stringify(each.check) === JSON.stringify(check));
      const watch = same?.watch ?? new CheckWatch(check.hysteresis);
      return { check, watch, turn: 0, timer: undefined, logged: '' };
    });
    if (this.#runs) for (const asked of this.#asked) this.#next(asked, 0);
  }

  start(): void {
    if (this.#runs) return;
    this.#runs = true;
    for (const asked of this.#asked) this.#next(asked, 0);
  }

  stop(): void {
    this.#runs = false;
    for (const asked of this.#asked) {
      asked.timer?.cancel();
      this.#forget(asked, 'unknown');
    }
  }

  watchOf(name: string): CheckWatch | undefined {
    return this.#asked.find(({ check }) => check.name === name)?.watch;
  }

  /** These have been acted upon: only what is found from now on counts. */
  forget(names: readonly string[]): void {
    for (const asked of this.#asked) if (names.includes(asked.check.name)) this.#forget(asked, 'unknown');
  }

  /** The VM was started anew. */
  vmStarted(): void {
    for (const asked of this.#asked) if (asked.check.on === 'vm') this.#forget(asked, 'unknown');
  }

  #forget(asked: Asked, state: 'unknown' | 'idle'): void {
    asked.turn += 1;
    asked.watch.forget(state);
  }

  #next(asked: Asked, delayMs: number): void {
    asked.timer?.cancel();
    asked.timer = this.#clock.after(delayMs, () => this.#look(asked));
  }

  #look(asked: Asked): void {
    const { check } = asked;
    // The state of the VM itself is told, not asked for.
    if (!this.#runs || check.kind === 'vm') return;
    if (check.on === 'vm') {
      const { works, startedMs } = this.#vm();
      const isNew = startedMs === undefined || this.#clock.nowMs() - startedMs < check.graceMs;
      if (isNew && asked.watch.state !== 'idle') this.#forget(asked, 'idle');
      if (isNew || !works) return this.#next(asked, lookIntervalMs);
    }
    const turn = (asked.turn += 1);
    const askedMs = this.#clock.nowMs();
    this.#ask(check, (result) => {
      // What was found of a VM that does not work any more says nothing of it.
      if (asked.turn === turn && (check.on === 'host' || this.#vm().works)) this.#observe(asked, result);
      const spentMs = this.#clock.nowMs() - askedMs;
      if (this.#runs && this.#asked.includes(asked))
        this.#next(asked, Math.max(0, check.intervalMs - spentMs));
    });
  }

  #observe(asked: Asked, result: CheckResult): void {
    const { check, watch } = asked;
    if (!result.ok && asked.logged !== result.because)
      this.#log.warn('check-failed', { check: check.name, because: result.because });
    asked.logged = result.ok ? '' : result.because;
    const before = watch.state;
    if (!watch.observe(result, this.#clock.nowMs())) return;
    this.#log.info('check-changed', {
      check: check.name,
      from: before,
      to: watch.state,
      because: result.because,
    });
    this.#changed();
  }
}
