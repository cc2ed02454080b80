/**
 * The metadata of one module: state, activity logs and dirty bitmaps, durable. Pure: it stands on a `MetadataStorage`.
 *
 * Invariants: a `done` without error means durable; calls for one target (the state, the log of a volume, the bitmap of
 * a volume) take effect in order; the first storage error is final and every caller from then on gets it. After a crash
 * the state is the last persisted one or the one in progress, the hot set is the last durable one or one in progress.
 * It does not judge what it stores: when an extent may leave the log or a bit may be cleared is the engine's rule.
 */
import { assertInvariant } from '../base/assert.ts';
import type { BlockError } from '../base/block-device.ts';
import type { WorldError } from '../base/errors.ts';
import { encodeLogBlock } from './activity-log.ts';
import { pageBits, sealPage } from './bitmap-page.ts';
import type { DirtyBitmap } from './dirty-bitmap.ts';
import * as format from './format.ts';
import { ringBlocksDefault } from './format.ts';
import type { VolumeAreas } from './format.ts';
import { GroupCommit, writeAll } from './group-commit.ts';
import type { PendingWrite } from './group-commit.ts';
import { recover, unreadable } from './metadata-recovery.ts';
import type { RecoveredVolume, Recovery, RecoveryNote, VolumeCursor } from './metadata-recovery.ts';
import type { MetadataStorage } from './metadata-storage.ts';
import type { PersistentState, VolumeIdentity } from './state.ts';
import { encodeSuperblock } from './superblock.ts';
import type { Superblock } from './superblock.ts';

export type Persisted = (error: BlockError | undefined) => void;

export interface OpenedMetadata {
  readonly store: MetadataStore;
  readonly state: PersistentState;
  readonly volumes: readonly RecoveredVolume[];
  readonly notes: readonly RecoveryNote[];
}

export type OpenOutcome =
  | { readonly kind: 'opened'; readonly opened: OpenedMetadata }
  | { readonly kind: 'refused'; readonly error: WorldError };

/** Bytes of metadata for these volumes: the size of the storage that `createMetadata` needs. */
export function metadataSizeBytes(
  volumes: readonly VolumeIdentity[],
  ringBlocks = ringBlocksDefault,
): number {
  return format.planFile(volumes, ringBlocks).fileSizeBytes;
}

/**
 * Writes a new store: empty hot sets, clean bitmaps, and `state` last of all. The storage holds zeroes so far. The store
 * is open afterwards; a crash before `done` leaves a file that `openMetadata` refuses as never finished.
 */
export function createMetadata(
  storage: MetadataStorage,
  state: PersistentState,
  done: (error: BlockError | undefined, store: MetadataStore) => void,
  ringBlocks = ringBlocksDefault,
): void {
  const plan = format.planFile(state.volumes, ringBlocks);
  assertInvariant(storage.sizeBytes >= plan.fileSizeBytes, 'the storage is as large as the plan says');
  const first: Superblock = { sequence: 1, state, ...plan };
  const cursors = plan.areas.map((areas): VolumeCursor => {
    return { logSequence: 1, pageSequences: new Float64Array(areas.bitmapPages).fill(2) };
  });
  const store = new MetadataStore(storage, { ...first, sequence: 2 }, cursors);
  const steps = [
    plan.areas.flatMap((areas, index) => freshAreas(areas, index)),
    [superblockWrite(first)],
    [superblockWrite({ ...first, sequence: 2 })],
  ];
  const nextStep = (): void => {
    const writes = steps.shift();
    if (writes === undefined) return done(undefined, store);
    writeAll(storage, writes, (error) => {
      if (error !== undefined) return done(error, store);
      storage.sync((syncError) => (syncError === undefined ? nextStep() : done(syncError, store)));
    });
  };
  nextStep();
}

/**
 * Recovers what a storage holds. Before it answers, torn and lost blocks are written anew with what was recovered: a
 * refused or a healthy file is not written to. `judge` may refuse a state, such as that of another module.
 */
