/** The host's monotonic clock and timers behind the `Clock` port. Edges use it; deciding code is handed it. */
import type { Clock, Timer } from '../base/clock.ts';

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after(delayMs: number, callback: () => void): Timer {
    const handle = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
};
