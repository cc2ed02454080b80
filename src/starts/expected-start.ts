/**
 * When a module says ahead that its VM will start here. After a power-off every module of the other node comes to its takeover
 * at about the same time, not in the order of priorities; each says so when it has lost the peer, seconds before it may claim,
 * so that a VM of low priority whose arbiter answered first knows who is about to come. Nobody waits for one that is late.
 */

/** How much later than its time a claim may be answered before nobody waits for that VM any more, ms. */
export const expectedGraceMs = 2000;

export interface ExpectationFacts {
  readonly hasVm: boolean;
  /** The operator wants the module to run. */
  readonly started: boolean;
  readonly serving: boolean;
  readonly upToDate: boolean;
  readonly failover: boolean;
  readonly connected: boolean;
  /** A claim is under way. */
  readonly claimOpen: boolean;
  /** Since when nothing was heard of the peer, ms. */
  readonly unheardMs: number;
  readonly lostAfterMs: number;
  readonly claimAfterMs: number;
}

/** By when this node may be told to start its VM; `undefined`: it is not expected to. Counts from now, ms. */
export function expectedWithinMs(facts: ExpectationFacts): number | undefined {
  const { hasVm, started, serving, upToDate, failover, connected, claimOpen, unheardMs } = facts;
  if (!hasVm || !started || serving || !upToDate || connected) return undefined;
  if (claimOpen) return expectedGraceMs;
  if (!failover || unheardMs < facts.lostAfterMs) return undefined;
  return Math.max(0, facts.claimAfterMs - unheardMs) + expectedGraceMs;
}
