import { expect } from 'chai';
import type { WorldError } from '../../src/base/errors.ts';
import { DirtyBitmap } from '../../src/disk/dirty-bitmap.ts';
import { metadataBlockBytes, planFile, superblockOffsetsBytes } from '../../src/disk/format.ts';
import type { VolumeAreas } from '../../src/disk/format.ts';
import { createMetadata, metadataSizeBytes, openMetadata } from '../../src/disk/metadata-store.ts';
import type { OpenedMetadata } from '../../src/disk/metadata-store.ts';
import { sampleState } from './sample-state.ts';
import { SimulatedStorage } from './simulated-storage.ts';

const ringBlocks = 4;

function newStorage(): SimulatedStorage {
  return new SimulatedStorage(metadataSizeBytes(sampleState.volumes, ringBlocks));
}

function created() {
  const storage = newStorage();
  let result: Parameters<Parameters<typeof createMetadata>[2]> | undefined;
  createMetadata(storage, sampleState, (...outcome) => (result = outcome), ringBlocks);
  storage.settle();
  if (result === undefined || result[0] !== undefined) throw new Error('creation failed');
  return { storage, store: result[1] };
}

function reopen(storage: SimulatedStorage): OpenedMetadata | WorldError {
  let result: OpenedMetadata | WorldError | undefined;
  openMetadata(storage, (outcome) => (result = outcome.kind === 'opened' ? outcome.opened : outcome.error));
  storage.settle();
  if (result === undefined) throw new Error('openMetadata did not answer');
  return result;
}

function opened(storage: SimulatedStorage): OpenedMetadata {
  const result = reopen(storage);
  if (result instanceof Error) throw result;
  return result;
}

function refusal(storage: SimulatedStorage): WorldError {
  const result = reopen(storage);
  if (!(result instanceof Error)) throw new Error('openMetadata did not refuse');
  return result;
}

function wipe(storage: SimulatedStorage, offsetBytes: number, blocks: number): void {
  storage.cache.fill(0x5a, offsetBytes, offsetBytes + blocks * metadataBlockBytes);
}

