/**
 * What a module does while its peer cannot be heard: hold, ask the arbiter, wait, pause the VM. A pure function of the
 * situation, evaluated again and again; the first row that matches decides.
 *
 * It never decides by time that something is safe: time only says when to ask. What may be written, the arbiter's record
 * or the peer's durable word says.
 */
import type { Decision } from '../base/decision.ts';
import type { DataFlag, DiskDoubt } from '../disk/state.ts';
import { doubtSentence } from './disk-file-facts.ts';

export interface Timers {
  readonly heartbeatIntervalMs: number;
  /** Silence after which the peer counts as lost and a primary asks the arbiter. */
  readonly lostAfterMs: number;
  /** Silence after which the VM of a primary that may not write is paused. */
  readonly pauseAfterMs: number;
  /** Silence after which a secondary asks the arbiter; later than the pause, so that the VM never runs twice. */
  readonly claimAfterMs: number;
  /** Silence of a disk after which it counts as hung; see cluster/slow-disk.ts. */
  readonly diskHungAfterMs: number;
}

export interface AloneSituation {
  readonly started: boolean;
  readonly connected: boolean;
  /** The peer said that its disk does not work and that no VM runs there: it is of no use to wait for it. */
  readonly peerOut: boolean;
  /** Serves the guest, or did so until its process was restarted a moment ago. */
  readonly primary: boolean;
  /** May write without the peer already. */
  readonly alone: boolean;
  /** By the last word of the arbiter that it persisted, this node holds the record alone. */
  readonly namedHolder: boolean;
  readonly data: DataFlag;
  readonly doubt: DiskDoubt;
  readonly silenceMs: number;
  readonly operationOpen: boolean;
  /** This host lost its page cache since its copy was last in sync. */
  readonly rebooted: boolean;
  readonly preferred: boolean;
  readonly arbiter: 'record' | 'none';
  readonly failover: boolean;
  /** The operator asked for `prim`. */
  readonly forced: boolean;
  /** The operator asked for `second`, or the arbiter's answer left nothing to ask for. */
  readonly mayNotClaim: string | undefined;
}

export type AloneAction = 'nothing' | 'wait' | 'claim' | 'go-on-without-arbiter';

export function decideAlone(situation: AloneSituation, timers: Timers): Decision<AloneAction> {
  const { peerOut } = situation;
  const silent = peerOut
    ? 'the disk of the peer does not work, and no VM runs there'
    : `the peer has been silent for ${seconds(situation.silenceMs)}`;
  if (!situation.started)
    return { action: 'nothing', rule: 'stopped', because: 'the operator stopped this module' };
  if (situation.alone)
    return { action: 'nothing', rule: 'already-alone', because: 'this node may write alone' };
  if (situation.operationOpen) {
    return {
      action: 'wait',
      rule: 'operation-open',
      because: 'the arbiter has been asked and has not answered yet',
    };
  }
  if (situation.connected && !peerOut)
    return { action: 'nothing', rule: 'connected', because: 'the peer answers' };
  if (situation.data !== 'up-to-date') {
    return { action: 'wait', rule: 'not-up-to-date', because: waitForData(situation.data) };
  }
  if (situation.doubt !== 'none')
    return { action: 'wait', rule: 'disk-in-doubt', because: doubtSentence(situation.doubt) };
  if (situation.mayNotClaim !== undefined && !situation.forced) {
    return { action: 'wait', rule: 'may-not-claim', because: situation.mayNotClaim };
  }
  if (situation.primary) {
    if (situation.namedHolder && situation.arbiter === 'record') {
      const because = 'this node was alone before its process was restarted; the arbiter has to confirm it';
      return { action: 'claim', rule: 'alone-before-restart', because };
    }
    if (situation.silenceMs < timers.lostAfterMs && !peerOut) {
      return { action: 'wait', rule: 'peer-silent', because: `${silent}; writes are held` };
    }
    if (situation.arbiter === 'none') {
      return {
        action: 'go-on-without-arbiter',
        rule: 'primary-without-arbiter',
        because: `${silent} and there is no arbiter to ask`,
      };
    }
    return { action: 'claim', rule: 'primary-lost-peer', because: silent };
  }
  if (!situation.failover && !situation.forced) {
    return {
      action: 'wait',
      rule: 'failover-off',
      because: `${silent} and failover is off; run \`vmpair prim VM\` to start here`,
    };
  }
  if (situation.arbiter === 'none' && !situation.forced) {
    return {
      action: 'wait',
      rule: 'secondary-without-arbiter',
      because: `${silent}; without an arbiter a secondary never starts by itself`,
    };
  }
  // Also when the operator asks: the other side's VM may still run. After a boot the peer may be booting too, and may hold what
  // this host lost: wait longer, and let the preferred node go first.
  const waitMs = timers.claimAfterMs * (situation.rebooted ? (situation.preferred ? 2 : 3) : 1);
  if (situation.silenceMs < waitMs && !peerOut) {
    return {
      action: 'wait',
      rule: 'claim-delay',
      because: `${silent}; this node asks the arbiter after ${seconds(waitMs)}`,
    };
  }
  if (situation.forced)
    return { action: 'claim', rule: 'prim', because: 'the operator asked this node to be primary' };
  return { action: 'claim', rule: 'secondary-lost-peer', because: silent };
}

function waitForData(data: DataFlag): string {
  if (data === 'fresh')
    return 'this node holds no data of the module yet and waits for the peer, or for `vmpair prim VM`';
  if (data === 'outdated') return 'this copy is outdated: the peer went on without it; waiting for the peer';
  return 'this copy is half resynchronised; waiting for the peer to finish it';
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
