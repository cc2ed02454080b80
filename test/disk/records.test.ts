import { expect } from 'chai';
import fc from 'fast-check';
import { decodeLogBlock, encodeLogBlock, findNewestLogBlock } from '../../src/disk/activity-log.ts';
import { choosePageSlot, decodePage, pageBits, sealPage } from '../../src/disk/bitmap-page.ts';
import { metadataBlockBytes, planFile } from '../../src/disk/format.ts';
import { layout } from '../../src/disk/record-layout.ts';
import { chooseSuperblock, decodeSuperblock, encodeSuperblock } from '../../src/disk/superblock.ts';
import { anyState, sampleState } from './sample-state.ts';

/** Any change of at least one byte of a block. */
const damage = fc.record({ at: fc.nat(metadataBlockBytes - 1), bits: fc.integer({ min: 1, max: 255 }) });
const foreignBlock = fc.uint8Array({ minLength: metadataBlockBytes, maxLength: metadataBlockBytes });

function superblockOf(sequence: number, state = sampleState): Uint8Array {
  return encodeSuperblock({ sequence, state, ...planFile(state.volumes, 64) });
}

function page(sequence: number, pageIndex = 7): Uint8Array {
  const block = new Uint8Array(metadataBlockBytes);
  pageBits(block).fill(sequence);
  sealPage(block, { sequence, volumeIndex: 1, pageIndex });
  return block;
}

/** A block with a field overwritten after sealing, its checksum made right again by the caller's encoder. */
function damaged(block: Uint8Array, { at, bits }: { at: number; bits: number }): Uint8Array {
  const copy = block.slice();
  copy[at] = (copy[at] as number) ^ bits;
  return copy;
}

describe('record layout', () => {
  it('with a gap, an overlap or a wrong size is refused when the program loads', () => {
    expect(() => layout('gap', 8, { one: [0, 2], two: [4, 4] })).to.throw('gap.two');
    expect(() => layout('overlap', 8, { one: [0, 5], two: [4, 4] })).to.throw('overlap.two');
    expect(() => layout('short', 8, { one: [0, 7] })).to.throw('short declares 7 of 8');
  });
});

describe('superblock', () => {
  it('decodes to the state that was encoded', () => {
    fc.assert(
      fc.property(anyState, fc.nat(Number.MAX_SAFE_INTEGER), (state, sequence) => {
        const copy = sequence % 2 === 0 ? 0 : 1;
        const decoded = decodeSuperblock(superblockOf(sequence, state), copy);
        expect(decoded.kind === 'valid' && decoded.content.state).to.deep.equal(state);
        expect(decoded.kind === 'valid' && decoded.content.sequence).to.equal(sequence);
      }),
    );
  });

  it('with any byte changed is not valid, nor are foreign bytes', () => {
    const good = superblockOf(4);
    fc.assert(
      fc.property(damage, foreignBlock, (change, foreign) => {
        expect(decodeSuperblock(damaged(good, change), 0).kind).to.equal('invalid');
        expect(decodeSuperblock(foreign, 0).kind).to.equal('invalid');
      }),
    );
  });

  it('says why it cannot be used', () => {
    const problem = (bytes: Uint8Array, copy: 0 | 1) => {
      const decoded = decodeSuperblock(bytes, copy);
      return decoded.kind === 'invalid' ? decoded.problem : 'valid';
    };
    expect(problem(new Uint8Array(metadataBlockBytes), 0)).to.equal('never-written');
    expect(problem(damaged(superblockOf(4), { at: 0, bits: 1 }), 0)).to.equal('bad-magic');
    expect(problem(damaged(superblockOf(4), { at: 2000, bits: 1 }), 0)).to.equal('bad-checksum');
    expect(problem(superblockOf(5), 0)).to.equal('misplaced');
  });
});

