/**
 * Hostile bytes: nothing a client or a server sends may throw, reach the device outside its range, or make a session keep
 * more than its limits. The memory device asserts the ranges.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { NbdClient } from '../../src/nbd/client.ts';
import { ExportTable } from '../../src/nbd/export-table.ts';
import { encodeExportChoice, encodeMetaContextQuery } from '../../src/nbd/option-data.ts';
import {
  baseAllocation,
  encodeGreeting,
  encodeOption,
  encodeOptionReply,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_LIST,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
} from '../../src/nbd/protocol.ts';
import { requestsInFlightMax } from '../../src/nbd/server-transmission.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryDevice } from './memory-device.ts';
import { clientFlags, joinClient, parseReplies, request, SessionBench } from './session-bench.ts';

const sizeBytes = 256 * 1024;
const noData = new Uint8Array(0);

const requestArbitrary = fc
  .record({
    command: fc.oneof(fc.nat({ max: 8 }), fc.nat({ max: 0xffff })),
    flags: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat({ max: 31 }), fc.nat({ max: 0xffff })),
    cookie: fc.nat({ max: 0xffffffff }),
    offsetBytes: fc.oneof(fc.nat({ max: sizeBytes }), fc.maxSafeNat()),
    lengthBytes: fc.oneof({ weight: 5, arbitrary: fc.nat({ max: 9000 }) }, fc.nat({ max: 0xffffffff })),
  })
  .map((fields) => {
    const payload = fields.command === 1 && fields.lengthBytes <= 9000 ? fields.lengthBytes : 0;
    return Buffer.concat([request(fields), new Uint8Array(payload)]);
  });

const optionArbitrary = fc
  .tuple(
    fc.nat({ max: 12 }),
    fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.constant(encodeExportChoice('disk0', []))),
  )
  .map(([option, data]) => encodeOption(option, data));

/** A session as a good client has it, up to its first requests. */
const preludes = [
  [clientFlags(3), encodeOption(NBD_OPT_EXPORT_NAME, new TextEncoder().encode('disk0'))],
  [
    clientFlags(),
    encodeOption(NBD_OPT_LIST, noData),
    encodeOption(NBD_OPT_GO, encodeExportChoice('disk0', [3])),
  ],
  [
    clientFlags(),
    encodeOption(NBD_OPT_STRUCTURED_REPLY, noData),
    encodeOption(NBD_OPT_SET_META_CONTEXT, encodeMetaContextQuery('disk0', [baseAllocation])),
    encodeOption(NBD_OPT_GO, encodeExportChoice('disk0', [])),
  ],
] as const;

const mutationArbitrary = fc.record({
  where: fc.double({ min: 0, max: 1, noNaN: true }),
  value: fc.nat({ max: 255 }),
});
const cutsArbitrary = fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 20 });