export function openMetadata(
  storage: MetadataStorage,
  done: (outcome: OpenOutcome) => void,
  judge: (state: PersistentState) => WorldError | undefined = () => undefined,
): void {
  recover(storage, (outcome) => {
    if (outcome.kind === 'refused') return done(outcome);
    const { superblock, volumes, cursors, notes } = outcome.recovery;
    const objection = judge(superblock.state);
    if (objection !== undefined) return done({ kind: 'refused', error: objection });
    const store = new MetadataStore(storage, superblock, cursors);
    repair(store, outcome.recovery, (error) => {
      if (error !== undefined) return done({ kind: 'refused', error: unreadable(error) });
      done({ kind: 'opened', opened: { store, state: superblock.state, volumes, notes } });
    });
  });
}

/**
 * Bitmaps first: when a ring is lost its volume is all dirty, and that must be durable before the ring is whole again.
 * Lost pages are written twice, since both of their slots are unusable.
 */
function repair(store: MetadataStore, recovery: Recovery, done: Persisted): void {
  const bitmapsDone = whenAll(2 * recovery.repairs.length, (bitmapError) => {
    if (bitmapError !== undefined) return done(bitmapError);
    const restDone = whenAll(1 + recovery.repairs.length, done);
    recovery.repairs.forEach(({ log }, index) => {
      if (!log) return restDone(undefined);
      store.writeActivityLog(index, recovery.volumes[index]?.hotExtents ?? [], restDone);
    });
    if (recovery.repairSuperblock) store.persist(store.state, restDone);
    else restDone(undefined);
  });
  recovery.repairs.forEach(({ pages, lostPages }, index) => {
    const { bitmap } = recovery.volumes[index] as RecoveredVolume;
    for (const some of [[...new Set([...pages, ...lostPages])], lostPages]) {
      if (some.length > 0) store.writeBitmapPages(index, bitmap, some, bitmapsDone);
      else bitmapsDone(undefined);
    }
  });
}

/** A callback to be called `count` times; then `done` is called once, with the first error. */
function whenAll(count: number, done: Persisted): Persisted {
  let missing = count;
  let failure: BlockError | undefined;
  return (error) => {
    missing -= 1;
    failure ??= error;
    if (missing === 0) done(failure);
  };
}

export class MetadataStore {
  readonly #commit: GroupCommit;
  readonly #cursors: readonly VolumeCursor[];
  #durable: Superblock;

  /** Through `createMetadata` and `openMetadata` only. */
  constructor(storage: MetadataStorage, durable: Superblock, cursors: readonly VolumeCursor[]) {
    this.#commit = new GroupCommit(storage);
    this.#durable = durable;
    this.#cursors = cursors;
  }

  /** The state that was persisted last. */
  get state(): PersistentState {
    return this.#durable.state;
  }

  /** The error that ended this store, if one did. */
  get failure(): BlockError | undefined {
    return this.#commit.failure;
  }

