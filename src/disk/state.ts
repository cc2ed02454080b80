/**
 * The persistent state of one module on one node: what the superblock holds. Everything that must be remembered across a
 * crash to decide who may write, who is the source of a resync and how much must be examined is here and nowhere else.
 */
import type { BootId, NodeName, OperationId } from '../base/identity.ts';

/**
 * `fresh`: never held data of this module. `up-to-date`: as far as this node knows, holds every acknowledged write.
 * `outdated`: a consistent image of an older time. `inconsistent`: target of an unfinished resync.
 */
export type DataFlag = 'fresh' | 'up-to-date' | 'outdated' | 'inconsistent';

export type OperatorWish = 'prim' | 'second';

export type Role = 'primary' | 'secondary';

/**
 * Why the content of a disk file cannot be trusted although its data flag says what it is worth; the data flag is about
 * the copies, this is about the disk. `flush-failed`: an fdatasync failed, so the kernel may show content that the disk does
 * not hold, and a later fdatasync would report success for it. `file-replaced`: the path names another file than the one
 * that the module wrote to. Only a resynchronisation onto this copy, or the operator, ends it.
 */
export type DiskDoubt = 'none' | 'flush-failed' | 'file-replaced';

/** Who may write: `both` nodes together (in sync), or one alone, by its node name (which can never be `both`). */
export type Holder = string;

/** What the arbiter keeps per module. `operationId` is the operation that produced it. */
export interface ArbiterRecord {
  /** Grows with each change, from 1; by one, but where a lost record was made anew. */
  readonly generation: number;
  readonly holder: Holder;
  readonly operationId: OperationId;
}

/** Identity of a store of arbiter records, 32 hex digits, drawn when the store was made. */
export type StoreId = string;

/** A compare-and-swap that was decided, persisted, and is sent until the arbiter answers for its id. */
export interface PendingOperation {
  /** The only store that may carry it out; absent: the module does not know its store yet, and any will do. */
  readonly store?: StoreId | undefined;
  /** `undefined`: the module has no record yet. */
  readonly expected: ArbiterRecord | undefined;
  readonly next: ArbiterRecord;
}

export interface VolumeIdentity {
  readonly name: string;
  readonly sizeBytes: number;
}

export interface PersistentState {
  readonly clusterId: string;
  readonly moduleId: string;
  readonly self: NodeName;
  readonly peer: NodeName;
  readonly volumes: readonly VolumeIdentity[];
  /** Lineage of the data on this node: operation ids, oldest first, at most `pathEntriesMax`; empty when fresh. */
  readonly path: readonly OperationId[];
  /** Arbiter generation number of the last entry of `path`; 0 when the path is empty. */
  readonly generation: number;
  /** Holder in the arbiter record that the last entry of `path` stands for; `undefined` when the path is empty. */
  readonly holder: Holder | undefined;
  /** The generation since which the dirty bitmap counts; `undefined`: nothing is common with the peer, all is dirty. */
  readonly base: OperationId | undefined;
  /** Role at the time of writing: after a crash `primary` means "was primary when it died". */
  readonly role: Role;
  readonly data: DataFlag;
  readonly diskDoubt: DiskDoubt;
  /** What the peer has durably confirmed of its own copy; `unknown` when nothing holds. */
  readonly peerData: 'unknown' | 'outdated' | 'inconsistent';
  readonly pending: PendingOperation | undefined;
  /** The store of the record that the last entry of `path` stands for; absent: not known yet, or there is no arbiter. */
  readonly arbiterStore?: StoreId | undefined;
  /**
   * What the operator asked for and has not come about yet. `prim`: to be primary as soon as the rules allow it. `second`: not to
   * take over before the pair was in sync. It ends with the next pair in sync, and a `prim` with its answer.
   */
  readonly wish?: OperatorWish | undefined;
  /** Time of day until which this copy is known to have held every write; kept when it stops to be up to date. */
  readonly inSyncAt?: string | undefined;
  /** Time of day when this node was last allowed to write alone; absent while the record says both. */
  readonly aloneSince?: string | undefined;
  /** Time of day when a split brain was seen; until it is resolved, no role changes by itself. */
  readonly splitSince?: string | undefined;
  /** Boot of this host in which this copy was last in sync or alone; `noBoot`: the cache of that boot counts for nothing any more. */
  readonly bootId: BootId;
}

/** No host has ever booted so. */
export const noBoot: BootId = '0'.repeat(32);

export const pathEntriesMax = 64;
export const volumesMax = 16;
/** One bit of the dirty bitmap. */
export const blockSizeBytes = 64 * 1024;
/** One entry of the activity log. */
export const extentSizeBytes = 4 * 1024 * 1024;
/** Hot extents per volume: 256 x 4 MiB = 1 GiB to examine after a crash. */
export const hotExtentsMax = 256;
