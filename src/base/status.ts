/** What a module tells of itself: the answer of the `status` verb on its control socket, shown by CLI, console and tests. */
import type { Decision } from './decision.ts';
import type { NodeName } from './identity.ts';

/** Shown to people; derived from the axes, never stored. */
export type ModuleState = 'STOP' | 'WAIT' | 'ALONE' | 'PRIM' | 'SECOND';
/** `not-ready` red, `transient` orange, `ready` green. */
export type Readiness = 'not-ready' | 'transient' | 'ready';

export interface Axes {
  readonly role: 'primary' | 'secondary';
  readonly data: 'fresh' | 'up-to-date' | 'outdated' | 'inconsistent';
  readonly link: 'down' | 'handshake' | 'resync-source' | 'resync-target' | 'in-sync';
  readonly vm: 'none' | 'stopped' | 'starting' | 'running' | 'paused' | 'stopping' | 'unknown';
  /** What the operator wants. */
  readonly run: 'started' | 'stopped';
}

export interface ResyncProgress {
  readonly direction: 'source' | 'target';
  /** Name of the row of the resync table, and its sentence. */
  readonly rule: string;
  readonly because: string;
  /** Bytes in the blocks that must be examined at the start, and of those done. */
  readonly totalBytes: number;
  readonly examinedBytes: number;
  /** Bytes that differed and crossed the link. */
  readonly sentBytes: number;
  /** How long it has taken until now, or took. */
  readonly elapsedMs: number;
  /** Examined bytes per second, smoothed; of one that has ended, its average. */
  readonly bytesPerSecond: number;
  /** Time to the end at the smoothed rate; `undefined`: not known yet. */
  readonly etaMs: number | undefined;
}

/** `running` and `waiting` go on; `complete`: every block was compared; `stopped` by the operator; `interrupted`: `because` says why. */
export type VerifyOutcome = 'running' | 'waiting' | 'complete' | 'stopped' | 'interrupted';

export interface DifferingRange {
  readonly volume: string;
  /** Whole blocks of 64 KiB. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** The peer's copy was overwritten with this node's, and both are on stable storage. */
  readonly repaired: boolean;
}

/** What the arbiter says of a module, beside what this copy knows. */
export interface RecordStatus {
  /**
   * `ok`: record and store are what this copy knows, so each node may go on alone as ever. `other-store`: its records were made
   * anew, or restored, or it is another arbiter. `no-record`, `differs`: in the store that this copy knows.
   */
  readonly verdict: 'ok' | 'no-arbiter' | 'no-answer' | 'other-store' | 'no-record' | 'differs';
  readonly because: string;
  readonly record?: { readonly generation: number; readonly holder: string; readonly operationId: string };
  readonly store?: string;
}

/** A comparison of both copies in the background, which runs or has ended. */
export interface VerifyReport {
  readonly outcome: VerifyOutcome;
  readonly because: string;
  readonly volumes: readonly string[];
  readonly rateBytesPerSecond?: number | undefined;
  /** Time of day. */
  readonly startedAt: string;
  readonly endedAt: string | undefined;
  readonly elapsedMs: number;
  readonly totalBytes: number;
  readonly examinedBytes: number;
  /** In the order in which they were found. */
  readonly ranges: readonly DifferingRange[];
  /** Further ranges that are not listed. */
  readonly rangesOmitted: number;
  readonly etaMs: number | undefined;
}

/** Whether an earlier image of a copy that is not up to date is kept, and why. */
export interface KeptImageStatus {
  readonly kept: boolean;
  readonly because: string;
  /** Time of day when it was made. */
  readonly keptAt?: string;
  /** What the guest wrote after this time is not in it. */
  readonly contentOf?: string;
  readonly files?: readonly string[];
}

/** The fence of the peer: how it is set up, and what it said last. `at` is the time of day. */
export interface FenceStatus {
  readonly kind: string;
  /** No VM starts here without proof that the peer is off. */
  readonly required: boolean;
  /** Why the VM has to wait; `undefined`: nothing waits. */
  readonly waits: string | undefined;
  /** Whether it answers; nothing was switched. */
  readonly lastTest:
    | {
        readonly kind: 'answers' | 'no-answer' | 'not-testable';
        readonly because: string;
        readonly at: string;
      }
    | undefined;
  /** Of the last attempt to switch the peer off since it was connected. */
  readonly lastResult:
    | { readonly kind: 'off' | 'no-proof'; readonly because: string; readonly at: string }
    | undefined;
}

