/** The results of one check over time: failing when N of the last M failed, well again after K good ones in a row. Pure. */
import type { Hysteresis } from './settings.ts';

/** `unknown`: asked and not answered yet. `idle`: not asked now, because it is about a VM that does not run here. */
export type CheckState = 'unknown' | 'well' | 'failing' | 'idle';

export interface CheckResult {
  readonly ok: boolean;
  /** What was found, one sentence for a person. */
  readonly because: string;
}

export class CheckWatch {
  readonly #hysteresis: Hysteresis;
  #state: CheckState = 'unknown';
  /** Oldest first, at most `of`. */
  #results: boolean[] = [];
  #goodInRow = 0;
  #because = 'not asked yet';
  #firstBadMs = 0;

  constructor(hysteresis: Hysteresis) {
    this.#hysteresis = hysteresis;
  }

  get state(): CheckState {
    return this.#state;
  }
  /** Of the last result; of a failing check, of the last one that failed. */
  get because(): string {
    return this.#because;
  }

  /** Well, and not about to fail either: the last result was good. */
  get isSteady(): boolean {
    return this.#state === 'well' && this.#goodInRow > 0;
  }
  /** When the oldest of the failures came that count now. */
  get firstBadMs(): number {
    return this.#firstBadMs;
  }

  /** True when the state changed. */
  observe({ ok, because }: CheckResult, nowMs: number): boolean {
    const { fails, of, recovers } = this.#hysteresis;
    if (!ok && !this.#results.includes(false)) this.#firstBadMs = nowMs;
    this.#results = [...this.#results, ok].slice(-of);
    this.#goodInRow = ok ? this.#goodInRow + 1 : 0;
    const before = this.#state;
    if (!ok || before !== 'failing') this.#because = because;
    if (this.#results.filter((each) => !each).length >= fails) this.#state = 'failing';
    if (this.#state === 'failing' ? this.#goodInRow >= recovers : ok) {
      this.#state = 'well';
      this.#because = because;
      if (before === 'failing') this.#results = [];
    }
    return this.#state !== before;
  }

  /** What was found before counts no more: the VM was started anew, or a rule has acted. */
  forget(state: 'unknown' | 'idle' = 'unknown'): void {
    this.#state = state;
    this.#results = [];
    this.#goodInRow = 0;
    if (state === 'idle') this.#because = 'the VM does not run here';
  }
}
