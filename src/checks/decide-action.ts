/**
 * What the checks of a module lead to now: a literal table, evaluated top-down; the first row that holds answers. It asks only for what
 * an operator could ask for as well; whether that is safe, `src/cluster` decides. Pure.
 */
import type { Decision } from '../base/decision.ts';
import { loopLimitRule } from './notes-of.ts';
import type { CheckAction } from './settings.ts';

/** A rule whose condition holds now. */
export interface FiredRule {
  readonly name: string;
  readonly action: CheckAction;
  /** Which checks fail, and what they found. */
  readonly because: string;
  /** Why a swap would not help, or cannot be; `undefined`: it would, or the rule asks for none. */
  readonly swapObstacle: string | undefined;
}

export interface ActionSituation {
  readonly run: 'started' | 'stopped';
  /** A rule made this node leave the pair until its checks are well. */
  readonly waiting: boolean;
  /** Checks that must be well before the VM may be started, and are not, for people. */
  readonly waitsFor: string | undefined;
  /** The node is primary: it runs the VM, or is about to. */
  readonly primary: boolean;
  /** An action is under way, or was refused a moment ago, or it is not settled who runs the VM. */
  readonly busy: boolean;
  readonly maintenance: boolean;
  /** The VM ended although it should run. */
  readonly vmEnded: boolean;
  /** It ended in maintenance, which is over. */
  readonly endedInMaintenance: boolean;
  /** In the order of the configuration. */
  readonly fired: readonly FiredRule[];
  /** Automatic restarts in the last 24 hours, of both nodes, and how many there may be. */
  readonly restarts: number;
  readonly restartsMax: number;
}

/**
 * `nothing`: no rule asks for anything. `stay`: one does, and it is not done. `leave`: stop, and start again when the checks are well.
 * `start-vm`: the VM is started without counting as a restart.
 */
export type ModuleAction =
  | 'nothing'
  | 'stay'
  | 'start'
  | 'leave'
  | 'stop'
  | 'stop-at-limit'
  | 'swap'
  | 'restart'
  | 'start-vm';

export interface ActionDecision extends Decision<ModuleAction> {
  /** Row of the table. */
  readonly row: string;
  /** Of the rule that speaks. */
  readonly swapObstacle: string | undefined;
}

interface ActionRow {
  /** Of the table; the decision of a row about a configured rule carries the name of that rule. */
  readonly row: string;
  readonly action: ModuleAction;
  /** In words, for the documents. */
  readonly when: string;
  readonly holds: (situation: ActionSituation) => boolean;
  /** Which configured rule speaks. */
  readonly speaker?: (situation: ActionSituation) => FiredRule | undefined;
  readonly because: (situation: ActionSituation) => string;
}

const firstOf = (action: CheckAction) => (situation: ActionSituation) =>
  situation.fired.find((rule) => rule.action === action);
const has = (situation: ActionSituation, action: CheckAction): boolean =>
  firstOf(action)(situation) !== undefined;
const possibleSwap = ({ fired }: ActionSituation): FiredRule | undefined =>
  fired.find(({ action, swapObstacle }) => action === 'swap' && swapObstacle === undefined);
/** A VM that is gone and cannot be moved is better off here than nowhere. */
const wantsRestart = (situation: ActionSituation): FiredRule | undefined =>
  firstOf('restart')(situation) ?? (situation.vmEnded ? firstOf('swap')(situation) : undefined);
const limitReached = ({ restarts, restartsMax }: ActionSituation): boolean => restarts >= restartsMax;
const speakersWords = (speaker: (situation: ActionSituation) => FiredRule | undefined) => ({
  speaker,
  because: (situation: ActionSituation) => speaker(situation)?.because ?? '',
});

