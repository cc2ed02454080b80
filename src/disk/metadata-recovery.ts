/**
 * Reads what a metadata file holds after any crash. Writes nothing; areas are read in big pieces, so that a volume of 1 TiB
 * opens in a fraction of a second. What is lost is answered with dirty blocks, never with an error, and is noted; only a
 * file without a usable superblock, or one that is cut short, cannot be recovered.
 */
import type { BlockError } from '../base/block-device.ts';
import { WorldError } from '../base/errors.ts';
import { findNewestLogBlock } from './activity-log.ts';
import { choosePageSlot } from './bitmap-page.ts';
import { DirtyBitmap } from './dirty-bitmap.ts';
import * as format from './format.ts';
import type { BlockProblem, VolumeAreas } from './format.ts';
import type { MetadataStorage } from './metadata-storage.ts';
import type { VolumeIdentity } from './state.ts';
import { chooseSuperblock, decodeSuperblock } from './superblock.ts';
import type { Superblock } from './superblock.ts';

/** What was found out of the ordinary, and which copy was used. */
export interface RecoveryNote {
  readonly rule:
    | 'newer-of-two'
    | 'only-valid-copy'
    | 'activity-log-lost'
    | 'activity-log-blocks-unusable'
    | 'bitmap-page-other-slot'
    | 'bitmap-page-lost';
  /** One sentence for a person, without the full stop. */
  readonly because: string;
}

export interface RecoveredVolume {
  readonly name: string;
  /** Blocks that may differ, without those of the hot extents. No page counts as changed. */
  readonly bitmap: DirtyBitmap;
  /** Extents whose blocks may differ as well; the caller folds them in. */
  readonly hotExtents: readonly number[];
}

/** Where the next writes of a volume go. */
export interface VolumeCursor {
  logSequence: number;
  readonly pageSequences: Float64Array;
}

/** What must be written anew before anything else, so that no torn block stays (format.ts says why). */
export interface VolumeRepair {
  /** Bitmap pages with one unusable slot, or whose bits were replaced by the recovery. */
  readonly pages: readonly number[];
  /** Bitmap pages with two unusable slots. */
  readonly lostPages: readonly number[];
  readonly log: boolean;
}

export interface Recovery {
  readonly superblock: Superblock;
  readonly volumes: readonly RecoveredVolume[];
  readonly cursors: readonly VolumeCursor[];
  readonly repairs: readonly VolumeRepair[];
  /** One copy of the superblock must be written anew. */
  readonly repairSuperblock: boolean;
  readonly notes: readonly RecoveryNote[];
}

export type RecoveryOutcome =
  | { readonly kind: 'recovered'; readonly recovery: Recovery }
  | { readonly kind: 'refused'; readonly error: WorldError };

/** Pages per read of a bitmap area: 4 MiB. */
const pagesPerRead = 1024;

/**
 * Syncs before it reads: after a crash of the process alone, the newest blocks may be in the page cache only, and what
 * is answered here is trusted without being written again.
 */
export function recover(storage: MetadataStorage, done: (outcome: RecoveryOutcome) => void): void {
  storage.sync((error) => {
    if (error !== undefined) return done({ kind: 'refused', error: unreadable(error) });
    recoverSynced(storage, done);
  });
}

function recoverSynced(storage: MetadataStorage, done: (outcome: RecoveryOutcome) => void): void {
  const refuse = (error: WorldError): void => done({ kind: 'refused', error });
  if (storage.sizeBytes < format.areasOffsetBytes) {
    return refuse(damaged(`a file of ${storage.sizeBytes} bytes, too short for the superblocks`));
  }
  storage.read(0, format.areasOffsetBytes, (error, header) => {
    if (error !== undefined) return refuse(unreadable(error));
    const choice = chooseSuperblock([copyIn(header, 0), copyIn(header, 1)]);
    if (choice.action !== 'use') {
      if (choice.action === 'refuse-version') return refuse(otherVersion(choice.because));
      return refuse(damaged(choice.because, choice.rule === 'creation-never-finished'));
    }
    const { superblock } = choice;
    if (storage.sizeBytes < superblock.fileSizeBytes) {
      return refuse(damaged(`${storage.sizeBytes} of the ${superblock.fileSizeBytes} bytes of the file`));
    }
    const rule = choice.rule === 'newer-of-two' ? 'newer-of-two' : 'only-valid-copy';
    recoverVolumes(storage, superblock, { rule, because: choice.because }, done);
  });
}

