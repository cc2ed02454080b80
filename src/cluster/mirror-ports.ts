/** What a mirror stands on: its outside as ports, and its settings. */
import type { Arbiter } from '../arbiter/arbiter.ts';
import type { Surroundings } from '../arbiter/fence.ts';
import type { Clock } from '../base/clock.ts';
import type { BootId, IdSource, NodeName } from '../base/identity.ts';
import type { Log } from '../base/log.ts';
import type { DirtyBitmap } from '../disk/dirty-bitmap.ts';
import type { PersistentState } from '../disk/state.ts';
import type { BlockChecksum } from '../engine/block-digests.ts';
import type { MetadataPort, ReplicaVolume } from '../engine/replica.ts';
import type { DeviceWorkPort, RequestWatch } from '../engine/request-watch.ts';
import type { ControlMessage } from '../link/control-messages.ts';
import type { LinkTransport } from '../link/transport.ts';
import type { Timers } from './decide-alone.ts';
import type { DiskFileFacts } from './disk-file-facts.ts';
import type { DoubtMark } from './disk-trouble.ts';
import type { FenceSetup } from './fencing.ts';
import type { KeptImagePort } from './kept-image.ts';
import type { SideFilePort } from './side-files.ts';
import type { VerifyReportStore } from './verify.ts';

export type VmState = 'none' | 'stopped' | 'starting' | 'running' | 'paused' | 'stopping' | 'unknown';

/** What the VM should be; level-triggered: the edge works towards the latest wish and reports through `vmChanged`. */
export type VmWish = 'running' | 'paused' | 'stopped-gracefully' | 'destroyed' | 'as-is';

export interface VmPort {
  want(wish: VmWish, because: string): void;
}

/** Who uses the volumes: the NBD servers. */
export interface ExportPort {
  /** True: connections are served (requests may be held). False: clients are dropped and new ones told why. */
  serve(available: boolean, because: string): void;
}

export interface MirrorMetadata extends MetadataPort {
  /** Of the device under the metadata file. */
  readonly work?: DeviceWorkPort;
  persist(state: PersistentState, done: (ok: boolean) => void): void;
}

/**
 * Settings of a mirror. `failover`, `preferred` and `resyncBytesPerSecondMax` may change while it lives, so they are read each time and never
 * kept; the others do not change.
 */
export interface MirrorConfig {
  readonly timers: Timers;
  /** Name of the VM, for people. */
  readonly vmName?: string;
  readonly failover: boolean;
  /** Without an arbiter: a secondary goes on alone too. */
  readonly allowSplitBrain?: boolean;
  readonly preferred: NodeName | undefined;
  /** This boot of this host. */
  readonly bootId: BootId;
  /** This start of the process. */
  readonly instance: string;
  /** False: no VM is configured and whoever connects to the exports is the guest. */
  readonly hasVm: boolean;
  /** Time of day when the disk files were written last before this process started; for people. */
  readonly diskWrittenAt?: string | undefined;
  /** Limit that the operator set for resyncs, bytes per second. */
  readonly resyncBytesPerSecondMax?: number | undefined;
}

export interface MirrorPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly ids: IdSource;
  /** One per network between the nodes, in the order of preference. */
  readonly transports: readonly LinkTransport[];
  /** `undefined`: no arbiter. */
  readonly arbiter: Arbiter | undefined;
  /** `undefined`: nothing switches the peer off. */
  readonly fence?: FenceSetup | undefined;
  /** `undefined`: this node does not look whether it is cut off. */
  readonly surroundings?: Surroundings | undefined;
  readonly metadata: MirrorMetadata;
  readonly checksum: BlockChecksum;
  readonly vm: VmPort;
  readonly exports: ExportPort;
  readonly doubtMark: DoubtMark;
  /** Looks at the disk files; answers once, or never while a disk hangs. */
  inspectFiles(done: (facts: readonly DiskFileFacts[]) => void): void;
  /** `undefined`: no earlier image of a resync target is kept. */
  readonly keptImages?: KeptImagePort;
  /** `undefined`: the blocks of a copy that is given up cannot be kept, and none is given up. */
  readonly sideFiles?: SideFilePort;
  /** `undefined`: the report of a verify is kept as long as the process lives. */
  readonly verifyReports?: VerifyReportStore;
  /** What the checks of the peer found; nothing here is decided by it. */
  readonly peerChecks?: (message: Extract<ControlMessage, { type: 'checks' }>) => void;
  /** The time of day, for people. */
  wallTime(): string;
  /** Metadata cannot be made durable any more: the process must end, and the peer copes. */
  fatal(because: string): void;
}

export interface MirrorVolume extends ReplicaVolume {
  readonly bitmap: DirtyBitmap;
  /** Of the device under the disk file. */
  readonly work?: DeviceWorkPort;
  /** What the system said of its request that failed last, for people. */
  readonly lastError?: () => string | undefined;
}

/** Metadata whose requests are watched; `failed` is told before the caller when something could not be made durable. */
export function watchedMetadata(
  metadata: MirrorMetadata,
  watch: RequestWatch,
  failed: () => void,
): MirrorMetadata {
  const guard = (done: (ok: boolean) => void) =>
    watch.guard((ok: boolean) => {
      if (!ok) failed();
      done(ok);
    });
  return {
    persist: (state, done) => metadata.persist(state, guard(done)),
    writeActivityLog: (volume, hot, done) => metadata.writeActivityLog(volume, hot, guard(done)),
    writeBitmap: (volume, bitmap, done) => metadata.writeBitmap(volume, bitmap, guard(done)),
  };
}