describe('choice of the superblock', () => {
  const valid = (sequence: number) => decodeSuperblock(superblockOf(sequence), sequence % 2 === 0 ? 0 : 1);
  const bad = (problem: 'bad-checksum' | 'never-written' | 'unknown-version') =>
    ({ kind: 'invalid', problem }) as const;
  const rows = [
    ['newer of two, in copy 1', valid(6), valid(7), 'use', 'newer-of-two', 7],
    ['newer of two, in copy 0', valid(8), valid(7), 'use', 'newer-of-two', 8],
    ['copy 1 torn', valid(6), bad('bad-checksum'), 'use', 'only-valid-copy', 6],
    ['copy 0 torn', bad('bad-checksum'), valid(7), 'use', 'only-valid-copy', 7],
    ['copy 1 lost by a creation that died late', valid(6), bad('never-written'), 'use', 'only-valid-copy', 6],
    [
      'copy 1 by a newer program',
      valid(6),
      bad('unknown-version'),
      'refuse-version',
      'written-by-another-version',
      0,
    ],
    [
      'copy 0 by a newer program',
      bad('unknown-version'),
      bad('bad-checksum'),
      'refuse-version',
      'written-by-another-version',
      0,
    ],
    [
      'both never written',
      bad('never-written'),
      bad('never-written'),
      'refuse-damaged',
      'creation-never-finished',
      0,
    ],
    ['both damaged', bad('bad-checksum'), bad('bad-checksum'), 'refuse-damaged', 'no-valid-copy', 0],
    [
      'one damaged, one lost',
      bad('never-written'),
      bad('bad-checksum'),
      'refuse-damaged',
      'no-valid-copy',
      0,
    ],
  ] as const;
  for (const [situation, zero, one, action, rule, sequence] of rows) {
    it(`${situation}: ${rule}`, () => {
      const choice = chooseSuperblock([zero, one]);
      expect([choice.action, choice.rule]).to.deep.equal([action, rule]);
      if (choice.action === 'use') expect(choice.superblock.sequence).to.equal(sequence);
    });
  }
});

describe('activity-log block', () => {
  it('decodes to the hot set that was encoded, in its order', () => {
    const hot = fc.array(fc.nat(262143), { maxLength: 1016 });
    fc.assert(
      fc.property(fc.nat(Number.MAX_SAFE_INTEGER), fc.nat(15), hot, (sequence, volumeIndex, extents) => {
        const block = { sequence, volumeIndex, hot: extents };
        expect(decodeLogBlock(encodeLogBlock(block), 262144)).to.deep.equal({
          kind: 'valid',
          content: block,
        });
      }),
    );
  });

  it('with any byte changed, or with an extent beyond the volume, is not valid', () => {
    const good = encodeLogBlock({ sequence: 5, volumeIndex: 0, hot: [1, 2, 300] });
    expect(decodeLogBlock(good, 300)).to.deep.equal({ kind: 'invalid', problem: 'bad-field' });
    fc.assert(
      fc.property(damage, foreignBlock, (change, foreign) => {
        expect(decodeLogBlock(damaged(good, change), 1000).kind).to.equal('invalid');
        expect(decodeLogBlock(foreign, 1000).kind).to.equal('invalid');
      }),
    );
  });

  it('of the highest sequence is found in a ring, and blocks of other places are passed over', () => {
    const ring = new Uint8Array(4 * metadataBlockBytes);
    const put = (place: number, sequence: number, volumeIndex: number) =>
      ring.set(encodeLogBlock({ sequence, volumeIndex, hot: [sequence] }), place * metadataBlockBytes);
    put(0, 8, 0);
    put(1, 9, 0);
    put(2, 9, 0);
    put(3, 11, 1);
    const finding = findNewestLogBlock(ring, 0, 100);
    expect(finding.newest?.sequence).to.equal(9);
    expect(finding.validBlocks).to.equal(2);
    expect([...finding.problems]).to.deep.equal([['misplaced', 2]]);
  });
});

describe('bitmap page', () => {
  it('decodes to the bits that were sealed; with any byte changed it is not valid', () => {
    const decoded = decodePage(page(9));
    expect(decoded.kind === 'valid' && decoded.content.pageIndex).to.equal(7);
    expect(decoded.kind === 'valid' && decoded.content.bits.every((byte) => byte === 9)).to.equal(true);
    fc.assert(
      fc.property(damage, foreignBlock, (change, foreign) => {
        expect(decodePage(damaged(page(9), change)).kind).to.equal('invalid');
        expect(decodePage(foreign).kind).to.equal('invalid');
      }),
    );
  });

  it('is read from the newer slot, from the other one when that is torn, and from none when both are', () => {
    const torn = damaged(page(9), { at: 3000, bits: 1 });
    const sequence = (zero: Uint8Array, one: Uint8Array) => choosePageSlot([zero, one], 1, 7).page?.sequence;
    expect(sequence(page(8), page(9))).to.equal(9);
    expect(sequence(page(10), page(9))).to.equal(10);
    expect(sequence(page(8), torn)).to.equal(8);
    expect(sequence(torn, page(7))).to.equal(7);
    expect(sequence(torn, torn)).to.equal(undefined);
    expect(sequence(page(8, 6), page(8))).to.equal(undefined);
  });
});
