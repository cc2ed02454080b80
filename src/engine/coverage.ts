/**
 * Where the copy of one node may differ from its peer's, by its own bookkeeping: dirty bitmap, activity log and unstable set
 * together. The blocks that a resync of scope `bits` would examine are the union of this on both nodes.
 */
import { DirtyBitmap } from '../disk/dirty-bitmap.ts';
import { blockSizeBytes, extentSizeBytes } from '../disk/state.ts';
import type { Replica } from './replica.ts';

/** Dirty blocks and hot extents of one volume as one bitmap; the arguments are not changed. */
export function coverageOf(
  sizeBytes: number,
  bitmap: DirtyBitmap,
  hotExtents: readonly number[],
): DirtyBitmap {
  const covered = new DirtyBitmap(sizeBytes);
  covered.or(bitmap);
  for (const extent of hotExtents) {
    const startBytes = extent * extentSizeBytes;
    const lengthBytes = Math.min(extentSizeBytes, sizeBytes - startBytes);
    if (lengthBytes > 0) covered.setRange(startBytes, lengthBytes);
  }
  return covered;
}

/** Bytes of the blocks that are covered, of all volumes together. */
export function coveredBytes(replicas: readonly Replica[]): number {
  return replicas.reduce((sum, replica) => {
    const { sizeBytes } = replica.device;
    const covered = coverageOf(sizeBytes, replica.bitmap, replica.log.hotExtents());
    covered.or(replica.unstable);
    covered.or(replica.unstableFlushing);
    return sum + bytesOfBlocks(covered, sizeBytes);
  }, 0);
}

/** Bytes of the dirty blocks of a bitmap; the last block of a volume may be short. */
export function bytesOfBlocks(bitmap: DirtyBitmap, sizeBytes: number): number {
  return Math.min(bitmap.count * blockSizeBytes, sizeBytes);
}
