/** SHA-256 of block contents for resync comparison: strong enough that equal digests mean equal blocks. */
import { createHash } from 'node:crypto';
import type { BlockChecksum } from '../engine/block-digests.ts';

export const blockChecksum: BlockChecksum = {
  digestBytes: 32,
  digest(chunks, target, targetOffset) {
    const hash = createHash('sha256');
    for (const chunk of chunks) hash.update(chunk);
    target.set(hash.digest(), targetOffset);
  },
};
