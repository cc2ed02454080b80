/** Waiting for something outside this process that has no event: looked at in short intervals, up to a deadline. */
import type { Clock } from '../base/clock.ts';

const lookIntervalMs = 20;

/** Resolves to the first value of `look` that is not `undefined`, or to `undefined` after the deadline. */
export async function waitUntil<Value>(
  clock: Clock,
  deadlineMs: number,
  look: () => Promise<Value | undefined> | Value | undefined,
): Promise<Value | undefined> {
  const endMs = clock.nowMs() + deadlineMs;
  for (;;) {
    const value = await look();
    if (value !== undefined || clock.nowMs() >= endMs) return value;
    await new Promise<void>((resolve) => void clock.after(lookIntervalMs, resolve));
  }
}