function copyIn(header: Uint8Array, copy: 0 | 1) {
  const start = format.superblockOffsetsBytes[copy];
  return decodeSuperblock(header.subarray(start, start + format.metadataBlockBytes), copy);
}

function recoverVolumes(
  storage: MetadataStorage,
  superblock: Superblock,
  firstNote: RecoveryNote,
  done: (outcome: RecoveryOutcome) => void,
): void {
  const volumes: RecoveredVolume[] = [];
  const cursors: VolumeCursor[] = [];
  const repairs: VolumeRepair[] = [];
  const notes: RecoveryNote[] = [firstNote];
  const nextVolume = (): void => {
    const index = volumes.length;
    if (index === superblock.state.volumes.length) {
      const repairSuperblock = firstNote.rule === 'only-valid-copy';
      const recovery = { superblock, volumes, cursors, repairs, repairSuperblock, notes };
      return done({ kind: 'recovered', recovery });
    }
    const volume = superblock.state.volumes[index] as VolumeIdentity;
    const areas = superblock.areas[index] as VolumeAreas;
    new VolumeReader(storage, index, volume, areas, notes).read((error, recovered, cursor, repair) => {
      if (error !== undefined) return done({ kind: 'refused', error: unreadable(error) });
      volumes.push(recovered);
      cursors.push(cursor);
      repairs.push(repair);
      nextVolume();
    });
  };
  nextVolume();
}

type VolumeDone = (
  error: BlockError | undefined,
  volume: RecoveredVolume,
  cursor: VolumeCursor,
  repair: VolumeRepair,
) => void;

/** Reads the areas of one volume. */
class VolumeReader {
  readonly #storage: MetadataStorage;
  readonly #index: number;
  readonly #volume: VolumeIdentity;
  readonly #areas: VolumeAreas;
  readonly #notes: RecoveryNote[];
  readonly #bitmap: DirtyBitmap;
  readonly #cursor: VolumeCursor;
  readonly #otherSlot: number[] = [];
  readonly #lost: number[] = [];
  #repairLog = false;

  constructor(
    storage: MetadataStorage,
    index: number,
    volume: VolumeIdentity,
    areas: VolumeAreas,
    notes: RecoveryNote[],
  ) {
    this.#storage = storage;
    this.#index = index;
    this.#volume = volume;
    this.#areas = areas;
    this.#notes = notes;
    this.#bitmap = new DirtyBitmap(volume.sizeBytes);
    this.#cursor = { logSequence: 0, pageSequences: new Float64Array(areas.bitmapPages) };
  }

