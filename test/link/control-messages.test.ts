/** Control messages: every message survives the wire, and whatever a peer sends is a message or a sentence, never an exception. */
import { expect } from 'chai';
import fc from 'fast-check';
import {
  type ControlMessage,
  controlBytesMax,
  encodeControl,
  parseControl,
} from '../../src/link/control-messages.ts';

const id = fc.stringMatching(/^[0-9a-f]{32}$/);
const node = fc.stringMatching(/^[A-Za-z0-9_-]{1,31}$/);
const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const path = fc.array(id, { maxLength: 64 });
const text = fc.string({ unit: 'binary', maxLength: 60 });

const facts = fc.record(
  {
    data: fc.constantFrom(
      'fresh' as const,
      'up-to-date' as const,
      'outdated' as const,
      'inconsistent' as const,
    ),
    path,
    generation: count,
    holder: fc.oneof(fc.constant('both'), node),
    base: id,
    claimOpen: fc.boolean(),
    guestRuns: fc.boolean(),
    rebooted: fc.boolean(),
    lastRole: fc.constantFrom('primary' as const, 'secondary' as const),
    resumeWithBoot: id,
    bootId: id,
  },
  {
    requiredKeys: [
      ...(['data', 'path', 'generation', 'claimOpen'] as const),
      ...(['guestRuns', 'rebooted', 'lastRole', 'bootId'] as const),
    ],
  },
);

const hello = fc.record({
  type: fc.constant('hello' as const),
  protocols: fc.array(fc.integer(), { maxLength: 16 }),
  clusterId: id,
  moduleId: id,
  self: node,
  volumes: fc.array(fc.record({ name: text, sizeBytes: count }), { maxLength: 16 }),
  instance: id,
  round: fc.integer(),
  started: fc.boolean(),
  facts,
});

const rounds = { round: fc.integer(), peerRound: fc.integer() };
const only = <Type extends string>(type: Type) => fc.record({ type: fc.constant(type) });
const saying = <Type extends string>(type: Type) => fc.record({ type: fc.constant(type), because: text });

const message: fc.Arbitrary<ControlMessage> = fc.oneof(
  { weight: 4, arbitrary: hello as fc.Arbitrary<ControlMessage> },
  fc.record({ type: fc.constant('propose' as const), ...rounds, rule: text, coveredBytes: count }),
  fc.record({ type: fc.constant('accept' as const), ...rounds }),
  fc.record({
    type: fc.constant('in-sync' as const),
    path,
    generation: count.filter((value) => value > 0),
    holder: fc.constant('both' as const),
  }),
  fc.record({ type: fc.constant('in-sync-persisted' as const), generation: count }),
  fc.record({
    type: fc.constant('use-path' as const),
    instance: id,
    epoch: fc.integer({ min: 1 }),
  }),
  only('handover'),
  only('handover-accepted'),
  only('leave-request'),
  only('leave-granted'),
  saying('leave-refused'),
  saying('outdated'),
  saying('refuse'),
  only('facts-request'),
  fc.record({
    type: fc.constant('facts' as const),
    facts,
    coveredBytes: count,
  }) as fc.Arbitrary<ControlMessage>,
  fc.record(
    {
      type: fc.constant('checks' as const),
      well: fc.array(node, { maxLength: 64 }),
      failing: fc.array(node, { maxLength: 64 }),
      restarts: fc.record({ epoch: count, agesMs: fc.array(count, { maxLength: 100 }) }),
      maintenance: fc.record({ sequence: count, leftMs: count }),
      swapAgeMs: count,
    },
    { requiredKeys: ['type', 'well', 'failing', 'restarts', 'maintenance'] },
  ) as fc.Arbitrary<ControlMessage>,
  fc.record({
    type: fc.constant('progress' as const),
    totalBytes: count,
    examinedBytes: count,
    sentBytes: count,
  }),
  fc.record(
    {
      type: fc.constant('vm-report' as const),
      runs: fc.boolean(),
      start: id,
      problem: text,
    },
    { requiredKeys: ['type', 'runs'] },
  ) as fc.Arbitrary<ControlMessage>,
);

