/**
 * The on-disk metadata format, versions 1 to 4: the one place that says which byte means what. One file per module and node.
 *
 *   offset 0       superblock copy 0 (4 KiB)
 *   offset 16384   superblock copy 1 (4 KiB)
 *   offset 32768   per volume, in order: activity-log ring, bitmap slot 0, bitmap slot 1
 *
 * Numbers are little-endian. Reserved and unused bytes are zero and are checked. Every record is one block of 4 KiB that
 * is complete in itself: magic, CRC-32C of everything after the checksum field, sequence number, and what it belongs
 * to; so a block that was torn, lost or misplaced is recognised by itself, and no block needs another to be read.
 *
 * Why this order is safe in a crash at any instant:
 *
 * - Nothing is overwritten in place. Each record has at least two places, the sequence number says which one is next
 *   (superblock: sequence mod 2; ring: sequence mod ring size; bitmap page: sequence mod 2), and a place is used again
 *   only after the write to the other one was synced. A power loss can damage only writes that were not synced: the
 *   newest block. Its predecessor, at the other place, is whole.
 * - Superblock: a state counts as persisted after the sync. A crash before it shows the old state or the new one,
 *   never a mixture, and nobody was told of the new one.
 * - Activity log: each block is the complete set of hot extents, so the newest whole block is the answer and nothing is
 *   replayed. Data goes to an extent only after the block that names it was synced: when that block is torn, nothing was
 *   written in its name.
 * - Bitmap: falling back to the older slot may lose bits that the torn page was about to add. Their extents are still
 *   in the activity log, because an extent leaves the log only after the page was synced. It may also bring back bits
 *   that the page was about to clear: that costs an examination, never data.
 * - A torn block is replaced, with what was recovered, before anything else is written. Left in place it would be
 *   dangerous: the next write to its place carries the same sequence number, and when that one is torn as well, sectors
 *   of both can complete the first, and bring back contents that were never durable and that later contents deny.
 * - Opening syncs before it reads: after a crash of the process alone, the newest blocks may be in the page cache only.
 * - Creation writes all areas, syncs, and only then writes the superblocks: a file without superblock was never used.
 *   Everything is written, not left as holes, so that later syncs do not have to allocate.
 * - A superblock says the lowest version that can say what it holds: 2 when its disk is in doubt, 3 when it knows the store of the
 *   arbiter's record, 4 when it has a wish of the operator or one of the times of day. An older program refuses such a file as a whole and never goes on with the other copy, which knows less.
 * - Damage beyond a torn write is answered with more dirty bits: a bitmap page without a whole slot is all dirty, a
 *   ring without a whole block makes the volume all dirty.
 */
import { assertInvariant } from '../base/assert.ts';
import { layout } from './record-layout.ts';
import { blockSizeBytes, extentSizeBytes, hotExtentsMax, pathEntriesMax, volumesMax } from './state.ts';
import type { PersistentState, VolumeIdentity } from './state.ts';

/** All format versions that this program reads. */
export const formatVersions = [1, 2, 3, 4] as const;

/** The oldest version that can say it. */
export function formatVersionOf(state: PersistentState): (typeof formatVersions)[number] {
  const { wish, inSyncAt, aloneSince, splitSince } = state;
  if ([wish, inSyncAt, aloneSince, splitSince].some((each) => each !== undefined)) return 4;
  if (state.arbiterStore !== undefined || state.pending?.store !== undefined) return 3;
  return state.diskDoubt === 'none' ? 1 : 2;
}

/** Every record is one such block, at a multiple of its size. */
export const metadataBlockBytes = 4096;

export const superblockOffsetsBytes = [0, 16384] as const;
export const areasOffsetBytes = 32768;

/** Blocks in one activity-log ring by default: 256 KiB per volume. */
export const ringBlocksDefault = 64;
/** Two are needed for safety. */
export const ringBlocksMin = 2;
export const ringBlocksMax = 65536;

