import { expect } from 'chai';
import type { BlockDevice } from '../../src/base/block-device.ts';
import { DirtyBitmap } from '../../src/disk/dirty-bitmap.ts';
import { blockSizeBytes } from '../../src/disk/state.ts';
import { Replica } from '../../src/engine/replica.ts';
import { RangeHolder } from '../../src/engine/range-locks.ts';
import { checkpointIntervalMs } from '../../src/engine/resync-source.ts';
import { FrameType } from '../../src/link/frames.ts';
import { dirtyBlocks } from './engine-fixture.ts';
import { ResyncFixture } from './resync-fixture.ts';

const blocksOfChunk = 16;

class Waiter extends RangeHolder {
  acquired = false;
  rangeAcquired(): void {
    this.acquired = true;
  }
}

/** A volume of which only the middle third holds data, and everything is dirty. */
function sparse(blocks = 48): ResyncFixture {
  const fixture = new ResyncFixture(blocks);
  fixture.fill(fixture.mine, blocks / 3, blocks / 3, 7);
  fixture.replica.bitmap.setAll();
  return fixture;
}

describe('resync source', () => {
  it('an empty target gets the data as data and the rest as holes', () => {
    const fixture = sparse();
    fixture.source.start();
    fixture.settle();
    expect(fixture.copied).to.equal(true);
    expect(fixture.copiesAreEqual).to.equal(true);
    expect(fixture.dataBytes).to.equal(16 * blockSizeBytes);
    expect(fixture.source.sentBytes).to.equal(16 * blockSizeBytes);
    expect(fixture.source.examinedBytes).to.equal(fixture.source.totalBytes);
  });

  it('a target with something else everywhere ends equal, and holes of the source are holes there', () => {
    const fixture = sparse();
    fixture.fill(fixture.theirs, 0, 48, 9);
    fixture.source.start();
    fixture.settle();
    expect(fixture.copiesAreEqual).to.equal(true);
    expect(fixture.dataBytes).to.equal(16 * blockSizeBytes);
    let holeBytes = 0;
    fixture.theirs.allocation(0, fixture.theirs.sizeBytes, {
      done: (_error, extents) => {
        for (const { hole, lengthBytes } of extents) if (hole) holeBytes += lengthBytes;
      },
    });
    expect(holeBytes).to.equal(32 * blockSizeBytes);
  });

  it('a copy that was brought by other means gets only the blocks that differ, neighbours in one frame', () => {
    const fixture = new ResyncFixture(64);
    fixture.fill(fixture.mine, 0, 64, 7);
    fixture.fill(fixture.theirs, 0, 64, 7);
    fixture.fill(fixture.mine, 20, 2, 8);
    fixture.fill(fixture.mine, 40, 1, 8);
    fixture.replica.bitmap.setAll();
    fixture.source.start();
    fixture.settle();
    expect(fixture.copiesAreEqual).to.equal(true);
    expect(fixture.frames.filter(({ type }) => type === FrameType.resyncWrite)).to.deep.equal([
      { type: FrameType.resyncWrite, offsetBytes: 20 * blockSizeBytes, lengthBytes: 2 * blockSizeBytes },
      { type: FrameType.resyncWrite, offsetBytes: 40 * blockSizeBytes, lengthBytes: blockSizeBytes },
    ]);
  });

  it('blocks of zeroes that take space are sent as holes, and compared with holes without being sent', () => {
    const fixture = new ResyncFixture(32);
    fixture.fill(fixture.mine, 0, 32, 0);
    fixture.fill(fixture.theirs, 16, 8, 9);
    fixture.replica.bitmap.setAll();
    fixture.source.start();
    fixture.settle();
    expect(fixture.copiesAreEqual).to.equal(true);
    expect(fixture.dataBytes).to.equal(0);
    expect(fixture.frames.filter(({ type }) => type === FrameType.resyncZero)).to.deep.equal([
      { type: FrameType.resyncZero, offsetBytes: 16 * blockSizeBytes, lengthBytes: 8 * blockSizeBytes },
    ]);
  });

  it('only dirty blocks are examined', () => {
    const fixture = sparse();
    fixture.replica.bitmap.clearAll();
    for (const block of [0, 17, 18, 47]) fixture.replica.bitmap.setBlock(block);
    fixture.source.start();
    fixture.settle();
    expect(fixture.source.examinedBytes).to.equal(4 * blockSizeBytes);
    expect(fixture.dataBytes).to.equal(2 * blockSizeBytes);
  });

  it('a block that becomes dirty behind the cursor is copied before the end', () => {
    const fixture = new ResyncFixture(8 * blocksOfChunk * 10);
    fixture.fill(fixture.mine, 0, fixture.replica.bitmap.blockCount, 7);
    fixture.replica.bitmap.setAll();
    fixture.source.start();
    fixture.deliver();
    fixture.answer();
    expect(fixture.replica.bitmap.has(0)).to.equal(true);
    while (fixture.replica.bitmap.has(0)) {
      fixture.deliver();
      fixture.answer();
    }
    fixture.fill(fixture.mine, 0, 1, 8);
    fixture.replica.bitmap.setBlock(0);
    fixture.settle();
    expect(fixture.copied).to.equal(true);
    expect(fixture.copiesAreEqual).to.equal(true);
  });

  it('a write to a range under way waits until the target has it', () => {
    const fixture = sparse();
    fixture.source.start();
    const guest = new Waiter();
    expect(fixture.replica.locks.acquire(guest, 20 * blockSizeBytes, 21 * blockSizeBytes)).to.equal(false);
    fixture.settle();
    expect(guest.acquired).to.equal(true);
    fixture.replica.locks.release(guest);
  });

  it('a hole into which the guest wrote after it was looked up is sent as the data that it is now', () => {
    const fixture = new ResyncFixture(48);
    fixture.replica.bitmap.setAll();
    const guest = new Waiter();
    fixture.replica.locks.acquire(guest, 0, blockSizeBytes);
    fixture.source.start();
    fixture.fill(fixture.mine, 5, 1, 7);
    fixture.replica.locks.release(guest);
    fixture.settle();
    expect(fixture.copied).to.equal(true);
    expect(fixture.copiesAreEqual).to.equal(true);
  });

  it('a checkpoint keeps blocks dirty on disk that the target could still lose, and no others', () => {
    const fixture = sparse();
    fixture.replica.writeBitmap(() => {});
    fixture.source.start();
    while (fixture.replica.bitmap.count === 48) {
      fixture.deliver();
      fixture.answer();
    }
    // Everything that the target has answered for is unstable: nobody has flushed.
    const left = dirtyBlocks(fixture.replica.bitmap);
    expect(left.length).to.be.within(1, 47);
    fixture.clock.advance(checkpointIntervalMs);
    expect(fixture.metadata.dirtyBlocks.length).to.equal(48);
    expect(dirtyBlocks(fixture.replica.bitmap)).to.deep.equal(left);
    // Both copies are flushed.
    fixture.replica.unstable.clearAll();
    fixture.clock.advance(checkpointIntervalMs);
    expect(fixture.metadata.dirtyBlocks).to.deep.equal(left);
  });

  it('the link is lost: ranges are let go, bits without an answer stay, nothing happens later', () => {
    const fixture = sparse();
    fixture.source.start();
    fixture.deliver();
    fixture.closeChannel();
    fixture.answer();
    expect(fixture.replica.locks.count).to.equal(0);
    expect(dirtyBlocks(fixture.replica.bitmap).length).to.equal(48);
    expect(fixture.clock.pendingCount).to.equal(0);
    expect(fixture.copied).to.equal(false);
  });

  it('the target cannot write: its blocks stay dirty', () => {
    const fixture = sparse();
    fixture.theirs.failures.push('io-error');
    fixture.source.start();
    fixture.settle();
    expect(fixture.copied).to.equal(false);
    expect(fixture.replica.bitmap.count).to.be.above(0);
    expect(fixture.failures).to.deep.equal(['target disk0: io-error']);
  });

  it('the own disk cannot be read: said once, nothing is copied on', () => {
    const fixture = sparse();
    fixture.fill(fixture.mine, 0, 48, 7);
    fixture.mine.failures.push('io-error', 'io-error', 'io-error');
    fixture.source.start();
    fixture.settle();
    expect(fixture.copied).to.equal(false);
    expect(fixture.failures).to.deep.equal(['source disk0: reading for the resync']);
    expect(fixture.replica.locks.count).to.equal(0);
  });

  it('a limit is kept', () => {
    const bytesPerSecond = 10 * 1024 * 1024;
    const fixture = new ResyncFixture(blocksOfChunk * 30, bytesPerSecond);
    fixture.fill(fixture.mine, 0, fixture.replica.bitmap.blockCount, 7);
    fixture.replica.bitmap.setAll();
    fixture.source.start();
    for (let ms = 0; ms < 1000; ms += 1) {
      fixture.clock.advance(1);
      fixture.settle();
    }
    expect(fixture.source.examinedBytes).to.be.within(bytesPerSecond * 0.9, bytesPerSecond * 1.2);
  });

  it('a sparse volume of 2 TiB is unstable as a whole, and then dirty', () => {
    const { mine, metadata } = new ResyncFixture(1);
    const sizeBytes = 2 * 1024 ** 4;
    const device = Object.assign(Object.create(mine), { sizeBytes }) as BlockDevice;
    const volume = { name: 'disk0', device, bitmap: new DirtyBitmap(sizeBytes), hotExtents: [] };
    const replica = new Replica(0, volume, metadata, () => {});
    replica.markUnstable(0, sizeBytes);
    replica.markUnstableDirty();
    expect(replica.bitmap.count).to.equal(sizeBytes / blockSizeBytes);
    expect(replica.unstable.count).to.equal(0);
  });
});