  read(done: VolumeDone): void {
    const ringBytes = this.#areas.ringBlocks * format.metadataBlockBytes;
    this.#storage.read(this.#areas.ringOffsetBytes, ringBytes, (ringError, ring) => {
      if (ringError !== undefined) return this.#finish(ringError, [], done);
      this.#readPages(0, (pagesError) => {
        const hot = pagesError === undefined ? this.#takeRing(ring) : [];
        this.#finish(pagesError, hot, done);
      });
    });
  }

  #finish(error: BlockError | undefined, hotExtents: readonly number[], done: VolumeDone): void {
    const pages = [...new Set([...this.#otherSlot, ...this.#bitmap.takeChangedPages()])];
    const repair = { pages, lostPages: this.#lost, log: this.#repairLog };
    done(error, { name: this.#volume.name, bitmap: this.#bitmap, hotExtents }, this.#cursor, repair);
  }

  /** The hot extents; without a usable block the whole volume becomes dirty. */
  #takeRing(ring: Uint8Array): readonly number[] {
    const extentCount = format.extentCountOf(this.#volume.sizeBytes);
    const { newest, problems } = findNewestLogBlock(ring, this.#index, extentCount);
    const unusable = [...problems].filter(([problem]) => problem !== 'never-written');
    const found = unusable.map(([problem, count]) => `${count} ${problem}`).join(', ');
    this.#repairLog = newest === undefined || found !== '';
    if (newest === undefined) {
      this.#bitmap.setAll();
      const because = `no block of the activity log is valid (${found || 'never-written'}), so all blocks are dirty`;
      this.#note('activity-log-lost', because);
      return [];
    }
    if (found !== '') {
      const because = `activity-log blocks are unusable (${found}), block ${newest.sequence} is the newest`;
      this.#note('activity-log-blocks-unusable', because);
    }
    this.#cursor.logSequence = newest.sequence;
    return newest.hot;
  }

  #readPages(firstPage: number, done: (error: BlockError | undefined) => void): void {
    const { bitmapOffsetBytes, bitmapPages } = this.#areas;
    const pages = Math.min(pagesPerRead, bitmapPages - firstPage);
    if (pages === 0) {
      this.#notePages();
      return done(undefined);
    }
    const lengthBytes = pages * format.metadataBlockBytes;
    const slotZero = bitmapOffsetBytes + firstPage * format.metadataBlockBytes;
    const slotOne = slotZero + bitmapPages * format.metadataBlockBytes;
    this.#storage.read(slotZero, lengthBytes, (zeroError, zero) => {
      if (zeroError !== undefined) return done(zeroError);
      this.#storage.read(slotOne, lengthBytes, (oneError, one) => {
        if (oneError !== undefined) return done(oneError);
        for (let index = 0; index < pages; index += 1) this.#takePage(firstPage + index, index, zero, one);
        this.#readPages(firstPage + pages, done);
      });
    });
  }

  #takePage(page: number, place: number, zero: Uint8Array, one: Uint8Array): void {
    const start = place * format.metadataBlockBytes;
    const end = start + format.metadataBlockBytes;
    const { page: chosen, problems } = choosePageSlot(
      [zero.subarray(start, end), one.subarray(start, end)],
      this.#index,
      page,
    );
    if (chosen === undefined) {
      this.#bitmap.setPage(page);
      this.#lost.push(page);
      return;
    }
    this.#bitmap.loadPage(page, chosen.bits);
    this.#cursor.pageSequences[page] = chosen.sequence;
    if (problems.some((problem: BlockProblem | undefined) => problem !== undefined))
      this.#otherSlot.push(page);
  }

  #notePages(): void {
    if (this.#otherSlot.length > 0) {
      const because = `bitmap pages ${listed(this.#otherSlot)} have one unusable slot, the other one is used`;
      this.#note('bitmap-page-other-slot', because);
    }
    if (this.#lost.length > 0) {
      const because = `bitmap pages ${listed(this.#lost)} have no valid slot, so all of their blocks are dirty`;
      this.#note('bitmap-page-lost', because);
    }
  }

  #note(rule: RecoveryNote['rule'], because: string): void {
    this.#notes.push({ rule, because: `volume ${this.#volume.name}: ${because}` });
  }
}

/** Page numbers named one by one in a note. */
const pagesListedMax = 8;

function listed(pages: readonly number[]): string {
  const more = pages.length - pagesListedMax;
  return pages.slice(0, pagesListedMax).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

const wantedMetadata = 'a metadata file that this program can use';

function damaged(found: string, neverUsed = false): WorldError {
  return new WorldError('metadata-damaged', {
    wanted: wantedMetadata,
    found,
    next: neverUsed
      ? 'its creation never finished, so it holds nothing: remove the file and create the module again'
      : 'if the peer is up to date, move the file away: this copy is made anew (else see "vmpair inspect")',
  });
}

function otherVersion(found: string): WorldError {
  return new WorldError('metadata-version', {
    wanted: `metadata of format version ${format.formatVersions.join(' or ')}`,
    found,
    next: 'run the version of vmpair that wrote the file, or a newer one',
  });
}

/** The storage itself failed. */
export function unreadable(error: BlockError): WorldError {
  return new WorldError('metadata-io', {
    wanted: wantedMetadata,
    found: `${error} while reading or repairing it`,
    next: 'look at the health of the disk and at the kernel log',
  });
}
