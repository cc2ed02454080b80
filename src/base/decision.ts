/** Every automatic decision names its rule and says in one sentence why; log, API, console and tests show the same words. */
export interface Decision<Action> {
  readonly action: Action;
  /** Kebab-case name of the rule, the same in code, log, docs and tests. */
  readonly rule: string;
  /** One sentence for a person, without the full stop. */
  readonly because: string;
}