/** Bytes of one text field, its length byte included. */
export const idTextBytes = 64;
export const nodeTextBytes = 32;
export const volumeNameTextBytes = 64;
export const timeTextBytes = 32;

/** `VPMETADA` as bytes; the first twenty-four bytes of the superblock keep their meaning in all versions. */
export const superblockMagic = [0x56, 0x50, 0x4d, 0x45, 0x54, 0x41, 0x44, 0x41] as const;
/** `VPAL` and `VPBM` as bytes, read as little-endian numbers. */
export const logBlockMagic = 0x4c415056;
export const bitmapPageMagic = 0x4d425056;

/** An arbiter record inside the superblock; all zero when there is none. */
export const arbiterRecordBytes = 56;
export const arbiterRecordFields = layout('arbiter record', arbiterRecordBytes, {
  generation: [0, 8],
  operationId: [8, 16],
  holder: [24, nodeTextBytes],
});

/** A volume and where its areas are, inside the superblock. */
export const volumeEntryBytes = 112;
export const volumeEntryFields = layout('volume entry', volumeEntryBytes, {
  name: [0, volumeNameTextBytes],
  sizeBytes: [64, 8],
  ringOffsetBytes: [72, 8],
  bitmapOffsetBytes: [80, 8],
  ringBlocks: [88, 4],
  bitmapPages: [92, 4],
  reserved: [96, 16],
});

export const superblockFields = layout('superblock', metadataBlockBytes, {
  magic: [0, 8],
  formatVersion: [8, 4],
  /** Of bytes 8 to 11 followed by bytes 16 to 4095. */
  checksum: [12, 4],
  sequence: [16, 8],
  fileSizeBytes: [24, 8],
  blockSizeBytes: [32, 4],
  extentSizeBytes: [36, 4],
  /** Index into `dataFlags`, `roles`, `peerDataFlags`. */
  data: [40, 1],
  role: [41, 1],
  peerData: [42, 1],
  /** Bits of `presence`. */
  presence: [43, 1],
  volumeCount: [44, 1],
  pathCount: [45, 1],
  /** Index into `diskDoubts`; since version 2, zero before. */
  diskDoubt: [46, 1],
  /** Index into `operatorWishes`; since version 4, zero before. */
  wish: [47, 1],
  generation: [48, 8],
  bootId: [56, 16],
  base: [72, 16],
  clusterId: [88, idTextBytes],
  moduleId: [152, idTextBytes],
  self: [216, nodeTextBytes],
  peer: [248, nodeTextBytes],
  holder: [280, nodeTextBytes],
  pendingExpected: [312, arbiterRecordBytes],
  pendingNext: [368, arbiterRecordBytes],
  path: [424, 16 * pathEntriesMax],
  volumes: [1448, volumeEntryBytes * volumesMax],
  /** Since version 3, zero before: the store of the arbiter's record, and that of the pending operation. */
  arbiterStore: [3240, 16],
  pendingStore: [3256, 16],
  /** Since version 4, empty before: times of day, ISO 8601; empty when there is none. */
  inSyncAt: [3272, timeTextBytes],
  aloneSince: [3304, timeTextBytes],
  splitSince: [3336, timeTextBytes],
  reserved: [3368, 728],
});

/** Meaning of the numbers in the superblock; the order is part of the format. */
export const dataFlags = ['fresh', 'up-to-date', 'outdated', 'inconsistent'] as const;
export const roles = ['primary', 'secondary'] as const;
export const peerDataFlags = ['unknown', 'outdated', 'inconsistent'] as const;
export const diskDoubts = ['none', 'flush-failed', 'file-replaced'] as const;
export const operatorWishes = ['none', 'prim', 'second'] as const;
export const presence = {
  base: 1,
  holder: 2,
  pending: 4,
  pendingExpected: 8,
  arbiterStore: 16,
  pendingStore: 32,
} as const;

