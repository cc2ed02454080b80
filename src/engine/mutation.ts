/** The requests that the write path keeps track of: one object per request, no closures. */
import type { BlockError, Completion } from '../base/block-device.ts';
import type { ExtentUser } from './activity-log.ts';
import type { AnswerSink } from './peer-channel.ts';
import type { PrimaryEngine } from './primary-engine.ts';
import { RangeHolder } from './range-locks.ts';
import type { Replica } from './replica.ts';

export type MutationKind = 'write' | 'zero' | 'trim';

/** One guest write, zero or trim. It is the completion of its own local I/O and the sink of its own answer. */
export class Mutation extends RangeHolder implements ExtentUser, Completion, AnswerSink {
  readonly engine: PrimaryEngine;
  readonly kind: MutationKind;
  readonly replica: Replica;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly chunks: readonly Uint8Array[];
  readonly fua: boolean;
  readonly mayPunch: boolean;
  readonly guest: Completion;
  /** What it waits for: its range, its extents, the gate, or its copies. */
  stage: 'range' | 'log' | 'gate' | 'copies' | 'done' = 'range';
  localPending = false;
  peerPending = false;
  /** Was let through to the disks. */
  issued = false;
  /** Of the engine, when it was let through. */
  epoch = 0;
  /** Was sent to the peer. */
  replicated = false;
  /** Its blocks are in the dirty bitmap. */
  dirty = false;
  /** Holds its extents in the activity log. */
  hot = false;
  /** The own disk failed it: it is never acknowledged, whatever the peer says. */
  failed = false;
  /** Must never be acknowledged. */
  abandoned = false;
  error: BlockError | undefined = undefined;

  constructor(
    engine: PrimaryEngine,
    kind: MutationKind,
    replica: Replica,
    offsetBytes: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[],
    fua: boolean,
    mayPunch: boolean,
    guest: Completion,
  ) {
    super();
    this.engine = engine;
    this.kind = kind;
    this.replica = replica;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.chunks = chunks;
    this.fua = fua;
    this.mayPunch = mayPunch;
    this.guest = guest;
  }

  markDirty(): void {
    if (this.dirty) return;
    this.dirty = true;
    this.replica.bitmap.setRange(this.offsetBytes, this.lengthBytes);
  }

  rangeAcquired(): void {
    this.engine.rangeAcquired(this);
  }
  extentsHot(): void {
    this.engine.extentsHot(this);
  }
  done(error: BlockError | undefined): void {
    this.engine.localDone(this, error);
  }
  answered(failed: boolean): void {
    this.engine.peerDone(this, failed);
  }
}

/** One flush of one volume; guests that ask while one runs share the next. */
export class FlushCycle implements Completion, AnswerSink {
  readonly engine: PrimaryEngine;
  readonly replica: Replica;
  readonly waiters: readonly Completion[];
  /** Position in the order of writes: what completed before it is settled when the cycle has worked on both. */
  readonly tick: number;
  localPending = false;
  peerPending = false;
  both = false;
  failed = false;
  abandoned = false;

  constructor(engine: PrimaryEngine, replica: Replica, waiters: readonly Completion[], tick: number) {
    this.engine = engine;
    this.replica = replica;
    this.waiters = waiters;
    this.tick = tick;
  }

  done(error: BlockError | undefined): void {
    this.engine.localFlushDone(this, error);
  }
  answered(failed: boolean): void {
    this.engine.peerDone(this, failed);
  }
}
