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

export interface VolumeStatus {
  readonly name: string;
  readonly sizeBytes: number;
  readonly file: string;
  /** `nbd+unix:///NAME?socket=PATH` */
  readonly nbd: string;
  readonly dirtyBytes: number;
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
  readonly volumes: readonly VolumeStatus[];
  readonly resync: ResyncProgress | undefined;
  /** The last resync that ended in this process. */
  readonly lastResync: ResyncProgress | undefined;
  readonly counters: Readonly<Record<string, number>>;
  /** Newest first. */
  readonly decisions: readonly (Decision<string> & { readonly at: string })[];
}
