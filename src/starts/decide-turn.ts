/**
 * Whether a VM may start now, among all VMs of its node that start. Each module decides for itself by these rules, from the
 * same notices; so rules only look at what all of them see, and no rule waits for ever unless the operator asked for it.
 *
 * The rules are a table, read from the top; the first that applies decides. Each row says what ends its wait.
 *
 * Only VMs that could start themselves are given way to: never one that waits for another VM, so that a wait for a priority and
 * a wait for a dependency cannot form a circle.
 */
import { InvariantError } from '../base/assert.ts';
import type { Decision } from '../base/decision.ts';
import { allBefore } from './dependencies.ts';
import type { StartNotice } from './start-notice.ts';
import type { SlotState } from './start-ports.ts';
import type { StartSettings } from './start-settings.ts';

/** How long a VM that does not come up may keep a slot, ms: two attempts of the hypervisor. */
export const slotHeldMaxMs = 30_000;
/** A holder that keeps its slot for so long above that has stopped working, ms. */
export const slotGraceMs = 5000;

export type TurnAction = 'take-slot' | 'wait';
export type TurnDecision = Decision<TurnAction>;

export interface TurnSituation {
  /** This module's own notice; its phase is not looked at. */
  readonly self: StartNotice;
  readonly settings: StartSettings;
  /** Only looked at by a rule that needs it: there may be many that wait, and each reads them all. */
  readonly others: readonly StartNotice[];
  readonly slots: readonly SlotState[];
  /** How many VMs of this node may start at the same time. */
  readonly concurrent: number;
  /** Since when the VMs of all in `after` run, as far as this module has seen; `undefined`: they do not. */
  readonly afterRunSinceMs: number | undefined;
  readonly nowMs: number;
}

/** Slots in use that count: a holder that is long overdue does not. */
export function countedSlots(slots: readonly SlotState[], nowMs: number): number {
  return slots.filter((slot) => slot.taken && !isStuck(slot, nowMs)).length;
}

/** How many slots there must be for `concurrent` of them to work. */
export function slotsNeeded(slots: readonly SlotState[], concurrent: number, nowMs: number): number {
  return concurrent + slots.filter((slot) => isStuck(slot, nowMs)).length;
}

function isStuck({ taken, holder }: SlotState, nowMs: number): boolean {
  return taken && holder !== undefined && nowMs - holder.sinceMs > slotHeldMaxMs + slotGraceMs;
}

/** The names in `after` whose VMs do not run and that are still to be waited for. */
export function missingDependencies(situation: TurnSituation): {
  readonly required: readonly string[];
  readonly other: readonly string[];
  /** The VMs that wait for each other in circles, of which this one goes first. */
  readonly circle: readonly string[] | undefined;
} {
  const { self, settings, nowMs } = situation;
  if (settings.after.length === 0) return { required: [], other: [], circle: undefined };
  const { others } = situation;
  const missing = settings.after.filter(({ module }) => !runs(module, others));
  const circle = leadsOutOf(self, others);
  const waited = missing.filter(({ module }) => circle === undefined || !circle.includes(module));
  const isOverdue = nowMs - self.sinceMs >= settings.deadlineMs;
  return {
    required: waited.flatMap(({ module, required }) => (required ? [module] : [])),
    other: isOverdue ? [] : waited.flatMap(({ module, required }) => (required ? [] : [module])),
    circle: waited.length < missing.length ? circle : undefined,
  };
}

/** How much of the delay after those in `after` is left, ms; not positive: nothing. One that starts without them has no delay. */
export function delayRestMs({ settings, afterRunSinceMs, nowMs }: TurnSituation): number {
  return afterRunSinceMs === undefined ? 0 : settings.delayMs - (nowMs - afterRunSinceMs);
}

/** Whether the VM of this module runs on one of the nodes. */
export function runs(module: string, others: readonly StartNotice[]): boolean {
  const notice = others.find((each) => each.module === module);
  return notice !== undefined && notice.vm !== 'off';
}

/**
 * The VMs that wait for each other in circles, when this is the one of them that goes first: the one of the highest priority,
 * then the first by name.
 */
function leadsOutOf(self: StartNotice, others: readonly StartNotice[]): readonly string[] | undefined {
  // Only those that wait: a VM that runs, or is not to start, holds nobody up in a circle.
  const waiting = [self, ...others.filter(({ phase }) => phase === 'waiting')].map((notice) => ({
    ...notice,
    after: notice.after.filter((name) => !runs(name, others)),
  }));
  const selfIsAfter = allBefore(self.module, waiting);
  if (!selfIsAfter.has(self.module)) return undefined;
  const circle = waiting.filter(
    ({ module }) => selfIsAfter.has(module) && allBefore(module, waiting).has(self.module),
  );
  const isFirst = circle.every(
    ({ module, priority }) =>
      module === self.module ||
      priority < self.priority ||
      (priority === self.priority && self.module < module),
  );
  return isFirst ? circle.map(({ module }) => module) : undefined;
}

/** A VM counts as high as the highest of those that wait for it. */
function rankedPriority(notice: StartNotice, all: readonly StartNotice[]): number {
  const waitingForIt = all.filter(
    ({ module, phase }) => phase === 'waiting' && allBefore(module, all).has(notice.module),
  );
  return Math.max(notice.priority, ...waitingForIt.map(({ priority }) => priority));
}

