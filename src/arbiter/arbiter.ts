/**
 * The arbiter as a port: one record per module, changed only by compare-and-swap, idempotent by the operation id of the new
 * record. No leases, no clocks. An implementation answers each call exactly once within its own deadline, and not from inside
 * the call.
 *
 * The records are kept in a *store* with an identity that is drawn when the store is made. A store that was lost and made anew, that
 * was restored from a backup, or that belongs to another arbiter, has another one: a copy that knows its store never takes the word of
 * another, because two stores could name two holders.
 */
import type { ArbiterRecord, PendingOperation, StoreId } from '../disk/state.ts';

export type ArbiterAnswer =
  /** The record is now `record` because of this operation (now, or when an earlier attempt of the same id arrived). */
  | {
      readonly kind: 'granted';
      readonly record: ArbiterRecord;
      /** `undefined`: nobody keeps a record. */
      readonly store: StoreId | undefined;
    }
  /** The record was not as expected and is unchanged; `undefined`: there is no record. */
  | { readonly kind: 'refused'; readonly record: ArbiterRecord | undefined; readonly store: StoreId }
  /** The store is not the one that was asked for; nothing is changed in it. */
  | { readonly kind: 'other-store'; readonly store: StoreId }
  /** Nothing is known: it may have been granted or not. `sent` is false only when provably no byte of it left this node. */
  | { readonly kind: 'no-answer'; readonly sent: boolean; readonly because: string };

export type ReadAnswer =
  | { readonly kind: 'record'; readonly record: ArbiterRecord | undefined; readonly store: StoreId }
  | { readonly kind: 'no-answer'; readonly because: string };

export interface Arbiter {
  /** Swap `expected` (or no record) for `next` in this store; `next.operationId` names the operation. */
  swap(operation: PendingOperation, answered: (answer: ArbiterAnswer) => void): void;
  read(answered: (answer: ReadAnswer) => void): void;
}