describe('metadata store', () => {
  const areas = planFile(sampleState.volumes, ringBlocks).areas as [VolumeAreas, VolumeAreas];

  it('just created opens with its state, clean bitmaps and nothing hot', () => {
    const { state, volumes, notes } = opened(created().storage);
    expect(state).to.deep.equal(sampleState);
    expect(volumes.map(({ bitmap, hotExtents }) => [bitmap.count, hotExtents])).to.deep.equal([
      [0, []],
      [0, []],
    ]);
    expect(notes.map(({ rule }) => rule)).to.deep.equal(['newer-of-two']);
  });

  it('gives back what was persisted, after more writes than the ring has blocks', () => {
    const { storage, store } = created();
    const bitmap = new DirtyBitmap(3 * 2 ** 30);
    for (let round = 1; round <= 9; round += 1) {
      bitmap.setBlock(round * 5000);
      store.persist({ ...sampleState, generation: round }, () => {});
      store.writeActivityLog(0, [round, 700], () => {});
      store.writeBitmapPages(0, bitmap, bitmap.takeChangedPages(), () => {});
    }
    storage.settle();
    storage.losePower(() => false);
    const { state, volumes } = opened(storage);
    expect(state.generation).to.equal(9);
    expect(volumes[0]?.hotExtents).to.deep.equal([9, 700]);
    expect(volumes[0]?.bitmap.count).to.equal(9);
    expect(volumes[0]?.bitmap.has(45000)).to.equal(true);
    expect(volumes[1]?.hotExtents).to.deep.equal([]);
  });

  it('whose creation lost power before its end is refused as never finished', () => {
    const storage = newStorage();
    createMetadata(storage, sampleState, () => {}, ringBlocks);
    storage.step();
    storage.losePower(() => true);
    const error = refusal(storage);
    expect(error.code).to.equal('metadata-damaged');
    expect(error.next).to.contain('never finished');
  });

  it('with one damaged superblock opens by the other and says so', () => {
    const { storage } = created();
    wipe(storage, superblockOffsetsBytes[0], 1);
    const { state, notes } = opened(storage);
    expect(state).to.deep.equal(sampleState);
    expect(notes[0]).to.deep.equal({
      rule: 'only-valid-copy',
      because: 'copy 0 is bad-magic, copy 1 is valid',
    });
  });

  it('with both superblocks damaged, or cut short, is refused', () => {
    const { storage } = created();
    const short = new SimulatedStorage(storage.sizeBytes - metadataBlockBytes);
    short.cache.set(storage.cache.subarray(0, short.sizeBytes));
    expect(refusal(short).code).to.equal('metadata-damaged');
    expect(refusal(new SimulatedStorage(100)).code).to.equal('metadata-damaged');
    wipe(storage, superblockOffsetsBytes[0], 1);
    wipe(storage, superblockOffsetsBytes[1], 1);
    expect(refusal(storage).code).to.equal('metadata-damaged');
  });

  it('without a whole activity-log block makes all blocks of that volume dirty, and of no other', () => {
    const { storage } = created();
    wipe(storage, areas[1].ringOffsetBytes, ringBlocks);
    const { volumes, notes } = opened(storage);
    expect(volumes[0]?.bitmap.count).to.equal(0);
    expect(volumes[1]?.bitmap.count).to.equal(volumes[1]?.bitmap.blockCount);
    expect(notes.map(({ rule }) => rule)).to.include('activity-log-lost');
  });

  it('with both slots of a bitmap page damaged makes the blocks of that page dirty, and no others', () => {
    const { storage } = created();
    wipe(storage, areas[0].bitmapOffsetBytes + metadataBlockBytes, 1);
    wipe(storage, areas[0].bitmapOffsetBytes + 3 * metadataBlockBytes, 1);
    const { volumes, notes } = opened(storage);
    const bitmap = volumes[0]?.bitmap as DirtyBitmap;
    expect([bitmap.nextDirty(0), bitmap.count]).to.deep.equal([32512, bitmap.blockCount - 32512]);
    expect(notes.map(({ rule }) => rule)).to.include('bitmap-page-lost');
  });

  it('is whole again after it was opened damaged, and remembers what became dirty by that', () => {
    const { storage } = created();
    wipe(storage, superblockOffsetsBytes[1], 1);
    wipe(storage, areas[0].ringOffsetBytes, ringBlocks);
    wipe(storage, areas[1].bitmapOffsetBytes, 2);
    const before = opened(storage);
    const after = opened(storage);
    expect(before.notes.map(({ rule }) => rule)).to.deep.equal([
      'only-valid-copy',
      'activity-log-lost',
      'bitmap-page-lost',
    ]);
    expect(after.notes.map(({ rule }) => rule)).to.deep.equal([
      'newer-of-two',
      'activity-log-blocks-unusable',
    ]);
    for (const { bitmap } of after.volumes) expect(bitmap.count).to.equal(bitmap.blockCount);
  });

  it('tells every caller when a sync failed, and stays failed', () => {
    const { storage, store } = created();
    const seen: (string | undefined)[] = [];
    const done = (error: string | undefined) => seen.push(error);
    storage.failing = 'sync';
    store.persist(sampleState, done);
    store.writeActivityLog(0, [1], done);
    store.writeActivityLog(0, [2], done);
    storage.settle();
    storage.failing = undefined;
    store.writeBitmapPages(0, new DirtyBitmap(3 * 2 ** 30), [0], done);
    storage.settle();
    expect(seen).to.deep.equal(['io-error', 'io-error', 'io-error', 'io-error']);
    expect(store.failure).to.equal('io-error');
  });

  it('shares one sync among calls that wait together', () => {
    const { storage, store } = created();
    let syncs = 0;
    const sync = storage.sync.bind(storage);
    storage.sync = (done) => {
      syncs += 1;
      sync(done);
    };
    store.persist(sampleState, () => {});
    store.writeActivityLog(0, [1], () => {});
    store.writeActivityLog(1, [1], () => {});
    store.writeBitmapPages(0, new DirtyBitmap(3 * 2 ** 30), [0, 1], () => {});
    storage.settle();
    expect(syncs).to.equal(2);
  });
});