/** Whether `a` goes before `b`. Who gave a slot back goes behind those that had none; then priority, then who came first. */
function goesBefore(a: StartNotice, b: StartNotice, all: readonly StartNotice[]): boolean {
  const order =
    a.failedTurns - b.failedTurns ||
    rankedPriority(b, all) - rankedPriority(a, all) ||
    // One that is only expected has not come yet.
    Number(a.phase === 'expected') - Number(b.phase === 'expected') ||
    a.sinceMs - b.sinceMs;
  return order === 0 ? a.module < b.module : order < 0;
}

/** Those that could start as well, and go before this one. */
function before({ self, others, nowMs }: TurnSituation): readonly StartNotice[] {
  const contenders = others.filter(
    ({ phase, expectedByMs }) => phase === 'ready' || (phase === 'expected' && nowMs < expectedByMs),
  );
  const all = [self, ...others];
  return contenders.filter((other) => goesBefore(other, { ...self, phase: 'ready' }, all));
}

interface Rule {
  readonly rule: string;
  readonly action: TurnAction;
  /** When it applies, and what ends the wait; for the documentation. */
  readonly means: string;
  /** Why it applies; `undefined`: it does not. */
  readonly because: (situation: TurnSituation) => string | undefined;
}

const list = (names: readonly string[]): string => names.join(', ');

function notRunning(names: readonly string[], situation: TurnSituation): string | undefined {
  if (names.length === 0) return undefined;
  const { others } = situation;
  const why = names.map((name) => {
    const known = others.some(({ module }) => module === name);
    return known ? name : `${name} (no module of this node answers to that name)`;
  });
  return `the VM starts after ${list(why)}, which ${names.length === 1 ? 'does' : 'do'} not run`;
}

export const turnTable: readonly Rule[] = [
  {
    rule: 'required-not-running',
    action: 'wait',
    means:
      'a VM in `after` with `required: true` does not run. Only that ends the wait, whatever the deadline',
    because: (situation) => {
      const said = notRunning(missingDependencies(situation).required, situation);
      return said === undefined ? undefined : `${said} and must`;
    },
  },
  {
    rule: 'dependency-not-running',
    action: 'wait',
    means: 'another VM in `after` does not run, on either node. At the latest `deadlineMs` ends the wait',
    because: (situation) => notRunning(missingDependencies(situation).other, situation),
  },
  {
    rule: 'start-delay',
    action: 'wait',
    means: 'all in `after` run, for less than `delayMs`',
    because: (situation) =>
      delayRestMs(situation) > 0
        ? `the VM starts ${seconds(situation.settings.delayMs)} after ${list(situation.self.after)}`
        : undefined,
  },
  {
    rule: 'slots-taken',
    action: 'wait',
    means:
      'as many VMs start as the node may start at the same time. A slot ends when its VM runs (its guest may still boot), with its module process, or after 30 s',
    because: ({ slots, concurrent, nowMs }) => {
      if (countedSlots(slots, nowMs) < concurrent) return undefined;
      const names = slots.flatMap(({ taken, holder }) =>
        taken && holder !== undefined ? [holder.module] : [],
      );
      return `at most ${concurrent} of the VMs of this node start at the same time; now ${list(names) || 'others'}`;
    },
  },
  {
    rule: 'start-deadline',
    action: 'take-slot',
    means:
      '`deadlineMs` is over: higher priorities, and VMs in `after` that are not required, are waited for no longer',
    because: (situation) => {
      const { self, settings, others, nowMs } = situation;
      if (nowMs - self.sinceMs < settings.deadlineMs) return undefined;
      const missing = settings.after.filter(({ module, required }) => !required && !runs(module, others));
      const higher = before(situation);
      if (missing.length === 0 && higher.length === 0) return undefined;
      const without = [...missing.map(({ module }) => module), ...higher.map(({ module }) => module)];
      return `the VM has waited ${seconds(settings.deadlineMs)}, its deadline, for ${list(without)} and waits no longer`;
    },
  },
  {
    rule: 'higher-priority',
    action: 'wait',
    means:
      'as many VMs as there are free slots go first: by priority, then who came first. At the latest `deadlineMs` ends the wait',
    because: (situation) => {
      const { slots, concurrent, nowMs, settings } = situation;
      if (nowMs - situation.self.sinceMs >= settings.deadlineMs) return undefined;
      const higher = before(situation);
      if (higher.length < concurrent - countedSlots(slots, nowMs)) return undefined;
      return `${list(higher.map(({ module }) => module))} ${higher.length === 1 ? 'goes' : 'go'} first, by priority or because they came earlier`;
    },
  },
  {
    rule: 'start-cycle',
    action: 'take-slot',
    means:
      'VMs that wait for each other in a circle: the first of them by priority, then by name, goes ahead',
    because: (situation) => {
      const { circle } = missingDependencies(situation);
      return circle === undefined
        ? undefined
        : `${list(circle)} are to start after each other, and this VM goes first; correct \`start.after\``;
    },
  },
  {
    rule: 'start-turn',
    action: 'take-slot',
    means: 'nothing goes before it',
    because: () => 'nothing that goes before it is to be waited for',
  },
];

/** Whether the VM may take a slot and start, or what it waits for. */
export function decideTurn(situation: TurnSituation): TurnDecision {
  for (const { rule, action, because } of turnTable) {
    const said = because(situation);
    if (said !== undefined) return { action, rule, because: said };
  }
  throw new InvariantError('the last rule of the turn table applies always');
}

function seconds(ms: number): string {
  return `${Number((ms / 1000).toFixed(1))} s`;
}
