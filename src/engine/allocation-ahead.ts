/**
 * Where the data and the holes of a volume are, asked for in long stretches ahead of a linear reader: asking per chunk would cost
 * more than reading it. What it says is a hint: guests write meanwhile. So a hole is looked at again when its range is
 * locked; data that has become a hole is merely read as zeroes.
 */
import type { AllocationExtent } from '../base/block-device.ts';
import { blockSizeBytes } from '../disk/state.ts';
import type { Replica } from './replica.ts';

/** Length of one question. */
const aheadBytes = 1024 * 1024 * 1024;

export class AllocationAhead {
  #replica: Replica | undefined;
  #startBytes = 0;
  #extents: readonly AllocationExtent[] = [];

  /** How many bytes at `offsetBytes` are a hole, in whole blocks, or 0 for data; `undefined`: ask first. */
  holeBytesAt(replica: Replica, offsetBytes: number): number | undefined {
    if (this.#replica !== replica || offsetBytes < this.#startBytes) return undefined;
    let endBytes = this.#startBytes;
    let isHole = false;
    for (const { lengthBytes, zero } of this.#extents) {
      if (isHole && !zero) break;
      endBytes += lengthBytes;
      if (offsetBytes >= endBytes) continue;
      if (!zero) return 0;
      isHole = true;
    }
    if (isHole) {
      const holeBytes = endBytes - offsetBytes;
      return endBytes === replica.device.sizeBytes ? holeBytes : holeBytes - (holeBytes % blockSizeBytes);
    }
    return undefined;
  }

  /** Asks for what begins at `offsetBytes`; afterwards it can be told. */
  ask(replica: Replica, offsetBytes: number, done: () => void): void {
    const lengthBytes = Math.min(aheadBytes, replica.device.sizeBytes - offsetBytes);
    replica.device.allocation(offsetBytes, lengthBytes, {
      done: (error, extents) => {
        this.#replica = replica;
        this.#startBytes = offsetBytes;
        // A disk that cannot tell has data everywhere.
        this.#extents =
          error === undefined && extents.length > 0 ? extents : [{ lengthBytes, hole: false, zero: false }];
        done();
      },
    });
  }
}
