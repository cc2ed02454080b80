/** Every situation of a module whose peer may be away: all facts, and a silence before, at and after each of the timers. */
import type { AloneSituation, Timers } from '../../src/cluster/decide-alone.ts';

export const timers: Timers = {
  heartbeatIntervalMs: 500,
  lostAfterMs: 3000,
  pauseAfterMs: 5000,
  claimAfterMs: 6000,
  diskHungAfterMs: 7000,
};

const booleans = [false, true] as const;
const edgesMs = [timers.lostAfterMs, timers.claimAfterMs, 2 * timers.claimAfterMs, 3 * timers.claimAfterMs];
const silencesMs = [0, ...edgesMs.flatMap((edgeMs) => [edgeMs - 1, edgeMs, edgeMs + 1])];

const choices: { readonly [Key in keyof AloneSituation]: readonly AloneSituation[Key][] } = {
  started: booleans,
  peer: ['silent', 'answers', 'out', 'new', 'split'],
  primary: booleans,
  namedHolder: booleans,
  alone: booleans,
  data: ['fresh', 'up-to-date', 'outdated', 'inconsistent'],
  doubt: ['none', 'flush-failed'],
  silenceMs: silencesMs,
  operationOpen: booleans,
  rebooted: booleans,
  preferred: booleans,
  arbiter: ['record', 'none', 'split-brain-allowed'],
  failover: booleans,
  forced: booleans,
  mayNotClaim: [undefined, 'the operator asked this node to be secondary'],
};

/** Calls `visit` with each one of them (the same object, changed in between); their number is returned. */
export function forEachSituation(visit: (situation: AloneSituation) => void): number {
  const keys = Object.keys(choices) as (keyof AloneSituation)[];
  const situation: Record<string, unknown> = {};
  let count = 0;
  const choose = (depth: number): void => {
    const key = keys[depth];
    if (key === undefined) {
      count += 1;
      visit(situation as unknown as AloneSituation);
      return;
    }
    for (const value of choices[key]) {
      situation[key] = value;
      choose(depth + 1);
    }
  };
  choose(0);
  return count;
}
