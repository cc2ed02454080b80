/**
 * Every kind of copy that a node may find itself with after a boot, and every record that the arbiter may have then: what comes of
 * it when the peer stays silent. The shipped tables are asked in the order in which the module asks them.
 */
import { decideSwap } from '../../src/arbiter/compare-and-swap.ts';
import { decideAlone, type AloneSituation } from '../../src/cluster/decide-alone.ts';
import { decideRecord } from '../../src/cluster/decide-record.ts';
import type { ArbiterRecord, DataFlag, Holder } from '../../src/disk/state.ts';
import { timers } from './alone-universe.ts';

const id = (letter: string): string => letter.repeat(32);
const ownStore = id('1');

export interface Copy {
  readonly self: 'A';
  readonly peer: 'B';
  readonly data: DataFlag;
  readonly path: readonly string[];
  readonly generation: number;
  readonly holder: Holder | undefined;
  readonly arbiterStore?: string;
}

const known = { self: 'A', peer: 'B', arbiterStore: ownStore } as const;
const inSync = { ...known, path: [id('a'), id('b')], generation: 2, holder: 'both' } as const;

/** Name of the row -> what the node holds. */
export const copies: Readonly<Record<string, Copy>> = {
  'fresh: a new node, or one with new hardware': {
    self: 'A',
    peer: 'B',
    data: 'fresh',
    path: [],
    generation: 0,
    holder: undefined,
  },
  'up to date, in sync when it was last heard of': { ...inSync, data: 'up-to-date' },
  'up to date, went on alone by the record': {
    ...known,
    data: 'up-to-date',
    path: [id('a'), id('b'), id('c')],
    generation: 3,
    holder: 'A',
  },
  'outdated: it left, or the peer went on': { ...inSync, data: 'outdated' },
  'half resynchronised': { ...inSync, data: 'inconsistent' },
};

export interface Answer {
  readonly record: ArbiterRecord | undefined;
  readonly store: string;
}

/** Name of the column -> what the arbiter says; `undefined`: nothing; `none`: there is no arbiter. */
export const answers: Readonly<Record<string, Answer | 'none' | undefined>> = {
  'both, as this copy knows': {
    record: { generation: 2, holder: 'both', operationId: id('b') },
    store: ownStore,
  },
  'this node, as it knows': { record: { generation: 3, holder: 'A', operationId: id('c') }, store: ownStore },
  'the peer': { record: { generation: 3, holder: 'B', operationId: id('d') }, store: ownStore },
  'both, later than this copy': {
    record: { generation: 5, holder: 'both', operationId: id('e') },
    store: ownStore,
  },
  'no record': { record: undefined, store: ownStore },
  'another store': { record: undefined, store: id('2') },
  'no answer': undefined,
  'no arbiter': 'none',
};

export interface Start {
  readonly outcome: 'starts' | 'waits' | 'becomes outdated';
  readonly rule: string;
}

/** Of a host that booted, whose peer has been silent for longer than every timer. */
export function startOf(copy: Copy, answer: Answer | 'none' | undefined, forced = false): Start {
  const situation: AloneSituation = {
    started: true,
    peer: 'silent',
    primary: false,
    alone: false,
    namedHolder: copy.holder === copy.self,
    data: copy.data,
    doubt: 'none',
    silenceMs: 10 * timers.claimAfterMs,
    operationOpen: false,
    rebooted: true,
    preferred: false,
    arbiter: answer === 'none' ? 'none' : 'record',
    failover: true,
    forced,
    mayNotClaim: undefined,
  };
  const { action, rule } = decideAlone(situation, timers);
  if (action === 'nothing' || action === 'wait') return { outcome: 'waits', rule };
  if (answer === 'none') return { outcome: 'starts', rule };
  if (answer === undefined) return { outcome: 'waits', rule: 'operation-open' };
  const last = copy.path.at(-1);
  const asksOnly = copy.holder === copy.self;
  const rightStore = copy.arbiterStore === undefined || copy.arbiterStore === answer.store;
  if (!asksOnly && rightStore && last !== undefined && copy.holder !== undefined) {
    const expected = { generation: copy.generation, holder: copy.holder, operationId: last };
    const next = { generation: copy.generation + 1, holder: copy.self, operationId: id('f') };
    if (decideSwap(answer.record, expected, next).action.kind === 'write') return { outcome: 'starts', rule };
  }
  const verdict = decideRecord({ copy, ...answer });
  const outcomes = { 'go-on-alone': 'starts', 'stand-down': 'becomes outdated', wait: 'waits' } as const;
  return { outcome: outcomes[verdict.action], rule: verdict.rule };
}

/** Calls `visit` with every copy and every answer; their number is returned. */
export function forEachStart(
  visit: (start: Start, copyName: string, answerName: string, copy: Copy) => void,
): number {
  let count = 0;
  for (const [copyName, copy] of Object.entries(copies)) {
    for (const [answerName, answer] of Object.entries(answers)) {
      count += 1;
      visit(startOf(copy, answer), copyName, answerName, copy);
    }
  }
  return count;
}