export const actionTable: readonly ActionRow[] = [
  {
    row: 'busy',
    action: 'nothing',
    when: 'an action is under way, or was refused a moment ago, or writes are held',
    holds: ({ busy }) => busy,
    because: () => 'an action is under way',
  },
  {
    row: 'still-waiting',
    action: 'nothing',
    when: 'the node waits, and a rule with `wait` holds or is not decided yet',
    holds: ({ waiting, waitsFor }) => waiting && waitsFor !== undefined,
    because: ({ waitsFor }) => waitsFor ?? '',
  },
  {
    row: 'well-again',
    action: 'start',
    when: 'the node waits',
    holds: ({ waiting }) => waiting,
    because: () => 'every check that this node waited for is well',
  },
  {
    row: 'stopped',
    action: 'nothing',
    when: 'the module is stopped',
    holds: ({ run }) => run === 'stopped',
    because: () => 'the module is stopped',
  },
  {
    row: 'not-primary',
    action: 'nothing',
    when: 'the VM does not run here',
    holds: ({ primary }) => !primary,
    because: () => 'the VM does not run here',
  },
  {
    row: 'maintenance',
    action: 'nothing',
    when: 'the module is in maintenance',
    holds: ({ maintenance }) => maintenance,
    because: () => 'the module is in maintenance',
  },
  {
    row: 'maintenance-over',
    action: 'start-vm',
    when: 'the VM ended in the maintenance that is over',
    holds: ({ vmEnded, endedInMaintenance }) => vmEnded && endedInMaintenance,
    because: () => 'the VM ended in maintenance, which is over',
  },
  {
    row: 'stop',
    action: 'stop',
    when: 'a rule with `stop` holds',
    holds: (situation) => has(situation, 'stop'),
    ...speakersWords(firstOf('stop')),
  },
  {
    row: 'wait',
    action: 'leave',
    when: 'a rule with `wait` holds',
    holds: (situation) => has(situation, 'wait'),
    ...speakersWords(firstOf('wait')),
  },
  {
    row: 'swap',
    action: 'swap',
    when: 'a rule with `swap` holds, and the peer is healthier',
    holds: (situation) => possibleSwap(situation) !== undefined,
    ...speakersWords(possibleSwap),
  },
  {
    row: loopLimitRule,
    action: 'stop-at-limit',
    when: 'the same as the next row, and so many restarts were made in 24 hours',
    holds: (situation) => wantsRestart(situation) !== undefined && limitReached(situation),
    because: (situation) =>
      `loop limit: the VM was restarted ${situation.restarts} times in 24 hours; rule ${wantsRestart(situation)?.name} asks for ` +
      `one more: ${wantsRestart(situation)?.because}`,
  },
  {
    row: 'restart',
    action: 'restart',
    when: 'a rule with `restart` holds; or one with `swap`, and the VM has ended',
    holds: (situation) => wantsRestart(situation) !== undefined,
    speaker: wantsRestart,
    because: (situation) => {
      const rule = wantsRestart(situation);
      const instead = rule?.swapObstacle === undefined ? '' : `; it is not moved: ${rule.swapObstacle}`;
      return `${rule?.because}${instead} (restart ${situation.restarts + 1} of ${situation.restartsMax} in 24 hours)`;
    },
  },
  {
    row: 'swap-is-no-use',
    action: 'stay',
    when: 'a rule with `swap` holds',
    holds: (situation) => has(situation, 'swap'),
    speaker: firstOf('swap'),
    because: (situation) => {
      const rule = firstOf('swap')(situation);
      return `${rule?.because}; the VM stays here: ${rule?.swapObstacle}`;
    },
  },
  {
    row: 'notify',
    action: 'stay',
    when: 'a rule with `notify` holds',
    holds: (situation) => has(situation, 'notify'),
    ...speakersWords(firstOf('notify')),
  },
  {
    row: 'well',
    action: 'nothing',
    when: 'always',
    holds: () => true,
    because: () => 'no rule asks for anything',
  },
];

/** The row that holds, with the name of the configured rule where one speaks. */
export function decideAction(situation: ActionSituation): ActionDecision {
  const found = actionTable.find(({ holds }) => holds(situation)) as ActionRow;
  const { action, row, speaker, because } = found;
  const rule = speaker?.(situation);
  return {
    action,
    rule: rule?.name ?? row,
    because: because(situation),
    row,
    swapObstacle: rule?.swapObstacle,
  };
}
