/**
 * The one decision that an arbiter makes, as a pure function: shared by the witness, the simulators and the
 * tests.
 *
 * Invariants: a record changes only when it is exactly as the asker expected; generations grow (by more than one when
 * the record of a lost store is made anew); an
 * operation that was granted is granted again, unchanged, as long as its record stands. It keeps nothing,
 * locks nothing and knows nothing of who asks: a caller that must restrict who may claim for whom checks that
 * first.
 */
import type { Decision } from '../base/decision.ts';
import type { ArbiterRecord } from '../disk/state.ts';

export type SwapAction =
  /** Persist `record`, then answer granted. */
  | { readonly kind: 'write'; readonly record: ArbiterRecord }
  /** Answer granted; nothing changes. */
  | { readonly kind: 'already'; readonly record: ArbiterRecord }
  /** Answer refused with the record as it is; nothing changes. */
  | { readonly kind: 'refuse'; readonly record: ArbiterRecord | undefined }
  /** The request can never be right; nothing changes. */
  | { readonly kind: 'reject' };

/** Two records are equal when all three fields are; "no record" equals only "no record". */
export function sameRecord(left: ArbiterRecord | undefined, right: ArbiterRecord | undefined): boolean {
  if (left === undefined || right === undefined) return left === right;
  return (
    left.generation === right.generation &&
    left.holder === right.holder &&
    left.operationId === right.operationId
  );
}

interface Swap {
  readonly current: ArbiterRecord | undefined;
  readonly expected: ArbiterRecord | undefined;
  readonly next: ArbiterRecord;
}

interface SwapRule {
  readonly rule: string;
  readonly because: string;
  readonly when: (swap: Swap) => boolean;
  readonly action: (swap: Swap) => SwapAction;
}

/**
 * Evaluated top-down; the first row that applies decides. Where none does, the swap is refused
 * (`record-differs`).
 */
const swapRules: readonly SwapRule[] = [
  {
    rule: 'generation-does-not-follow',
    because: 'the new generation is not above the expected one',
    when: ({ expected, next }) => next.generation <= (expected?.generation ?? 0),
    action: () => ({ kind: 'reject' }),
  },
  {
    rule: 'operation-id-not-new',
    because: 'the operation id is that of the expected record',
    when: ({ expected, next }) => next.operationId === expected?.operationId,
    action: () => ({ kind: 'reject' }),
  },
  {
    rule: 'operation-already-granted',
    because: 'the record is there because of this very operation',
    when: ({ current, next }) => sameRecord(current, next),
    action: ({ next }) => ({ kind: 'already', record: next }),
  },
  {
    rule: 'operation-id-reused',
    because: 'the operation id was used for another change before',
    when: ({ current, next }) => current?.operationId === next.operationId,
    action: () => ({ kind: 'reject' }),
  },
  {
    rule: 'record-as-expected',
    because: 'the record is exactly the expected one',
    when: ({ current, expected }) => sameRecord(current, expected),
    action: ({ next }) => ({ kind: 'write', record: next }),
  },
];

/** Decides what becomes of `expected -> next` when the record is `current`. */
export function decideSwap(
  current: ArbiterRecord | undefined,
  expected: ArbiterRecord | undefined,
  next: ArbiterRecord,
): Decision<SwapAction> {
  const swap = { current, expected, next };
  for (const { rule, because, when, action } of swapRules) {
    if (when(swap)) return { action: action(swap), rule, because };
  }
  const because = 'the record is not the expected one';
  return { action: { kind: 'refuse', record: current }, rule: 'record-differs', because };
}
