import { expect } from 'chai';
import fc from 'fast-check';
import {
  encodeLine,
  LineCutter,
  lineBytesMax,
  parseHello,
  parseRequest,
  parseResponse,
  type WitnessRequest,
  type WitnessResponse,
} from '../../src/arbiter/witness-protocol.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

const recordArbitrary = fc.record({
  generation: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  holder: fc.stringMatching(/^[A-Za-z0-9_-]{1,31}$/),
  operationId: fc.stringMatching(/^[0-9a-f]{32}$/),
});
const idArbitrary = fc.integer({ min: 1 });
const moduleIdArbitrary = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/);
const requestArbitrary: fc.Arbitrary<WitnessRequest> = fc.oneof(
  fc.record({
    id: idArbitrary,
    op: fc.constant('swap' as const),
    moduleId: moduleIdArbitrary,
    store: fc.option(fc.stringMatching(/^[0-9a-f]{32}$/)),
    expected: fc.option(recordArbitrary),
    next: recordArbitrary,
  }),
  fc.record({ id: idArbitrary, op: fc.constant('read' as const), moduleId: moduleIdArbitrary }),
);
const responseArbitrary: fc.Arbitrary<WitnessResponse> = fc.oneof(
  fc.record({ id: idArbitrary, kind: fc.constant('granted' as const), record: recordArbitrary }),
  fc.record({ id: idArbitrary, kind: fc.constant('refused' as const), record: fc.option(recordArbitrary) }),
  fc.record({ id: idArbitrary, kind: fc.constant('record' as const), record: fc.option(recordArbitrary) }),
  fc.record({
    id: fc.option(idArbitrary),
    kind: fc.constant('failure' as const),
    code: fc.constantFrom('protocol-violation' as const, 'record-damaged' as const),
    message: fc.string({ maxLength: 200 }),
  }),
);

describe('witness protocol', () => {
  it('every request and response comes back as it was sent, and fits a line', () => {
    fc.assert(
      fc.property(requestArbitrary, responseArbitrary, (request, response) => {
        const line = encodeLine(request);
        expect(line.length).to.be.lessThan(lineBytesMax);
        expect(parseRequest(line.subarray(0, -1))).to.deep.equal({ ok: true, value: { ...request } });
        expect(parseResponse(encodeLine(response).subarray(0, -1))).to.deep.equal({
          ok: true,
          value: { ...response },
        });
      }),
      { numRuns: 300 },
    );
  });

  it('arbitrary bytes, arbitrary JSON and damaged requests are told apart from requests and never throw', () => {
    const parsers = [parseHello, parseRequest, parseResponse];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const parse of parsers) expect(parse(bytes).ok).to.equal(false);
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.json(), (text) => {
        for (const parse of parsers) expect(parse(bytesOf(text)).ok).to.equal(false);
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(requestArbitrary, fc.nat(), fc.integer({ min: 0, max: 255 }), (request, at, byte) => {
        const line = encodeLine(request).slice(0, -1);
        line[at % line.length] = byte;
        const result = parseRequest(line);
        if (!result.ok) expect(result.problem).to.match(/\S/);
      }),
      { numRuns: 500 },
    );
  });

  it('a wrong value is named by its path', () => {
    const next = { generation: 0, holder: 'a b', operationId: 'x' };
    const result = parseRequest(
      bytesOf(JSON.stringify({ id: 1, op: 'swap', moduleId: 'vm', expected: null, next })),
    );
    expect(result.ok ? '' : result.problem)
      .to.match(/next\.generation: /)
      .and.match(/next\.holder: /)
      .and.match(/next\.operationId: /);
    const surplus = parseRequest(bytesOf('{"id":1,"op":"read","moduleId":"vm","force":true}'));
    expect(surplus.ok ? '' : surplus.problem).to.match(/force/);
  });

  it('module ids that would be paths are refused', () => {
    for (const moduleId of ['', '..', '../x', 'a/b', '.hidden', 'a\\b', 'x'.repeat(64), 'a\n']) {
      const line = bytesOf(JSON.stringify({ id: 1, op: 'read', moduleId }));
      expect(parseRequest(line).ok, moduleId).to.equal(false);
    }
  });

  it('lines come out whole however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ maxLength: 30 }).map((text) => text.replaceAll('\n', ' '))),
        fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1 }),
        (texts, sizes) => {
          const stream = bytesOf(texts.map((text) => `${text}\n`).join(''));
          const cutter = new LineCutter();
          const lines: string[] = [];
          for (let at = 0, turn = 0; at < stream.length; turn += 1) {
            const size = sizes[turn % sizes.length] ?? 1;
            const fits = cutter.push(stream.subarray(at, at + size), (line) => {
              lines.push(new TextDecoder().decode(line));
            });
            expect(fits).to.equal(true);
            at += size;
          }
          expect(lines).to.deep.equal(texts);
        },
      ),
    );
  });

  it('a line without end is given up at the limit, not buffered', () => {
    const cutter = new LineCutter();
    const piece = bytesOf('x'.repeat(1024));
    for (let count = 0; count < lineBytesMax / 1024; count += 1) {
      expect(cutter.push(piece, () => expect.fail('no line'))).to.equal(true);
    }
    expect(cutter.push(bytesOf('x'), () => expect.fail('no line'))).to.equal(false);
  });
});
