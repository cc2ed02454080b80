/**
 * The times of day in the persistent state, which nothing decides by: they tell people how much a copy lacks. They follow from what
 * is persisted anyway, so that nobody has to remember them.
 */
import type { PersistentState } from '../disk/state.ts';

export interface Dates {
  /** Now. */
  readonly now: string;
  /** When this copy, in this process, was last in sync or alone. */
  readonly upToDateAt: string | undefined;
  /** When its disk files were written last before this process; what was written later is not in it. */
  readonly writtenBefore: string | undefined;
}

/** `patch` with the times that belong to it. ISO 8601 texts sort by time. */
export function dated(
  state: PersistentState,
  patch: Partial<PersistentState>,
  { now, upToDateAt, writtenBefore }: Dates,
): Partial<PersistentState> {
  const isBoth = patch.holder === 'both';
  const losesWorth = patch.data === 'outdated' || patch.data === 'inconsistent';
  if (isBoth && !losesWorth)
    return { ...patch, inSyncAt: now, aloneSince: undefined, splitSince: undefined, wish: undefined };
  if (state.data === 'up-to-date' && losesWorth) {
    const known = [state.inSyncAt ?? '', writtenBefore ?? ''].sort().at(-1);
    return { ...patch, inSyncAt: upToDateAt ?? (known === '' ? undefined : known) };
  }
  if (patch.holder === state.self && patch.path?.at(-1) !== state.path.at(-1)) {
    // Alone again after a restart: what it wrote since the first time is on this node alone.
    const since = state.holder === state.self ? state.aloneSince : undefined;
    return { ...patch, aloneSince: since ?? now };
  }
  return patch;
}
