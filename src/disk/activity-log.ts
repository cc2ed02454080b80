/**
 * Blocks of the activity log: encoding, decoding, and finding the newest in a ring. Each block is the complete hot set
 * of its volume (format.ts says why that is safe). Which extents are hot is the engine's decision.
 */
import { assertInvariant } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import * as format from './format.ts';
import type { BlockProblem, Decoded } from './format.ts';
import { allZero, getU64, putU64, viewOf } from './record-layout.ts';

export interface LogBlock {
  /** Grows by one with each block of the volume; modulo ring size it is the place. */
  readonly sequence: number;
  readonly volumeIndex: number;
  /** Extent indices, in the order in which they were given. */
  readonly hot: readonly number[];
}

const at = format.logBlockFields;

export function encodeLogBlock(block: LogBlock): Uint8Array {
  assertInvariant(block.hot.length <= format.logEntriesMax, 'the hot set fits one block');
  const bytes = new Uint8Array(format.metadataBlockBytes);
  const view = viewOf(bytes);
  view.setUint32(at.magic[0], format.logBlockMagic, true);
  putU64(view, at.sequence[0], block.sequence);
  view.setUint32(at.volumeIndex[0], block.volumeIndex, true);
  view.setUint32(at.entryCount[0], block.hot.length, true);
  block.hot.forEach((extent, index) => view.setUint32(at.entries[0] + index * 4, extent, true));
  view.setUint32(at.checksum[0], crc32c(bytes.subarray(at.sequence[0])), true);
  return bytes;
}

/** Judges one block. `extentCount` is that of the volume: a hot extent beyond it is not valid. */
export function decodeLogBlock(bytes: Uint8Array, extentCount: number): Decoded<LogBlock> {
  assertInvariant(bytes.length === format.metadataBlockBytes, 'an activity-log block is one block');
  const view = viewOf(bytes);
  if (view.getUint32(at.magic[0], true) !== format.logBlockMagic) {
    return format.invalid(allZero(bytes) ? 'never-written' : 'bad-magic');
  }
  if (view.getUint32(at.checksum[0], true) !== crc32c(bytes.subarray(at.sequence[0]))) {
    return format.invalid('bad-checksum');
  }
  const sequence = getU64(view, at.sequence[0]);
  const entryCount = view.getUint32(at.entryCount[0], true);
  if (sequence === undefined || entryCount > format.logEntriesMax) return format.invalid('bad-field');
  const hot: number[] = [];
  for (let index = 0; index < entryCount; index += 1) {
    const extent = view.getUint32(at.entries[0] + index * 4, true);
    if (extent >= extentCount) return format.invalid('bad-field');
    hot.push(extent);
  }
  const unused = bytes.subarray(at.entries[0] + entryCount * 4);
  const reserved = bytes.subarray(at.reserved[0], at.reserved[0] + at.reserved[1]);
  if (!allZero(unused) || !allZero(reserved)) return format.invalid('reserved-not-zero');
  return { kind: 'valid', content: { sequence, volumeIndex: view.getUint32(at.volumeIndex[0], true), hot } };
}

export interface RingFinding {
  /** The block with the highest sequence; `undefined` when no block is valid. */
  readonly newest: LogBlock | undefined;
  readonly validBlocks: number;
  /** Blocks that cannot be used, by reason; `never-written` is usual in a young ring. */
  readonly problems: ReadonlyMap<BlockProblem, number>;
}

/** Finds the newest block of a ring, whose bytes are all in `area`. */
export function findNewestLogBlock(area: Uint8Array, volumeIndex: number, extentCount: number): RingFinding {
  const ringBlocks = area.length / format.metadataBlockBytes;
  const problems = new Map<BlockProblem, number>();
  let newest: LogBlock | undefined;
  let validBlocks = 0;
  for (let place = 0; place < ringBlocks; place += 1) {
    const start = place * format.metadataBlockBytes;
    let block = decodeLogBlock(area.subarray(start, start + format.metadataBlockBytes), extentCount);
    if (block.kind === 'valid') {
      const belongs =
        block.content.volumeIndex === volumeIndex && block.content.sequence % ringBlocks === place;
      if (!belongs) block = format.invalid('misplaced');
    }
    if (block.kind === 'invalid') {
      problems.set(block.problem, (problems.get(block.problem) ?? 0) + 1);
      continue;
    }
    validBlocks += 1;
    if (newest === undefined || block.content.sequence > newest.sequence) newest = block.content;
  }
  return { newest, validBlocks, problems };
}
