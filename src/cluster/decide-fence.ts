/**
 * Whether a node that has a fence and no record keeper goes on without its peer: only with proof that the peer is off. A pure
 * function of the situation, asked when the alone table would ask an arbiter; the first row that matches decides.
 *
 * Why a proof is enough for a node that runs: its copy holds every acknowledged write as long as the peer could not go on without
 * it, and the peer goes on only when this node was proved off (then this host has booted since), or gave its word that it is out.
 * Why it is not enough after a restart: the peer may have been started by hand meanwhile and be off by now. The fence would say
 * truthfully that it is off, and this node would go on with an older copy.
 *
 * Both nodes may want to switch the other one off. A secondary waits longer than the first attempt of the primary can take, so the
 * primary wins when its fence works. When that attempt ends without proof and a later one meets the secondary's, both servers can
 * go off: nothing is lost, and both start again together when they are on and see each other.
 */
import type { Decision } from '../base/decision.ts';
import type { PeerSight } from './decide-alone.ts';

export interface FenceSituation {
  readonly node: string;
  readonly peer: string;
  /** Serves the guest. */
  readonly primary: boolean;
  /** Without interruption since it was in sync, or since its VM began to run here. */
  readonly running: boolean;
  /** The operator asked for `prim`. */
  readonly forced: boolean;
  readonly sight: PeerSight;
  /** By its own last word this node was the only one with the newest copy. */
  readonly namedHolder: boolean;
  /** Why the peer is certainly off; `undefined`: nobody knows. */
  readonly proof: string | undefined;
  readonly silenceMs: number;
  /** Of the last attempt; empty when there was none. */
  readonly lastProblem: string;
}

export interface FenceTimers {
  readonly lostAfterMs: number;
  readonly claimAfterMs: number;
  /** Longest time of one attempt to switch the peer off. */
  readonly attemptMs: number;
}

export type FenceAction = 'wait' | 'fence' | 'claim';

/** Silence after which a secondary switches its peer off: the primary's first attempt has ended by then. */
export function secondaryFencesAfterMs({ claimAfterMs, attemptMs }: FenceTimers): number {
  return claimAfterMs + attemptMs;
}

export function decideFence(situation: FenceSituation, timers: FenceTimers): Decision<FenceAction> {
  const { node, peer, primary, running, forced, sight, namedHolder, proof, silenceMs, lastProblem } =
    situation;
  const silent = `${peer} has been silent for ${(silenceMs / 1000).toFixed(1)} s`;
  // A peer that is out may have the newest copy all the same; a new one has none.
  if (!running && !forced && !(sight === 'new' && namedHolder)) {
    const because =
      `${sight === 'silent' ? silent : `${peer} cannot go on`}; ${node} was restarted since both copies were in sync, and a fence remembers nothing: ` +
      `make sure that ${node} has the newest copy, then run \`vmpair prim VM\``;
    return { action: 'wait', rule: 'restarted-on-fence-alone', because };
  }
  if (sight === 'out' || sight === 'new')
    return { action: 'claim', rule: 'peer-out', because: `${peer} said that no VM runs there` };
  if (proof !== undefined) return { action: 'claim', rule: 'peer-proved-off', because: proof };
  const fencesAfterMs = primary ? timers.lostAfterMs : secondaryFencesAfterMs(timers);
  if (silenceMs < fencesAfterMs && !forced) {
    const because = `${silent}; it is switched off after ${(fencesAfterMs / 1000).toFixed(1)} s`;
    return { action: 'wait', rule: 'fence-delay', because };
  }
  const problem = lastProblem === '' ? '' : `: ${lastProblem}. ${byHand(peer)}`;
  return {
    action: 'fence',
    rule: 'fence-first',
    because: `${silent}; ${peer} has to be proved off${problem}`,
  };
}

/** What the administrator does when the fence cannot prove anything. */
export function byHand(peer: string): string {
  return (
    `If the power of ${peer} is gone, and the fence with it: make sure that it stays off, ` +
    `then run \`vmpair fence confirm VM --peer-is-off ${peer}\``
  );
}