/** Extent indices in one activity-log block. */
export const logEntriesMax = 1016;
export const logBlockFields = layout('activity-log block', metadataBlockBytes, {
  magic: [0, 4],
  /** Of bytes 8 to 4095. */
  checksum: [4, 4],
  sequence: [8, 8],
  volumeIndex: [16, 4],
  entryCount: [20, 4],
  reserved: [24, 8],
  /** Extent indices, 4 bytes each, in the order of the caller; unused entries are zero. */
  entries: [32, 4 * logEntriesMax],
});
assertInvariant(hotExtentsMax <= logEntriesMax, 'one activity-log block holds the complete hot set');

export const bitmapPagePayloadBytes = 4064;
export const bitmapPageFields = layout('bitmap page', metadataBlockBytes, {
  magic: [0, 4],
  /** Of bytes 8 to 4095. */
  checksum: [4, 4],
  sequence: [8, 8],
  volumeIndex: [16, 4],
  pageIndex: [20, 4],
  reserved: [24, 8],
  /** Block 0 of the page in bit 0 of byte 0. */
  bits: [32, bitmapPagePayloadBytes],
});

/** Blocks that one bitmap page covers (about 2 GiB of the volume). */
export const blocksPerPage = bitmapPagePayloadBytes * 8;

/** Bitmap pages of a volume, each with two slots in the file. */
export function pageCountOf(volumeSizeBytes: number): number {
  return Math.ceil(Math.ceil(volumeSizeBytes / blockSizeBytes) / blocksPerPage);
}

/** Activity-log extents of a volume. */
export function extentCountOf(volumeSizeBytes: number): number {
  return Math.ceil(volumeSizeBytes / extentSizeBytes);
}

/** Block indices stay below 2^30; the bitmap of such a volume takes 128 MiB of memory. */
export const volumeSizeBytesMax = 64 * 2 ** 40;

/** Where the areas of one volume are. */
export interface VolumeAreas {
  readonly ringOffsetBytes: number;
  readonly ringBlocks: number;
  /** Slot 0 of all pages; slot 1 of all pages follows at once. */
  readonly bitmapOffsetBytes: number;
  readonly bitmapPages: number;
}

export interface FilePlan {
  readonly areas: readonly VolumeAreas[];
  readonly fileSizeBytes: number;
}

/** Lays out the areas of all volumes, one after the other. */
export function planFile(volumes: readonly VolumeIdentity[], ringBlocks: number): FilePlan {
  assertInvariant(volumes.length > 0 && volumes.length <= volumesMax, 'a module has 1 to 16 volumes');
  const areas: VolumeAreas[] = [];
  let offsetBytes = areasOffsetBytes;
  for (const volume of volumes) {
    const sized = volume.sizeBytes > 0 && volume.sizeBytes <= volumeSizeBytesMax;
    assertInvariant(sized, 'a volume has more than 0 bytes and at most 64 TiB');
    const bitmapPages = pageCountOf(volume.sizeBytes);
    const bitmapOffsetBytes = offsetBytes + ringBlocks * metadataBlockBytes;
    areas.push({ ringOffsetBytes: offsetBytes, ringBlocks, bitmapOffsetBytes, bitmapPages });
    offsetBytes = bitmapOffsetBytes + 2 * bitmapPages * metadataBlockBytes;
  }
  return { areas, fileSizeBytes: offsetBytes };
}

/** Why a block cannot be used. The set is closed. */
export type BlockProblem =
  /** All zero. */
  | 'never-written'
  | 'bad-magic'
  /** Torn, or damaged later. */
  | 'bad-checksum'
  /** Whole, but written by a program with another format. */
  | 'unknown-version'
  /** Whole, but it belongs to another place, page or volume. */
  | 'misplaced'
  /** Whole, but a field holds what it may not. */
  | 'bad-field'
  | 'reserved-not-zero';

export type Decoded<Content> =
  | { readonly kind: 'valid'; readonly content: Content }
  | { readonly kind: 'invalid'; readonly problem: BlockProblem };

export function invalid(problem: BlockProblem): { readonly kind: 'invalid'; readonly problem: BlockProblem } {
  return { kind: 'invalid', problem };
}
