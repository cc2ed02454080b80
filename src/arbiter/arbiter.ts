/**
 * The arbiter as a port: one record per module, changed only by compare-and-swap, idempotent by the operation id of the new
 * record. No leases, no clocks. An implementation answers each call exactly once within its own deadline.
 */
import type { ArbiterRecord } from '../disk/state.ts';

export type ArbiterAnswer =
  /** The record is now `record` because of this operation (now, or when an earlier attempt of the same id arrived). */
  | { readonly kind: 'granted'; readonly record: ArbiterRecord }
  /** The record was not as expected and is unchanged; `undefined`: there is no record. */
  | { readonly kind: 'refused'; readonly record: ArbiterRecord | undefined }
  /** Nothing is known: it may have been granted or not. `sent` is false only when provably no byte of it left this node. */
  | { readonly kind: 'no-answer'; readonly sent: boolean; readonly because: string };

export type ReadAnswer =
  | { readonly kind: 'record'; readonly record: ArbiterRecord | undefined }
  | { readonly kind: 'no-answer'; readonly because: string };

export interface Arbiter {
  /** Swap `expected` (or no record) for `next`; `next.operationId` names the operation. */
  swap(
    expected: ArbiterRecord | undefined,
    next: ArbiterRecord,
    answered: (answer: ArbiterAnswer) => void,
  ): void;
  read(answered: (answer: ReadAnswer) => void): void;
}
