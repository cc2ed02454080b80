import { expect } from 'chai';
import fc from 'fast-check';
import { ByteQueue } from '../../src/nbd/byte-queue.ts';

const chunksArbitrary = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 });
const operationArbitrary = fc.record({
  kind: fc.constantFrom('locate', 'take', 'chunks', 'skip'),
  countBytes: fc.nat({ max: 64 }),
});

describe('NBD byte queue', () => {
  it('gives the bytes in order however they were cut and are taken', () => {
    fc.assert(
      fc.property(chunksArbitrary, fc.array(operationArbitrary, { maxLength: 60 }), (chunks, operations) => {
        const queue = new ByteQueue();
        const expected = Buffer.concat(chunks);
        const waiting = [...chunks];
        let at = 0;
        for (const { kind, countBytes } of operations) {
          const next = waiting.shift();
          if (next !== undefined) queue.push(next);
          const here = queue.lengthBytes;
          if (kind === 'skip') {
            expect(queue.skip(countBytes)).to.equal(Math.min(countBytes, here));
            at += Math.min(countBytes, here);
          } else if (countBytes > here) {
            expect(queue.locate(countBytes)).to.equal(false);
          } else if (countBytes > 0) {
            const wanted = expected.subarray(at, at + countBytes);
            at += countBytes;
            if (kind === 'take') expect(Buffer.from(queue.take(countBytes))).to.deep.equal(wanted);
            else if (kind === 'chunks')
              expect(Buffer.concat(queue.takeChunks(countBytes))).to.deep.equal(wanted);
            else {
              expect(queue.locate(countBytes)).to.equal(true);
              for (let index = 0; index < countBytes; index += 1) {
                expect(queue.view.getUint8(queue.at + index)).to.equal(wanted[index]);
              }
            }
          }
          expect(queue.lengthBytes).to.be.at.least(0);
        }
      }),
    );
  });

  it('payload is slices of the chunks that came, never a copy', () => {
    const queue = new ByteQueue();
    const chunks = [new Uint8Array(1000), new Uint8Array(1000), new Uint8Array(1000)];
    for (const chunk of chunks) queue.push(chunk);
    queue.skip(500);
    const slices = queue.takeChunks(2000);
    expect(slices.map((slice) => [slice.buffer, slice.length])).to.deep.equal([
      [chunks[0]?.buffer, 500],
      [chunks[1]?.buffer, 1000],
      [chunks[2]?.buffer, 500],
    ]);
    slices.forEach((slice, index) => expect(slice.buffer).to.equal(chunks[index]?.buffer));
  });

  it('a megabyte that dribbles in byte by byte is few chunks', () => {
    const queue = new ByteQueue();
    const expected = new Uint8Array(1024 * 1024).map((_, index) => index % 253);
    for (let at = 0; at < expected.length; at += 1) queue.push(expected.subarray(at, at + 1));
    const chunks = queue.takeChunks(expected.length);
    expect(chunks.length).to.be.below(200);
    expect(Buffer.compare(Buffer.concat(chunks), expected)).to.equal(0);
  });
});
