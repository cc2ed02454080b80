/** The last decisions of a module, newest first: the same words in log, status and tests. */
import type { Decision } from '../base/decision.ts';
import { withVmName } from '../base/hint.ts';
import type { Log } from '../base/log.ts';

/** How many are kept in memory. */
export const decisionsKept = 50;

export type DatedDecision = Decision<string> & { readonly at: string };

export class DecisionLog {
  readonly #log: Log;
  readonly #wallTime: () => string;
  readonly #vmName: string;
  readonly #entries: DatedDecision[] = [];

  constructor(log: Log, wallTime: () => string, vmName: string) {
    this.#log = log;
    this.#vmName = vmName;
    this.#wallTime = wallTime;
  }

  add(rule: string, action: string, reason: string): void {
    const because = withVmName(reason, this.#vmName);
    this.#log.info('decision', { rule, action, because });
    this.#entries.unshift({ action, rule, because, at: this.#wallTime() });
    if (this.#entries.length > decisionsKept) this.#entries.pop();
  }

  get entries(): readonly DatedDecision[] {
    return this.#entries;
  }
}