/** The start of the VM among those of its node, and whether the other node could start it. */
export interface StartStatus {
  readonly priority: number;
  readonly after: readonly string[];
  /** Why the VM does not start yet; `undefined`: it is not kept waiting. */
  readonly waits: string | undefined;
  /** Which node could not start it, and why; `undefined`: both could, as far as is known. */
  readonly capacity: string | undefined;
}

/** One network between the two nodes. */
export interface NetworkStatus {
  /** Counts from 1, in the order of the configuration. */
  readonly network: number;
  /** Where this node and its peer are on it, `host:port`; one of the two listens. */
  readonly own: string;
  readonly peer: string;
  /** `active` carries the data; `standby`: both hear each other on it, and it is used when the active one is lost. */
  readonly state: 'active' | 'standby' | 'down';
  /** Since it has been so. */
  readonly forMs: number;
  /** Since the peer was last heard on it; since the start of the process when it never was. */
  readonly heardMs: number;
  /** Why it is down; else empty. */
  readonly because: string;
}

export interface SplitRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** What one node wrote since the copies were equal, as whole blocks; after a crash, whole extents. */
export interface SplitSide {
  readonly node: NodeName;
  /** Time of day when it went on alone. */
  readonly since: string | undefined;
  readonly writtenBytes: number;
  readonly volumes: readonly {
    readonly name: string;
    readonly writtenBytes: number;
    readonly ranges: readonly SplitRange[];
    /** Further ranges that are not listed. */
    readonly rangesOmitted: number;
  }[];
}

export interface SplitStatus {
  /** Time of day. */
  readonly seenAt: string;
  readonly because: string;
  /** This node, then the peer when it has told. */
  readonly sides: readonly SplitSide[];
}

export interface VolumeStatus {
  readonly name: string;
  readonly sizeBytes: number;
  readonly file: string;
  /** `nbd+unix:///NAME?socket=PATH` */
  readonly nbd: string;
  readonly dirtyBytes: number;
}

/** The checks of a module on one node, and what its rules count. */
export interface ChecksStatus {
  readonly checks: readonly {
    readonly name: string;
    readonly kind: string;
    /** `host`: about the node, asked on both. `vm`: about the VM, asked where it runs. */
    readonly on: 'host' | 'vm';
    readonly action: string;
    /** `unknown`: no answer yet. `idle`: about a VM that does not run here, or has just been started. */
    readonly state: 'unknown' | 'well' | 'failing' | 'idle';
    /** What was found last. */
    readonly because: string;
  }[];
  /** Automatic restarts of the VM in the last 24 hours, on both nodes, and how many there may be. */
  readonly restarts: number;
  readonly restartsMax: number;
  /** A rule made this node leave the pair until its checks are well. */
  readonly waiting: boolean;
  /** Time of day; `undefined`: not in maintenance. */
  readonly maintenanceUntil: string | undefined;
}

export interface ModuleStatus {
  readonly module: string;
  readonly node: NodeName;
  readonly peer: NodeName;
  readonly pid: number;
  /** Changes with every start of the process. */
  readonly instance: string;
  readonly state: ModuleState;
  readonly readiness: Readiness;
  /** One sentence why, for a person. */
  readonly because: string;
  readonly axes: Axes;
  readonly generation: number;
  readonly networks: readonly NetworkStatus[];
  readonly volumes: readonly VolumeStatus[];
  readonly resync: ResyncProgress | undefined;
  /** The last resync that ended in this process. */
  readonly lastResync: ResyncProgress | undefined;
  /** The verify that runs, or the last one that this node ran, also before its process was restarted. */
  readonly verify: VerifyReport | undefined;
  /** `undefined` while nobody needs one. */
  readonly keptImage: KeptImageStatus | undefined;
  /** Both copies went on alone, and none was given up yet. */
  readonly split: SplitStatus | undefined;
  /** Files with the blocks of copies that were given up; they stay until they are deleted by hand. */
  readonly sideFiles?: readonly string[];
  /** Absent: the answer of an earlier version. */
  readonly checks?: ChecksStatus;
  /** `undefined`: no fence is configured. */
  readonly fence: FenceStatus | undefined;
  readonly start?: StartStatus;
  readonly counters: Readonly<Record<string, number>>;
  /** Newest first. */
  readonly decisions: readonly (Decision<string> & { readonly at: string })[];
}
