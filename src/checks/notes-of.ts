/** What the checks of a module have to say beside its state, in words. Pure. */
import type { ModuleNotes } from '../cluster/module-notes.ts';
import type { KeptReason } from './kept-facts.ts';

export interface NoteFacts {
  /** Time of day; `undefined`: not in maintenance. */
  readonly maintenanceUntil: string | undefined;
  readonly failing: readonly { readonly name: string; readonly because: string }[];
  /** What a rule asks for and is not done; empty: nothing. */
  readonly stays: string;
  /** Why the node waits, or leaves in order to wait. */
  readonly waiting: KeptReason | undefined;
  /** Why a rule stopped the node, or is about to. */
  readonly stopped: KeptReason | undefined;
}

/** A rule and what it found, as people read it; the loop limit is a rule of its own kind. */
export function ruleWords({ rule, because }: KeptReason): string {
  return rule === loopLimitRule ? because : `rule ${rule}: ${because}`;
}

/** The name under which the limit of restarts acts. */
export const loopLimitRule = 'loop-limit';

export function notesOf({ maintenanceUntil, failing, stays, waiting, stopped }: NoteFacts): ModuleNotes {
  const sentences = failing.map(({ name, because }) => `check ${name} fails: ${because}`);
  return {
    stopped:
      waiting !== undefined
        ? { state: 'WAIT', because: `${ruleWords(waiting)}; it starts again when that is well` }
        : stopped && {
            state: 'STOP',
            because: `stopped by a rule: ${ruleWords(stopped)}; run \`vmpair start VM\` to start it`,
          },
    warnings: [
      ...(maintenanceUntil === undefined ? [] : [`in maintenance until ${maintenanceUntil}: no rule acts`]),
      // The sentence of a rule says what its checks found.
      ...sentences.filter((sentence) => !stays.includes(sentence)),
      ...(stays === '' ? [] : [stays]),
    ],
  };
}
