/** The host's monotonic clock and timers behind the `Clock` port. */
import type { Clock } from '../base/clock.ts';

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