/** The bytes with some replaced, in pieces of the given lengths, again and again. */
function mutateAndCut(
  bytes: Uint8Array,
  mutations: readonly { where: number; value: number }[],
  cuts: readonly number[],
): Uint8Array[] {
  const mutated = bytes.slice();
  for (const { where, value } of mutations) {
    mutated[Math.min(mutated.length - 1, Math.floor(where * mutated.length))] = value;
  }
  const pieces: Uint8Array[] = [];
  for (let at = 0, index = 0; at < mutated.length; index += 1) {
    const length = cuts[index % cuts.length] ?? 1;
    pieces.push(mutated.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

describe('NBD against hostile bytes', () => {
  it('the server neither throws nor keeps more than its limits, whatever a client sends', () => {
    let entered = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(...preludes),
        fc.array(optionArbitrary, { maxLength: 3 }),
        fc.array(requestArbitrary, { maxLength: 30 }),
        fc.array(mutationArbitrary, { maxLength: 3 }),
        cutsArbitrary,
        fc.boolean(),
        (prelude, options, requests, mutations, cuts, holding) => {
          const device = new MemoryDevice(sizeBytes);
          device.holding = holding;
          const exports = new ExportTable();
          exports.serve('disk0', device);
          const bench = new SessionBench(exports);
          const [flags, ...rest] = prelude;
          const stream = Buffer.concat([flags, ...options, ...rest, ...requests]);
          for (const piece of mutateAndCut(stream, mutations, cuts)) {
            if (bench.ended !== undefined || bench.paused) break;
            bench.receive(piece);
            expect(device.heldCount).to.be.at.most(requestsInFlightMax);
          }
          if (bench.session.exportName !== undefined) entered += 1;
          device.release();
          bench.session.closed();
          expect(bench.session.unparsedBytes).to.equal(0);
          expect(bench.session.inFlightCount).to.equal(0);
          expect(bench.clock.timersCount).to.equal(0);
        },
      ),
      { numRuns: 400 },
    );
    expect(entered, 'runs that reached the transmission phase').to.be.above(40);
  });

  it('every good request gets exactly one reply, however the bytes are cut and in whatever order they complete', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            command: fc.constantFrom(0, 1, 3, 4, 6, 7),
            lengthBytes: fc.integer({ min: 1, max: 9000 }),
          }),
          { minLength: 1, maxLength: 40 },
        ),
        cutsArbitrary,
        fc.constantFrom('sync', 'oldest-first', 'newest-first'),
        fc.boolean(),
        (asked, cuts, order, structured) => {
          const device = new MemoryDevice(sizeBytes);
          device.holding = order !== 'sync';
          const exports = new ExportTable();
          exports.serve('disk0', device);
          const bench = new SessionBench(exports);
          bench.enter('disk0', { structured });
          const stream = Buffer.concat(
            asked.map(({ command, lengthBytes }, cookie) =>
              Buffer.concat([
                request({ command, cookie, lengthBytes: command === 3 ? 0 : lengthBytes }),
                new Uint8Array(command === 1 ? lengthBytes : 0),
              ]),
            ),
          );
          for (const piece of mutateAndCut(stream, [], cuts)) bench.receive(piece);
          device.release(order === 'newest-first' ? order : 'oldest-first');
          const reads = new Map(
            asked.flatMap(({ command, lengthBytes }, cookie) =>
              command === 0 ? [[cookie, lengthBytes]] : [],
            ),
          );
          const replies = parseReplies(bench.takeOutput(), reads);
          const cookies = replies.map((reply) => reply.cookie).sort((left, right) => left - right);
          expect(cookies).to.deep.equal(asked.map((_, cookie) => cookie));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('random work through the client leaves the device as a model has it', async () => {
    const operation = fc.record({
      kind: fc.constantFrom('write', 'zero', 'trim', 'read'),
      offsetBytes: fc.nat({ max: 60_000 }),
      lengthBytes: fc.integer({ min: 1, max: 5000 }),
      value: fc.integer({ min: 1, max: 255 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 25 }), cutsArbitrary, async (operations, cuts) => {
        const device = new MemoryDevice(65_536);
        const exports = new ExportTable();
        exports.serve('disk0', device);
        const model = new Uint8Array(65_536);
        let cut = 0;
        const pieceBytes = (): number => {
          cut += 1;
          return cuts[cut % cuts.length] ?? 1;
        };
        const { client } = joinClient(exports, { exportName: 'disk0', pieceBytes });
        await client.negotiated;
        for (const { kind, offsetBytes, lengthBytes, value } of operations) {
          const endBytes = offsetBytes + lengthBytes;
          if (kind === 'write') await client.write(offsetBytes, new Uint8Array(lengthBytes).fill(value));
          else if (kind === 'zero') await client.zero(offsetBytes, lengthBytes);
          else if (kind === 'trim') await client.trim(offsetBytes, lengthBytes);
          else
            expect(await client.read(offsetBytes, lengthBytes)).to.deep.equal(
              model.slice(offsetBytes, endBytes),
            );
          if (kind !== 'read') model.fill(kind === 'write' ? value : 0, offsetBytes, endBytes);
        }
        expect(device.bytes).to.deep.equal(model);
      }),
      { numRuns: 40 },
    );
  });

  it('the client neither throws nor hangs, whatever a server sends', async () => {
    const info = Buffer.from('000000000000000400000001', 'hex');
    const context = Buffer.concat([Buffer.from([0, 0, 0, 1]), new TextEncoder().encode(baseAllocation)]);
    const good = Buffer.concat([
      encodeGreeting(),
      encodeOptionReply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, noData),
      encodeOptionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, context),
      encodeOptionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, noData),
      encodeOptionReply(NBD_OPT_GO, NBD_REP_INFO, info),
      encodeOptionReply(NBD_OPT_GO, NBD_REP_ACK, noData),
    ]);
    const replies = Buffer.from(
      [
        '668e33ef0001000100000000000000010000000c0000000000000000aabbccdd',
        '67446698000000000000000000000002',
        '668e33ef0001000500000000000000030000000c000000010000100000000000',
      ].join(''),
      'hex',
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(mutationArbitrary, { maxLength: 2 }),
        fc.array(mutationArbitrary, { maxLength: 4 }),
        cutsArbitrary,
        fc.uint8Array({ maxLength: 100 }),
        async (early, late, cuts, tail) => {
          const clock = new ManualClock();
          const port = { send: () => {}, close: () => {}, destroy: () => {} };
          const client = new NbdClient(port, clock, {
            exportName: 'disk0',
            address: 'the test',
            handshakeTimeoutMs: 1000,
            requestTimeoutMs: 1000,
          });
          for (const piece of mutateAndCut(good, early, cuts)) client.received(piece);
          const asked = [client.read(0, 4), client.flush(), client.blockStatus(0, 4096)];
          const settled = Promise.allSettled(asked);
          for (const piece of mutateAndCut(Buffer.concat([replies, tail]), late, cuts))
            client.received(piece);
          clock.advance(1000);
          await settled;
          client.destroy();
          await client.ended;
          expect(clock.timersCount).to.equal(0);
        },
      ),
      { numRuns: 300 },
    );
  });
});
