/**
 * What a module does while its peer cannot be heard: hold, ask the arbiter, wait. A pure function of the situation, evaluated
 * again and again: the rows are tried top-down and the first that matches decides. What follows from the arbiter's answer is in
 * decide-record.ts.
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

/**
 * What is known of the peer now. `out`: it said that its disk does not work and that no VM runs there. `new`: it is connected and holds
 * nothing of this module, as a new node or one with new hardware does; it runs no VM, and cannot tell whether this copy is
 * the latest. `split`: it is connected, and went on alone as well; this node is on its own. None of them is worth waiting for.
 */
export type PeerSight = 'silent' | 'answers' | 'out' | 'new' | 'split';

export interface AloneSituation {
  readonly started: boolean;
  readonly peer: PeerSight;
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
  /** `split-brain-allowed`: there is none, and both nodes may go on alone. */
  readonly arbiter: 'record' | 'none' | 'split-brain-allowed';
  readonly failover: boolean;
  /** The operator asked for `prim`. */
  readonly forced: boolean;
  /** The operator asked for `second`, or the arbiter's answer left nothing to ask for. */
  readonly mayNotClaim: string | undefined;
}

export type AloneAction = 'nothing' | 'wait' | 'claim' | 'go-on-without-arbiter';

type Test = (situation: AloneSituation, timers: Timers) => boolean;

export interface AloneRow {
  readonly rule: string;
  readonly action: AloneAction;
  readonly matches: Test;
  because(situation: AloneSituation, timers: Timers): string;
}

const isUpToDate: Test = ({ data }) => data === 'up-to-date';
/** Or it said itself that there is nothing to wait for. */
const silentFor = ({ silenceMs, peer }: AloneSituation, waitMs: number): boolean =>
  peer === 'out' || peer === 'new' || peer === 'split' || silenceMs >= waitMs;

/**
 * Also when the operator asks: the other side's VM may still run. After a boot the peer may be booting too, and may hold what
 * this host lost: wait longer, and let the preferred node go first.
 */
const claimDelayMs = (situation: AloneSituation, { claimAfterMs }: Timers): number =>
  claimAfterMs * (situation.rebooted ? (situation.preferred ? 2 : 3) : 1);

const lostPeer = ({ peer, silenceMs }: AloneSituation): string => {
  if (peer === 'out') return 'the disk of the peer does not work, and no VM runs there';
  if (peer === 'new') return 'the peer holds nothing of this module, and no VM runs there';
  if (peer === 'split') return 'the peer went on alone as well';
  return `the peer has been silent for ${seconds(silenceMs)}`;
};

export const aloneTable: readonly AloneRow[] = [
  {
    rule: 'stopped',
    action: 'nothing',
    matches: ({ started }) => !started,
    because: () => 'the operator stopped this module',
  },
  {
    rule: 'already-alone',
    action: 'nothing',
    matches: ({ alone }) => alone,
    because: () => 'this node may write alone',
  },
  {
    rule: 'operation-open',
    action: 'wait',
    matches: ({ operationOpen }) => operationOpen,
    because: () => 'the arbiter has been asked and has not answered yet',
  },
  {
    rule: 'connected',
    action: 'nothing',
    matches: ({ peer }) => peer === 'answers',
    because: () => 'the peer answers',
  },
  {
    rule: 'not-up-to-date',
    action: 'wait',
    matches: (situation, timers) => !isUpToDate(situation, timers),
    because: ({ data }) => waitForData(data),
  },
  {
    rule: 'disk-in-doubt',
    action: 'wait',
    matches: ({ doubt }) => doubt !== 'none',
    because: ({ doubt }) => doubtSentence(doubt),
  },
  {
    rule: 'may-not-claim',
    action: 'wait',
    matches: ({ mayNotClaim, forced }) => mayNotClaim !== undefined && !forced,
    because: ({ mayNotClaim }) => mayNotClaim ?? '',
  },
  // From here on a node with a good copy that may ask. First one that serves its guest, or did a moment ago.
  {
    rule: 'alone-before-restart',
    action: 'claim',
    matches: ({ primary, namedHolder, arbiter }) => primary && namedHolder && arbiter === 'record',
    because: () => 'this node was alone before its process was restarted; the arbiter has to confirm it',
  },
  {
    rule: 'peer-silent',
    action: 'wait',
    matches: (situation, { lostAfterMs }) => situation.primary && !silentFor(situation, lostAfterMs),
    because: (situation) => `${lostPeer(situation)}; writes are held`,
  },
  {
    rule: 'primary-without-arbiter',
    action: 'go-on-without-arbiter',
    matches: ({ primary, arbiter }) => primary && arbiter !== 'record',
    because: (situation) => `${lostPeer(situation)} and there is no arbiter to ask`,
  },
  {
    rule: 'primary-lost-peer',
    action: 'claim',
    matches: ({ primary }) => primary,
    because: lostPeer,
  },
  // From here on: one that would start its VM.
  {
    rule: 'failover-off',
    action: 'wait',
    matches: ({ failover, forced }) => !failover && !forced,
    because: (situation) =>
      `${lostPeer(situation)} and failover is off; run \`vmpair prim VM\` to start here`,
  },
  {
    rule: 'holder-without-arbiter',
    action: 'go-on-without-arbiter',
    matches: ({ arbiter, namedHolder, peer }) => arbiter === 'none' && namedHolder && peer === 'new',
    because: (situation) => `${lostPeer(situation)}; this node was alone, and there is no arbiter to ask`,
  },
  {
    rule: 'secondary-without-arbiter',
    action: 'wait',
    matches: ({ arbiter, forced }) => arbiter === 'none' && !forced,
    because: (situation) =>
      `${lostPeer(situation)}; without an arbiter a secondary never starts by itself; run \`vmpair prim VM\` to start here`,
  },
  {
    rule: 'claim-delay',
    action: 'wait',
    matches: (situation, timers) => !silentFor(situation, claimDelayMs(situation, timers)),
    because: (situation, timers) =>
      `${lostPeer(situation)}; this node asks the arbiter after ${seconds(claimDelayMs(situation, timers))}`,
  },
  {
    rule: 'prim',
    action: 'claim',
    matches: ({ forced }) => forced,
    because: () => 'the operator asked this node to be primary',
  },
  {
    rule: 'split-brain-allowed',
    action: 'go-on-without-arbiter',
    matches: ({ arbiter }) => arbiter === 'split-brain-allowed',
    because: (situation) => `${lostPeer(situation)}, and the configuration allows a split brain`,
  },
  {
    rule: 'secondary-lost-peer',
    action: 'claim',
    matches: () => true,
    because: lostPeer,
  },
];

/** The first row that matches. The last one matches everything. */
export function decideAlone(situation: AloneSituation, timers: Timers): Decision<AloneAction> {
  const { rule, action, because } = aloneTable.find((row) => row.matches(situation, timers)) as AloneRow;
  return { action, rule, because: because(situation, timers) };
}

function waitForData(data: DataFlag): string {
  if (data === 'fresh')
    return 'this node holds no data of the module yet and waits for the peer, or for `vmpair prim VM`';
  const lost = '; if that is lost for good, `vmpair prim VM` says what can be done';
  if (data === 'outdated')
    return `this copy is outdated: the peer went on without it; waiting for the peer${lost}`;
  return `this copy is half resynchronised; waiting for the peer to finish it${lost}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
