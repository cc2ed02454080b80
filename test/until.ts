/** Waiting for a condition that has no event, with a deadline. The message says what was waited for and what was last seen. */

const lookIntervalMs = 5;

/** Resolves to the first value that is not `undefined` or `false`; a look that throws counts as not yet. */
export async function until<Value>(
  what: string,
  look: () => Value | Promise<Value>,
  deadlineMs = 5000,
): Promise<Exclude<Value, undefined | false>> {
  const endMs = performance.now() + deadlineMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await look();
      if (value !== undefined && value !== false) return value as Exclude<Value, undefined | false>;
      last = value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > endMs)
      throw new Error(`not within ${deadlineMs} ms: ${what}; last: ${String(last)}`);
    await new Promise((resolve) => setTimeout(resolve, lookIntervalMs));
  }
}
