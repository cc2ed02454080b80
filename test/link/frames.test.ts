/** Frames: what is encoded comes out again however the stream is cut, limits hold, and hostile bytes are named, never thrown. */
import { expect } from 'chai';
import fc from 'fast-check';
import {
  type FrameHeader,
  FrameParser,
  FrameType,
  HeaderWriter,
  headerSizeBytes,
  joinChunks,
  payloadBytesMax,
} from '../../src/link/frames.ts';

interface Frame extends FrameHeader {
  readonly payload: Uint8Array;
}

/** Feeds `pieces` to a new parser; ends at the first problem. */
function parse(pieces: readonly Uint8Array[]): { frames: Frame[]; problem: string | undefined } {
  const frames: Frame[] = [];
  const parser = new FrameParser({
    frame: (header, payload) => frames.push({ ...header, payload: joinChunks(payload) }),
  });
  for (const piece of pieces) {
    const problem = parser.received(piece);
    if (problem !== undefined) return { frames, problem };
  }
  return { frames, problem: undefined };
}

/** Cuts `bytes` at the given places (fractions of its length). */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const offsets = [0, ...places.map((place) => Math.floor(place * bytes.length)), bytes.length];
  offsets.sort((left, right) => left - right);
  return offsets.slice(1).map((end, index) => bytes.subarray(offsets[index], end));
}

function header(writer: HeaderWriter, frame: Omit<FrameHeader, 'payloadBytes'>, payloadBytes: number) {
  const { type, flags, volume, sequence, offsetBytes, lengthBytes } = frame;
  return writer.encode(type as FrameType, flags, volume, payloadBytes, sequence, offsetBytes, lengthBytes);
}

const place = fc.double({ min: 0, max: 1, noNaN: true });
const frame = fc.record({
  type: fc.constantFrom(...Object.values(FrameType)),
  flags: fc.integer({ min: 0, max: 7 }),
  volume: fc.integer({ min: 0, max: 0xffff }),
  sequence: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
  offsetBytes: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
  lengthBytes: fc.integer({ min: 0, max: 0xffff_ffff }),
  payload: fc.uint8Array({ maxLength: 300 }),
});

describe('frames', () => {
  it('come out as they went in, however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 12 }),
        fc.array(place, { maxLength: 20 }),
        (frames, places) => {
          const writer = new HeaderWriter();
          const stream = joinChunks(
            frames.flatMap((each) => [header(writer, each, each.payload.length), each.payload]),
          );
          const parsed = parse(cut(stream, places));
          expect(parsed.problem).to.equal(undefined);
          expect(parsed.frames).to.deep.equal(
            frames.map((each) => ({ ...each, payloadBytes: each.payload.length })),
          );
        },
      ),
    );
  });

  it('come out as they went in, byte by byte', () => {
    const writer = new HeaderWriter();
    const first = { type: 3, flags: 1, volume: 2, sequence: 7, offsetBytes: 4096, lengthBytes: 5 };
    const payload = Uint8Array.of(1, 2, 3, 4, 5);
    const second = { type: 6, flags: 0, volume: 0, sequence: 8, offsetBytes: 0, lengthBytes: 0 };
    const stream = joinChunks([header(writer, first, 5), payload, header(writer, second, 0)]);
    const parsed = parse([...stream].map((byte) => Uint8Array.of(byte)));
    expect(parsed.frames).to.deep.equal([
      { ...first, payloadBytes: 5, payload },
      { ...second, payloadBytes: 0, payload: new Uint8Array() },
    ]);
  });

  it('the header is laid out as documented, byte for byte', () => {
    const bytes = new HeaderWriter().encode(3, 5, 0x0102, 0x0a0b0c0d, 2 ** 40 + 1, 2 ** 33 + 2, 0x11223344);
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    expect(hex).to.equal(
      ['03050201', '0d0c0b0a', '0100000000010000', '0200000002000000', '44332211', '00000000'].join(''),
    );
  });

  it('a queued header is not overwritten by later ones', () => {
    const writer = new HeaderWriter();
    const headers = Array.from({ length: 5000 }, (_, index) => writer.encode(2, 0, 0, 0, index, 0, 0));
    expect(parse(headers).frames.map(({ sequence }) => sequence)).to.deep.equal(
      headers.map((_, index) => index),
    );
  });

  it('payload is handed on as slices of what arrived, never as a copy', () => {
    const stream = joinChunks([new HeaderWriter().encode(3, 0, 0, 64, 1, 0, 64), new Uint8Array(64)]);
    const pieces = cut(stream, [0.6, 0.8]);
    const chunks: Uint8Array[] = [];
    const parser = new FrameParser({ frame: (_header, payload) => chunks.push(...payload) });
    for (const piece of pieces) parser.received(piece);
    expect(chunks).to.have.length(3);
    for (const chunk of chunks) expect(chunk.buffer).to.equal(stream.buffer);
  });

  it('a payload of the largest size is let in, one byte more is refused from the header alone', () => {
    const writer = new HeaderWriter();
    expect(parse([writer.encode(3, 0, 0, payloadBytesMax, 1, 0, 0)]).problem).to.equal(undefined);
    expect(parse([writer.encode(3, 0, 0, payloadBytesMax + 1, 1, 0, 0)]).problem).to.contain('at most');
  });

  it('numbers beyond 2^53 and reserved bytes that are not zero are refused', () => {
    const poke = (at: number, value: number): string | undefined => {
      const bytes = new HeaderWriter().encode(3, 0, 0, 0, 1, 0, 0);
      bytes[at] = value;
      return parse([bytes]).problem;
    };
    expect(poke(14, 0x1f)).to.equal(undefined);
    expect(poke(14, 0x20)).to.contain('2^53');
    expect(poke(23, 0x80)).to.contain('2^53');
    for (const at of [28, 29, 30, 31]) expect(poke(at, 1)).to.contain('reserved');
  });

  it('a stopped parser delivers nothing more, also of a piece that is being cut', () => {
    const stream = joinChunks(
      [1, 2, 3].map((sequence) => new HeaderWriter().encode(2, 0, 0, 0, sequence, 0, 0)),
    );
    const seen: number[] = [];
    const parser = new FrameParser({
      frame: ({ sequence }) => {
        seen.push(sequence);
        if (sequence === 2) parser.stop();
      },
    });
    parser.received(stream);
    parser.received(stream);
    expect(seen).to.deep.equal([1, 2]);
  });

  it('arbitrary bytes are frames or a sentence, never an exception, and never too large a payload', () => {
    const mostlyZero = fc.array(fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat({ max: 255 })), {
      maxLength: 4 * headerSizeBytes,
    });
    fc.assert(
      fc.property(mostlyZero, fc.array(place, { maxLength: 8 }), (values, places) => {
        const { frames, problem } = parse(cut(Uint8Array.from(values), places));
        if (problem !== undefined) expect(problem).to.be.a('string').and.not.empty;
        for (const each of frames) {
          expect(each.payload.length).to.equal(each.payloadBytes);
          expect(each.payloadBytes).to.be.at.most(payloadBytesMax);
          expect(Number.isSafeInteger(each.sequence) && Number.isSafeInteger(each.offsetBytes)).to.equal(
            true,
          );
        }
      }),
      { numRuns: 500 },
    );
  });
});
