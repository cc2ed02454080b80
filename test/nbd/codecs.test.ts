import { expect } from 'chai';
import fc from 'fast-check';
import { decodeBlockStatus, encodeBlockStatus } from '../../src/nbd/block-status.ts';
import {
  decodeText,
  encodeExportChoice,
  encodeMetaContextQuery,
  encodeText,
  parseExportChoice,
  parseMetaContextQuery,
} from '../../src/nbd/option-data.ts';
import { readUint64, viewOf, writeUint64 } from '../../src/nbd/protocol.ts';

const name = fc.string({ unit: 'grapheme', maxLength: 50 }).filter((text) => !/[\0\ufeff]/.test(text));

describe('NBD codecs', () => {
  it('64-bit numbers come back', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        const view = viewOf(new Uint8Array(8));
        writeUint64(view, 0, value);
        expect(readUint64(view, 0)).to.equal(value);
        expect(view.getBigUint64(0)).to.equal(BigInt(value));
      }),
    );
  });

  it('a choice of an export comes back', () => {
    fc.assert(
      fc.property(name, fc.uniqueArray(fc.nat({ max: 0xffff })), (exportName, wanted) => {
        const parsed = parseExportChoice(encodeExportChoice(exportName, wanted));
        expect(parsed).to.deep.equal({ name: exportName, wanted: new Set(wanted) });
      }),
    );
  });

  it('a query of metadata contexts comes back', () => {
    fc.assert(
      fc.property(name, fc.array(name), (exportName, queries) => {
        const parsed = parseMetaContextQuery(encodeMetaContextQuery(exportName, queries));
        expect(parsed).to.deep.equal({ exportName, queries });
      }),
    );
  });

  it('any bytes are option data or are refused, never an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const choice = parseExportChoice(bytes);
        if (choice !== undefined) expect(choice.name.length).to.be.at.most(bytes.length);
        const query = parseMetaContextQuery(bytes);
        if (query !== undefined) expect(query.queries.length * 4).to.be.at.most(bytes.length);
        decodeBlockStatus(bytes);
      }),
    );
  });

  it('text is cut between characters', () => {
    for (let offset = 0; offset < 4; offset += 1) {
      const bytes = encodeText('x'.repeat(4093 + offset).concat('\u{1f4be}'.repeat(10)));
      expect(bytes.length).to.be.within(4093, 4096);
      expect(decodeText(bytes)).to.be.a('string');
    }
    expect(decodeText(new Uint8Array(4097).fill(65))).to.equal(undefined);
    expect(decodeText(new Uint8Array([65, 0, 65]))).to.equal(undefined);
    expect(decodeText(new Uint8Array([0xff]))).to.equal(undefined);
  });

  it('an allocation map comes back with equal neighbours joined, cut to what one reply holds', () => {
    const extent = fc.record({
      lengthBytes: fc.integer({ min: 1, max: 1000 }),
      hole: fc.boolean(),
      zero: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.array(extent, { minLength: 1 }),
        fc.integer({ min: 1, max: 12 }),
        (extents, extentsMax) => {
          const askedBytes = extents.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
          const payload = encodeBlockStatus(1, extents, extentsMax, askedBytes);
          const decoded = decodeBlockStatus(payload.subarray(4)) ?? [];
          expect(decoded.length).to.be.within(1, extentsMax);
          const flat = (list: typeof extents) =>
            list.flatMap(({ lengthBytes, hole, zero }) => Array<string>(lengthBytes).fill(`${hole}${zero}`));
          const all = flat(decoded);
          expect(all).to.deep.equal(flat(extents).slice(0, all.length));
          decoded.forEach((run, index) => {
            const next = decoded[index + 1];
            expect(next === undefined || next.hole !== run.hole || next.zero !== run.zero).to.equal(true);
          });
          if (decoded.length < extentsMax) expect(all.length).to.equal(askedBytes);
        },
      ),
    );
  });
});
