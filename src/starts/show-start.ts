/** What the order of starts and the capacity of the nodes add to the sentence that people read of a module. */
import type { Readiness } from '../base/status.ts';

interface Shown {
  readonly readiness: Readiness;
  readonly because: string;
}

/** `waits`: why the VM does not start yet. `capacity`: which node could not start it, and why: orange as long as that is so. */
export function withStart<T extends Shown>(
  shown: T,
  { waits, capacity }: { readonly waits: string | undefined; readonly capacity: string | undefined },
): T {
  if (waits !== undefined) return { ...shown, because: `${shown.because}; ${waits}` };
  if (capacity === undefined || shown.readiness !== 'ready') return shown;
  return { ...shown, readiness: 'transient', because: `${shown.because}; ${capacity}` };
}
