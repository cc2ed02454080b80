/** An allocation map of the device as the payload of `NBD_REPLY_TYPE_BLOCK_STATUS`, and back. */
import { assertInvariant } from '../base/assert.ts';
import type { AllocationExtent } from '../base/block-device.ts';
import { NBD_STATE_HOLE, NBD_STATE_ZERO, viewOf } from './protocol.ts';

/** Runs in one reply; a map with more is cut short, which the protocol allows ("Structured reply types"). */
export const extentsPerReplyMax = 8192;

/**
 * Joins neighbours of equal state and keeps at most `extentsMax`. The extents of a device cover at least one byte and not
 * more than was asked for (`AllocationCompletion`).
 */
export function encodeBlockStatus(
  contextId: number,
  extents: readonly AllocationExtent[],
  extentsMax: number,
  askedBytes: number,
): Uint8Array {
  const payload = new Uint8Array(4 + 8 * Math.min(extents.length, extentsMax));
  const view = viewOf(payload);
  view.setUint32(0, contextId);
  let at = -4;
  let runFlags = -1;
  let runBytes = 0;
  let coveredBytes = 0;
  for (const extent of extents) {
    const flags = (extent.hole ? NBD_STATE_HOLE : 0) | (extent.zero ? NBD_STATE_ZERO : 0);
    if (flags === runFlags) {
      runBytes += extent.lengthBytes;
    } else if (at + 16 > payload.length) {
      break;
    } else {
      at += 8;
      runFlags = flags;
      runBytes = extent.lengthBytes;
      view.setUint32(at + 4, flags);
    }
    assertInvariant(extent.lengthBytes > 0, 'an allocation extent is not empty');
    coveredBytes += extent.lengthBytes;
    view.setUint32(at, runBytes);
  }
  assertInvariant(
    coveredBytes > 0 && coveredBytes <= askedBytes,
    'an allocation map covers what was asked for',
  );
  return payload.subarray(0, at + 8);
}

/** The payload after the context id; `undefined` when it is malformed. */
export function decodeBlockStatus(bytes: Uint8Array): AllocationExtent[] | undefined {
  if (bytes.length === 0 || bytes.length % 8 !== 0) return undefined;
  const view = viewOf(bytes);
  const extents: AllocationExtent[] = [];
  for (let at = 0; at < bytes.length; at += 8) {
    const lengthBytes = view.getUint32(at);
    const flags = view.getUint32(at + 4);
    if (lengthBytes === 0) return undefined;
    extents.push({
      lengthBytes,
      hole: (flags & NBD_STATE_HOLE) !== 0,
      zero: (flags & NBD_STATE_ZERO) !== 0,
    });
  }
  return extents;
}
