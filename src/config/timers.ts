/**
 * The timers of a module, all scaled together by a profile. Their order keeps two VMs from running at once: a primary that
 * lost its peer has paused its VM before the other side claims, and a hung module's VM is paused by the supervisor before that.
 */
import { z } from 'zod';

export interface Timers {
  /** A sign of life is sent this often. */
  readonly heartbeatIntervalMs: number;
  /** Silence after which the peer counts as lost. */
  readonly lostAfterMs: number;
  /** Silence after which a primary without an answer of the arbiter pauses its VM. */
  readonly pauseAfterMs: number;
  /** Silence after which a secondary claims. */
  readonly claimAfterMs: number;
  /** Silence of a module's control socket after which the supervisor pauses its VM and kills it. */
  readonly watchdogMs: number;
  /** Silence of a disk after which it counts as hung; see cluster/slow-disk.ts. */
  readonly diskHungAfterMs: number;
}

export const timerProfiles = {
  default: {
    heartbeatIntervalMs: 500,
    lostAfterMs: 3000,
    pauseAfterMs: 5000,
    claimAfterMs: 6000,
    watchdogMs: 4000,
    diskHungAfterMs: 7000,
  },
  fast: {
    heartbeatIntervalMs: 200,
    lostAfterMs: 1000,
    pauseAfterMs: 2000,
    claimAfterMs: 2500,
    watchdogMs: 1500,
    diskHungAfterMs: 3000,
  },
} as const satisfies Record<string, Timers>;

/** Longest timer, ms. */
const timerMsMax = 3_600_000;
const timer = z.int('a whole number of milliseconds').min(10).max(timerMsMax).optional();

interface OrderRule {
  readonly rule: string;
  /** Which two it is about: one of them may come from the profile, and the file does not show it. */
  readonly of: readonly [keyof Timers, keyof Timers];
  readonly holds: (timers: Timers) => boolean;
}

/** Rules that the resolved timers obey, in the order in which they are checked. */
const orderRules: readonly OrderRule[] = [
  {
    rule: 'heartbeatIntervalMs at most half of lostAfterMs',
    of: ['heartbeatIntervalMs', 'lostAfterMs'],
    holds: (timers) => timers.heartbeatIntervalMs * 2 <= timers.lostAfterMs,
  },
  {
    rule: 'lostAfterMs below pauseAfterMs',
    of: ['lostAfterMs', 'pauseAfterMs'],
    holds: (timers) => timers.lostAfterMs < timers.pauseAfterMs,
  },
  {
    rule: 'pauseAfterMs below claimAfterMs',
    of: ['pauseAfterMs', 'claimAfterMs'],
    holds: (timers) => timers.pauseAfterMs < timers.claimAfterMs,
  },
  {
    rule: 'watchdogMs below claimAfterMs',
    of: ['watchdogMs', 'claimAfterMs'],
    holds: (timers) => timers.watchdogMs < timers.claimAfterMs,
  },
  {
    rule: 'watchdogMs at least twice the heartbeatIntervalMs',
    of: ['watchdogMs', 'heartbeatIntervalMs'],
    holds: (timers) => timers.watchdogMs >= timers.heartbeatIntervalMs * 2,
  },
];

/** Schema of the `timers` key; its output is complete. */
export const timersSchema = z
  .strictObject({
    profile: z.enum(['default', 'fast']).default('default'),
    heartbeatIntervalMs: timer,
    lostAfterMs: timer,
    pauseAfterMs: timer,
    claimAfterMs: timer,
    watchdogMs: timer,
    diskHungAfterMs: timer,
  })
  .transform(({ profile, ...own }, context): Timers => {
    const base = timerProfiles[profile];
    const timers: Timers = {
      heartbeatIntervalMs: own.heartbeatIntervalMs ?? base.heartbeatIntervalMs,
      lostAfterMs: own.lostAfterMs ?? base.lostAfterMs,
      pauseAfterMs: own.pauseAfterMs ?? base.pauseAfterMs,
      claimAfterMs: own.claimAfterMs ?? base.claimAfterMs,
      watchdogMs: own.watchdogMs ?? base.watchdogMs,
      diskHungAfterMs: own.diskHungAfterMs ?? base.diskHungAfterMs,
    };
    const broken = orderRules.find(({ holds }) => !holds(timers));
    if (broken === undefined) return timers;
    const values = broken.of.map((name) => `${name} is ${timers[name]}`).join(', ');
    context.issues.push({ code: 'custom', message: `${broken.rule} (here ${values})`, input: timers });
    return z.NEVER;
  });