const encoder = new TextEncoder();
const parseJson = (value: unknown): ControlMessage | string =>
  parseControl(encoder.encode(JSON.stringify(value)));

const sample = {
  type: 'hello',
  protocols: [1],
  clusterId: '0'.repeat(32),
  moduleId: '1'.repeat(32),
  self: 'A',
  volumes: [{ name: 'disk0', sizeBytes: 1048576 }],
  instance: '2'.repeat(32),
  round: 1,
  started: true,
  facts: {
    data: 'up-to-date',
    path: ['a'.repeat(32)],
    generation: 1,
    holder: 'both',
    base: 'a'.repeat(32),
    claimOpen: false,
    guestRuns: true,
    rebooted: false,
    lastRole: 'primary',
    bootId: '3'.repeat(32),
  },
};

describe('control messages', () => {
  it('come out as they went in', () => {
    fc.assert(
      fc.property(message, (sent) => {
        expect(parseControl(encodeControl(sent))).to.deep.equal(sent);
      }),
      { numRuns: 300 },
    );
  });

  it('the largest hello that the formats allow fits the limit', () => {
    const largest = {
      ...sample,
      volumes: Array.from({ length: 16 }, () => ({
        name: 'n'.repeat(63),
        sizeBytes: Number.MAX_SAFE_INTEGER,
      })),
      facts: { ...sample.facts, path: Array.from({ length: 64 }, () => 'f'.repeat(32)) },
    };
    const bytes = encoder.encode(JSON.stringify(largest));
    expect(bytes.length).to.be.below(controlBytesMax);
    expect(parseControl(bytes)).to.deep.equal(largest);
  });

  it('arbitrary bytes and arbitrary JSON are a sentence, never an exception', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.json().map((json) => encoder.encode(json)),
        ),
        (bytes) => {
          expect(parseControl(bytes)).to.be.a('string').and.not.empty;
        },
      ),
      { numRuns: 300 },
    );
  });

  it('a message in which any one byte is damaged is read or named, never an exception', () => {
    const bytes = encoder.encode(JSON.stringify(sample));
    fc.assert(
      fc.property(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 255 }), (at, value) => {
        const damaged = bytes.slice();
        damaged[at] = value;
        const parsed = parseControl(damaged);
        expect(typeof parsed === 'string' || parsed.type === 'hello').to.equal(true);
      }),
      { numRuns: 500 },
    );
  });

  it('more bytes than the limit are refused before they are read', () => {
    expect(parseControl(new Uint8Array(controlBytesMax + 1))).to.contain(`${controlBytesMax + 1} bytes`);
  });

  it('a wrong value is named by its path', () => {
    const wrong = (patch: object): unknown => parseJson({ ...sample, facts: { ...sample.facts, ...patch } });
    expect(wrong({ data: 'good' })).to.contain('facts.data');
    expect(wrong({ path: ['A'.repeat(32)] })).to.contain('facts.path.0');
    expect(wrong({ path: Array.from({ length: 65 }, () => 'a'.repeat(32)) })).to.contain('facts.path');
    expect(wrong({ generation: -1 })).to.contain('facts.generation');
    expect(wrong({ holder: 'no node name' })).to.contain('facts.holder');
    expect(wrong({ bootId: undefined })).to.contain('facts.bootId');
  });

  it('unknown keys and unknown types are refused', () => {
    expect(parseJson({ ...sample, extra: 1 })).to.be.a('string');
    expect(parseJson({ ...sample, facts: { ...sample.facts, extra: 1 } })).to.be.a('string');
    expect(parseJson({ type: 'reboot' })).to.be.a('string');
    expect(parseControl(encoder.encode('{"type":"handover","__proto__":{"x":1}}'))).to.be.a('string');
  });
});
