/**
 * Digests of blocks, for copies that are compared without sending them. A block that reads as zeroes has no digest but the
 * zero mark (all bytes zero, which no digest is), so that zeroes need not be hashed.
 */
import { assertInvariant } from '../base/assert.ts';
import { blockSizeBytes } from '../disk/state.ts';

/** Checksums of block contents, as a port: one digest of `digestBytes` per block, one after the other. */
export interface BlockChecksum {
  readonly digestBytes: number;
  digest(chunks: readonly Uint8Array[], target: Uint8Array, targetOffset: number): void;
}

/** One digest or zero mark per block of a range that starts on a block boundary; the last block may be short. */
export function blockDigests(
  chunks: readonly Uint8Array[],
  lengthBytes: number,
  checksum: BlockChecksum,
): Uint8Array {
  const blocks = Math.ceil(lengthBytes / blockSizeBytes);
  const digests = new Uint8Array(blocks * checksum.digestBytes);
  for (let block = 0; block < blocks; block += 1) {
    const piece = blockOf(chunks, block, lengthBytes);
    if (!isZero(piece)) checksum.digest(piece, digests, block * checksum.digestBytes);
  }
  return digests;
}

/** Whether a block equals the one of which `theirs` holds the digest. Computes a digest only where that decides. */
export function equalsDigest(
  block: readonly Uint8Array[],
  theirs: Uint8Array,
  index: number,
  checksum: BlockChecksum,
): boolean {
  const size = checksum.digestBytes;
  const digest = theirs.subarray(index * size, (index + 1) * size);
  const theirsIsZero = isZero([digest]);
  if (isZero(block)) return theirsIsZero;
  if (theirsIsZero) return false;
  const mine = new Uint8Array(size);
  checksum.digest(block, mine, 0);
  return mine.every((byte, at) => byte === digest[at]);
}

/** The chunks of one block of a range that starts on a block boundary. */
export function blockOf(chunks: readonly Uint8Array[], block: number, lengthBytes: number): Uint8Array[] {
  const startBytes = block * blockSizeBytes;
  assertInvariant(startBytes < lengthBytes, 'a block is inside its range');
  return sliceChunks(chunks, startBytes, Math.min(blockSizeBytes, lengthBytes - startBytes));
}

/** Whether all bytes are zero. Ends at the first that is not. */
export function isZero(chunks: readonly Uint8Array[]): boolean {
  return chunks.every((chunk) => {
    const unaligned = chunk.byteOffset % 4;
    const head = unaligned === 0 ? 0 : Math.min(4 - unaligned, chunk.length);
    for (let at = 0; at < head; at += 1) if (chunk[at] !== 0) return false;
    const wordCount = Math.floor((chunk.length - head) / 4);
    const words = new Uint32Array(chunk.buffer, chunk.byteOffset + head, wordCount);
    for (let at = 0; at < wordCount; at += 1) if (words[at] !== 0) return false;
    for (let at = head + wordCount * 4; at < chunk.length; at += 1) if (chunk[at] !== 0) return false;
    return true;
  });
}

/** The part of a chunk list, without copying. */
export function sliceChunks(
  chunks: readonly Uint8Array[],
  offsetBytes: number,
  lengthBytes: number,
): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let skip = offsetBytes;
  let left = lengthBytes;
  for (const chunk of chunks) {
    if (left === 0) break;
    if (skip >= chunk.length) {
      skip -= chunk.length;
      continue;
    }
    const piece = chunk.subarray(skip, Math.min(chunk.length, skip + left));
    pieces.push(piece);
    left -= piece.length;
    skip = 0;
  }
  return pieces;
}
