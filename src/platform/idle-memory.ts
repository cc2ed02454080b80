/**
 * Gives memory back to the operating system once a load has ended: the C library keeps what the buffers of the load left in
 * its heap, tens of MiB in each of many modules on a host.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { trimHeap } from './libc.ts';

/** Without activity for this long the load counts as over, ms. */
export const idleAfterMs = 10_000;

/** `activity` is a number that grows with everything that is done. Ends with `cancel`. */
export function trimWhenIdle(clock: Clock, activity: () => number, trim: () => void = trimHeap): Timer {
  let seen = activity();
  let trimmedAt: number | undefined;
  let timer: Timer;
  const look = (): void => {
    const now = activity();
    if (now === seen && now !== trimmedAt) {
      trimmedAt = now;
      trim();
    }
    seen = now;
    timer = clock.after(idleAfterMs, look);
  };
  timer = clock.after(idleAfterMs, look);
  return { cancel: () => timer.cancel() };
}
