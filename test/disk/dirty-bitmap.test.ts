import { expect } from 'chai';
import fc from 'fast-check';
import { DirtyBitmap } from '../../src/disk/dirty-bitmap.ts';
import { bitmapPagePayloadBytes, blocksPerPage } from '../../src/disk/format.ts';
import { blockSizeBytes } from '../../src/disk/state.ts';

const tebibyte = 2 ** 40;

/** Two pages and some: page limits, word limits and the ragged end are all near. */
const blockCount = 2 * blocksPerPage + 77;
const sizeBytes = blockCount * blockSizeBytes - 5000;
const somePlace = fc.oneof(
  fc.nat(blockCount - 1),
  fc.integer({ min: blocksPerPage - 40, max: blocksPerPage + 40 }),
  fc.integer({ min: blockCount - 40, max: blockCount - 1 }),
);
const step = fc.oneof(
  fc.record({ verb: fc.constant('set-block' as const), block: somePlace }),
  fc.record({ verb: fc.constant('clear-block' as const), block: somePlace }),
  fc.record({
    verb: fc.constantFrom('set-range' as const, 'clear-range' as const),
    block: somePlace,
    lengthBytes: fc.nat(9_000_000),
  }),
);

/** Runs the steps on a bitmap and on a set of block numbers, the model. */
function run(steps: readonly (typeof step extends fc.Arbitrary<infer Step> ? Step : never)[]) {
  const bitmap = new DirtyBitmap(sizeBytes);
  const model = new Set<number>();
  for (const each of steps) {
    if (each.verb === 'set-block') bitmap.setBlock(each.block);
    if (each.verb === 'set-block') model.add(each.block);
    if (each.verb === 'clear-block') bitmap.clearBlock(each.block);
    if (each.verb === 'clear-block') model.delete(each.block);
    if (each.verb !== 'set-range' && each.verb !== 'clear-range') continue;
    const offsetBytes = each.block * blockSizeBytes + 1000;
    const lengthBytes = Math.max(0, Math.min(each.lengthBytes, sizeBytes - offsetBytes));
    const isSet = each.verb === 'set-range';
    if (isSet) bitmap.setRange(offsetBytes, lengthBytes);
    else bitmap.clearRange(offsetBytes, lengthBytes);
    const change = (block: number): unknown => (isSet ? model.add(block) : model.delete(block));
    for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += 4096)
      change(Math.floor(at / blockSizeBytes));
    if (lengthBytes > 0) change(Math.floor((offsetBytes + lengthBytes - 1) / blockSizeBytes));
  }
  return { bitmap, model: [...model].toSorted((left, right) => left - right) };
}

function blocksOf(bitmap: DirtyBitmap): number[] {
  const blocks: number[] = [];
  bitmap.forEach((block) => blocks.push(block));
  return blocks;
}

