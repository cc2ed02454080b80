/** Which rules hold, by what their checks have found. Pure. */
import type { CheckState } from './check-watch.ts';
import type { RuleSettings } from './settings.ts';

/** What is known of one check; `undefined`: there is no such check. */
export type StateOf = (check: string) => { readonly state: CheckState; readonly because: string } | undefined;

export interface HoldingRule {
  readonly rule: RuleSettings;
  /** Its checks that fail. */
  readonly failing: readonly string[];
  readonly because: string;
}

/** `undecided`: it depends on checks that have not answered. A check that is not asked counts as one that does not fail. */
export type RuleState = 'holds' | 'undecided' | 'does-not-hold';

export function decideRuleState({ when }: RuleSettings, stateOf: StateOf): RuleState {
  const states = when.checks.map((name) => stateOf(name)?.state ?? 'idle');
  const fails = (state: CheckState): boolean => state === 'failing';
  if (when.kind === 'all' ? states.every(fails) : states.some(fails)) return 'holds';
  const open = states.filter((state) => !fails(state));
  const mayHold =
    when.kind === 'all'
      ? open.every((state) => state === 'unknown')
      : open.some((state) => state === 'unknown');
  return mayHold ? 'undecided' : 'does-not-hold';
}

/** Those that hold, in their order. */
export function firedRules(rules: readonly RuleSettings[], stateOf: StateOf): readonly HoldingRule[] {
  return rules
    .filter((rule) => decideRuleState(rule, stateOf) === 'holds')
    .map((rule) => {
      const failing = rule.when.checks.filter((name) => stateOf(name)?.state === 'failing');
      const because = failing.map((name) => `check ${name} fails: ${stateOf(name)?.because}`).join('; ');
      return { rule, failing, because };
    });
}

/** Why the VM must not be started yet: a rule that makes the node wait holds, or is not decided. `undefined`: it may. */
export function startObstacle(rules: readonly RuleSettings[], stateOf: StateOf): string | undefined {
  const waits = rules.filter(({ action }) => action === 'wait');
  const [holds] = firedRules(waits, stateOf);
  if (holds !== undefined) return `rule ${holds.rule.name} makes the VM wait: ${holds.because}`;
  const undecided = waits.find((rule) => decideRuleState(rule, stateOf) === 'undecided');
  return undecided && `rule ${undecided.name} makes the VM wait until its checks have answered`;
}
