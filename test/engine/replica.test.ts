/** What covers the differences of one volume, while its bookkeeping takes its time. */
import { expect } from 'chai';
import { DirtyBitmap } from '../../src/disk/dirty-bitmap.ts';
import { blockSizeBytes, extentSizeBytes } from '../../src/disk/state.ts';
import { Replica } from '../../src/engine/replica.ts';
import { MemoryDevice } from '../nbd/memory-device.ts';
import { dirtyBlocks, MemoryMetadata } from './engine-fixture.ts';

const sizeBytes = 2 * extentSizeBytes;
const write = { offsetBytes: 0, lengthBytes: blockSizeBytes, extentsHot: () => {} };

function replicaWithHotExtent(): { replica: Replica; metadata: MemoryMetadata } {
  const metadata = new MemoryMetadata();
  const volume = {
    name: 'disk0',
    device: new MemoryDevice(sizeBytes),
    bitmap: new DirtyBitmap(sizeBytes),
    hotExtents: [],
  };
  const replica = new Replica(0, volume, metadata, () => {});
  replica.log.reserve(write);
  replica.log.release(write);
  expect(metadata.hot).to.deep.equal([0]);
  return { replica, metadata };
}

describe('a log that is moved into the bitmap', () => {
  for (const { situation, ends } of [
    { situation: 'is in flight again', ends: false },
    { situation: 'has come and ended', ends: true },
  ])
    it(`stays when a write ${situation} before the bitmap is durable`, () => {
      const { replica, metadata } = replicaWithHotExtent();
      metadata.holding = true;
      let answer: boolean | undefined;
      replica.fold((ok) => {
        answer = ok;
      });
      expect(replica.log.reserve(write), 'its extent is hot').to.equal(true);
      if (ends) replica.log.release(write);
      metadata.release();
      expect(answer).to.equal(false);
      expect([replica.log.hotExtents(), metadata.hot]).to.deep.equal([[0], [0]]);
    });

  it('is empty on disk when the bitmap that says the same is durable, and not before', () => {
    const { replica, metadata } = replicaWithHotExtent();
    metadata.holding = true;
    let answer: boolean | undefined;
    replica.fold((ok) => {
      answer = ok;
    });
    expect([answer, metadata.hot]).to.deep.equal([undefined, [0]]);
    metadata.release();
    expect([answer, metadata.hot]).to.deep.equal([true, []]);
    expect(metadata.dirtyBlocks).to.deep.equal(dirtyBlocks(replica.bitmap)).and.to.not.be.empty;
  });
});