describe('dirty bitmap', () => {
  it('less another one holds what the other has not, and notes the pages that changed', () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 20 }),
        fc.array(step, { maxLength: 20 }),
        (steps, otherSteps) => {
          const { bitmap, model } = run(steps);
          const other = run(otherSteps);
          bitmap.takeChangedPages();
          bitmap.andNot(other.bitmap);
          const less = model.filter((block) => !other.model.includes(block));
          expect(blocksOf(bitmap)).to.deep.equal(less);
          const gone = model.filter((block) => other.model.includes(block));
          const pages = new Set(gone.map((block) => Math.floor(block / blocksPerPage)));
          expect(bitmap.takeChangedPages()).to.deep.equal([...pages].toSorted((left, right) => left - right));
        },
      ),
    );
  });

  it('holds what a set of block numbers holds, counts it, and finds the next from anywhere', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), somePlace, (steps, from) => {
        const { bitmap, model } = run(steps);
        expect(blocksOf(bitmap)).to.deep.equal(model);
        expect(bitmap.count).to.equal(model.length);
        expect(bitmap.nextDirty(from)).to.equal(model.find((block) => block >= from) ?? -1);
        expect(bitmap.has(from)).to.equal(model.includes(from));
      }),
    );
  });

  it('names the pages that changed since they were last taken, and no others', () => {
    const bitmap = new DirtyBitmap(sizeBytes);
    bitmap.setBlock(blocksPerPage - 1);
    bitmap.setBlock(2 * blocksPerPage);
    expect(bitmap.takeChangedPages()).to.deep.equal([0, 2]);
    bitmap.setBlock(2 * blocksPerPage);
    bitmap.clearBlock(5);
    expect(bitmap.takeChangedPages()).to.deep.equal([]);
    bitmap.setRange(blockSizeBytes * blocksPerPage - 1, 2);
    bitmap.clearBlock(2 * blocksPerPage);
    expect(bitmap.takeChangedPages()).to.deep.equal([1, 2]);
  });

  it('is the same after its pages went to disk and came back', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const { bitmap } = run(steps);
        const copy = new DirtyBitmap(sizeBytes);
        copy.setAll();
        for (let page = 0; page < bitmap.pageCount; page += 1) {
          const payload = new Uint8Array(bitmapPagePayloadBytes).fill(0xaa);
          bitmap.copyPage(page, payload);
          copy.loadPage(page, payload);
        }
        expect(blocksOf(copy)).to.deep.equal(blocksOf(bitmap));
        expect(copy.count).to.equal(bitmap.count);
        expect(copy.takeChangedPages()).to.deep.equal([]);
      }),
      { numRuns: 30 },
    );
  });

  it('drops bits beyond the last block when a page is loaded', () => {
    const bitmap = new DirtyBitmap(3 * blockSizeBytes);
    bitmap.loadPage(0, new Uint8Array(bitmapPagePayloadBytes).fill(0xff));
    expect(bitmap.count).to.equal(3);
    expect(bitmap.nextDirty(3)).to.equal(-1);
  });

  it('is the union of both after bits crossed the link in pieces or were merged', () => {
    fc.assert(
      fc.property(
        fc.array(step),
        fc.array(step),
        fc.integer({ min: 1, max: 5000 }),
        (mine, theirs, pieceBytes) => {
          const { bitmap, model } = run(mine);
          const peer = run(theirs);
          const union = [...new Set([...model, ...peer.model])].toSorted((left, right) => left - right);
          const merged = run(mine).bitmap;
          merged.or(peer.bitmap);
          for (let at = 0; at < peer.bitmap.byteLength; at += pieceBytes) {
            expect(bitmap.mergeBytes(at, peer.bitmap.exportBytes(at, pieceBytes))).to.equal(true);
          }
          expect(blocksOf(bitmap)).to.deep.equal(union);
          expect(blocksOf(merged)).to.deep.equal(union);
          expect(bitmap.count).to.equal(union.length);
          expect(merged.count).to.equal(union.length);
        },
      ),
      { numRuns: 20 },
    );
  });

  it('refuses foreign bits that reach beyond the volume, and stays as it was', () => {
    const bitmap = new DirtyBitmap(11 * blockSizeBytes);
    expect(bitmap.mergeBytes(1, new Uint8Array([0b1000]))).to.equal(false);
    expect(bitmap.mergeBytes(1, new Uint8Array(2))).to.equal(false);
    expect(bitmap.mergeBytes(-1, new Uint8Array(1))).to.equal(false);
    expect(bitmap.count).to.equal(0);
    expect(bitmap.mergeBytes(1, new Uint8Array([0b0100]))).to.equal(true);
    expect(bitmap.has(10)).to.equal(true);
  });

  it('of 1 TiB finds its only dirty block, the last, in some milliseconds', () => {
    const bitmap = new DirtyBitmap(tebibyte);
    const lastBlock = tebibyte / blockSizeBytes - 1;
    bitmap.setBlock(lastBlock);
    const startedMs = performance.now();
    expect(bitmap.nextDirty(0)).to.equal(lastBlock);
    expect(performance.now() - startedMs).to.be.lessThan(100);
    bitmap.setAll();
    expect(bitmap.count).to.equal(lastBlock + 1);
    bitmap.clearAll();
    expect(bitmap.count).to.equal(0);
  });

  it('clears what was set and what a loaded page brought, and counts those pages as changed', () => {
    const bitmap = new DirtyBitmap(sizeBytes);
    bitmap.loadPage(1, new Uint8Array(bitmapPagePayloadBytes).fill(255));
    bitmap.setBlock(0);
    bitmap.clearAll();
    expect([bitmap.count, bitmap.nextDirty(0)]).to.deep.equal([0, -1]);
    expect(bitmap.takeChangedPages()).to.deep.equal([0, 1]);
  });
});