  /** Makes `next` the state. Volumes cannot change: they are the layout of the file. */
  persist(next: PersistentState, done: Persisted): void {
    assertInvariant(sameVolumes(next.volumes, this.state.volumes), 'the volumes of a store never change');
    let written = this.#durable;
    this.#commit.add({
      target: 'superblock',
      prepare: () => {
        written = { ...this.#durable, state: next, sequence: this.#durable.sequence + 1 };
        return [superblockWrite(written)];
      },
      done: (error) => {
        if (error === undefined) this.#durable = written;
        done(error);
      },
    });
  }

  /** Makes `hot` the complete hot set of a volume: at most `logEntriesMax` extents, each once, in any order. */
  writeActivityLog(volumeIndex: number, hot: readonly number[], done: Persisted): void {
    const areas = this.#areasOf(volumeIndex);
    const cursor = this.#cursors[volumeIndex] as VolumeCursor;
    const entries = [...hot];
    this.#commit.add({
      target: `activity-log-${volumeIndex}`,
      prepare: () => {
        const sequence = cursor.logSequence + 1;
        const place = sequence % areas.ringBlocks;
        const offsetBytes = areas.ringOffsetBytes + place * format.metadataBlockBytes;
        return [{ offsetBytes, bytes: encodeLogBlock({ sequence, volumeIndex, hot: entries }) }];
      },
      done: (error) => {
        if (error === undefined) cursor.logSequence += 1;
        done(error);
      },
    });
  }

  /**
   * Makes the present bits of these pages durable (usually `bitmap.takeChangedPages()`). The bits are copied now; later
   * changes need another call. Without pages it completes after the earlier calls for this bitmap.
   */
  writeBitmapPages(
    volumeIndex: number,
    bitmap: DirtyBitmap,
    pages: readonly number[],
    done: Persisted,
  ): void {
    const areas = this.#areasOf(volumeIndex);
    assertInvariant(bitmap.pageCount === areas.bitmapPages, 'the bitmap is that of the volume');
    const { pageSequences } = this.#cursors[volumeIndex] as VolumeCursor;
    const blocks = pages.map((pageIndex) => {
      const block = new Uint8Array(format.metadataBlockBytes);
      bitmap.copyPage(pageIndex, pageBits(block));
      return { pageIndex, block };
    });
    const nextSequence = (pageIndex: number): number => (pageSequences[pageIndex] as number) + 1;
    this.#commit.add({
      target: `bitmap-${volumeIndex}`,
      prepare: () =>
        blocks.map(({ pageIndex, block }) => {
          const sequence = nextSequence(pageIndex);
          sealPage(block, { sequence, volumeIndex, pageIndex });
          return { offsetBytes: pageOffsetBytes(areas, pageIndex, sequence), bytes: block };
        }),
      done: (error) => {
        if (error === undefined)
          for (const pageIndex of pages) pageSequences[pageIndex] = nextSequence(pageIndex);
        done(error);
      },
    });
  }

  #areasOf(volumeIndex: number): VolumeAreas {
    const areas = this.#durable.areas[volumeIndex];
    assertInvariant(areas !== undefined, 'a volume index is that of a volume');
    return areas;
  }
}

function superblockWrite(superblock: Superblock): PendingWrite {
  const copy = superblock.sequence % 2 === 0 ? 0 : 1;
  return { offsetBytes: format.superblockOffsetsBytes[copy], bytes: encodeSuperblock(superblock) };
}

function pageOffsetBytes(areas: VolumeAreas, pageIndex: number, sequence: number): number {
  const place = (sequence % 2) * areas.bitmapPages + pageIndex;
  return areas.bitmapOffsetBytes + place * format.metadataBlockBytes;
}

/** The areas of a new volume: a ring with one empty block, and both slots of every page whole and clean. */
function freshAreas(areas: VolumeAreas, volumeIndex: number): PendingWrite[] {
  const ring = new Uint8Array(areas.ringBlocks * format.metadataBlockBytes);
  ring.set(encodeLogBlock({ sequence: 1, volumeIndex, hot: [] }), format.metadataBlockBytes);
  const writes: PendingWrite[] = [{ offsetBytes: areas.ringOffsetBytes, bytes: ring }];
  for (const sequence of [1, 2]) {
    const slot = new Uint8Array(areas.bitmapPages * format.metadataBlockBytes);
    for (let pageIndex = 0; pageIndex < areas.bitmapPages; pageIndex += 1) {
      const start = pageIndex * format.metadataBlockBytes;
      sealPage(slot.subarray(start, start + format.metadataBlockBytes), { sequence, volumeIndex, pageIndex });
    }
    writes.push({ offsetBytes: pageOffsetBytes(areas, 0, sequence), bytes: slot });
  }
  return writes;
}

function sameVolumes(left: readonly VolumeIdentity[], right: readonly VolumeIdentity[]): boolean {
  const same = (volume: VolumeIdentity, index: number): boolean =>
    volume.name === right[index]?.name && volume.sizeBytes === right[index].sizeBytes;
  return left.length === right.length && left.every(same);
}
