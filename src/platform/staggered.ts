/**
 * Tries alternatives in their order until one succeeds. The next one begins when the one before it failed, and also when it is
 * slow; the slow ones go on. The first success counts, and everything else is given up.
 */

/**
 * Resolves to the first success. An attempt must let go of everything when its signal is aborted, which also happens when `signal` is.
 * Rejects with an `AggregateError` of every failure, in the order of the attempts, or with the reason of a signal that was aborted before.
 */
export async function firstOf<Value>(
  attempts: readonly ((signal: AbortSignal) => Promise<Value>)[],
  staggerMs: number,
  signal: AbortSignal,
): Promise<Value> {
  signal.throwIfAborted();
  const running: Promise<Value>[] = [];
  const controllers: AbortController[] = [];
  let winner: number | undefined;
  let won = (): void => {};
  const success = new Promise<void>((resolve) => {
    won = resolve;
  });
  for (const [index, attempt] of attempts.entries()) {
    const controller = new AbortController();
    controllers.push(controller);
    const made = attempt(AbortSignal.any([signal, controller.signal])).then((value) => {
      winner ??= index;
      won();
      return value;
    });
    running.push(made);
    const settled = made.then(ignore, ignore);
    if (index + 1 < attempts.length) await withinTime(staggerMs, Promise.race([settled, success]));
    if (winner !== undefined || signal.aborted) break;
  }
  try {
    return await Promise.any(running);
  } finally {
    for (const [index, controller] of controllers.entries()) if (index !== winner) controller.abort();
  }
}

const ignore = (): void => {};

/** Resolves when `work` does, or when the time is over. */
async function withinTime(timeMs: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeMs);
  });
  await Promise.race([work, over]);
  clearTimeout(timer);
}
