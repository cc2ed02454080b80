import { expect } from 'chai';
import fc from 'fast-check';
import { crc32c } from '../../src/base/crc32c.ts';

/** Bit by bit, straight from the definition: the model. */
function slowCrc32c(bytes: Uint8Array): number {
  let register = 0xffffffff;
  for (const byte of bytes) {
    register ^= byte;
    for (let bit = 0; bit < 8; bit += 1) register = (register >>> 1) ^ (0x82f63b78 & -(register & 1));
  }
  return ~register >>> 0;
}

describe('crc32c', () => {
  it('gives the vectors of RFC 3720 appendix B.4 and the check value', () => {
    const descending = Uint8Array.from({ length: 32 }, (_, at) => 31 - at);
    expect(crc32c(new Uint8Array(32))).to.equal(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).to.equal(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, at) => at))).to.equal(0x46dd794e);
    expect(crc32c(descending)).to.equal(0x113fdb5c);
    expect(crc32c(new TextEncoder().encode('123456789'))).to.equal(0xe3069283);
    expect(crc32c(new Uint8Array(0))).to.equal(0);
  });

  it('agrees with the bitwise definition, whole and in two parts', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, cut) => {
        const whole = crc32c(bytes);
        expect(whole).to.equal(slowCrc32c(bytes));
        expect(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)))).to.equal(whole);
      }),
    );
  });
});
