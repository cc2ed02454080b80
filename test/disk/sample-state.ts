/** States for the tests of the metadata format. */
import fc from 'fast-check';
import type { ArbiterRecord, PersistentState } from '../../src/disk/state.ts';

export function id(seed: number): string {
  return (seed % 2 ** 32).toString(16).padStart(8, '0').repeat(4);
}

export const sampleState: PersistentState = {
  clusterId: id(1),
  moduleId: id(2),
  self: 'A',
  peer: 'B',
  volumes: [
    { name: 'disk0', sizeBytes: 3 * 2 ** 30 },
    { name: 'disk1', sizeBytes: 100 * 2 ** 20 + 4096 },
  ],
  path: [id(10), id(11), id(12)],
  generation: 3,
  holder: 'both',
  base: id(11),
  role: 'primary',
  data: 'up-to-date',
  diskDoubt: 'none',
  peerData: 'unknown',
  pending: {
    expected: { generation: 3, holder: 'both', operationId: id(12) },
    next: { generation: 4, holder: 'A', operationId: id(13) },
  },
  bootId: id(99),
};

const anyId = fc.nat(2 ** 31 - 1).map(id);
const nodeName = fc.stringMatching(/^[A-Za-z0-9_-]{1,31}$/);
const anyRecord: fc.Arbitrary<ArbiterRecord> = fc.record({
  generation: fc.nat(Number.MAX_SAFE_INTEGER),
  holder: nodeName,
  operationId: anyId,
});
const timeOfDay = fc.date({ noInvalidDate: true, min: new Date(0) }).map((date) => date.toISOString());
const sizeBytes = fc.oneof(fc.integer({ min: 1, max: 2 ** 31 }), fc.constantFrom(2 ** 40, 64 * 2 ** 40));

/** Every state that the format can hold, as far as one knows. */
export const anyState: fc.Arbitrary<PersistentState> = fc.record({
  clusterId: fc.string({ maxLength: 15, unit: 'grapheme-ascii' }),
  moduleId: fc.stringMatching(/^[a-zé€]{0,20}$/),
  self: nodeName,
  peer: nodeName,
  volumes: fc.array(fc.record({ name: fc.stringMatching(/^[a-z0-9]{0,63}$/), sizeBytes }), {
    minLength: 1,
    maxLength: 16,
  }),
  path: fc.array(anyId, { maxLength: 64 }),
  generation: fc.nat(Number.MAX_SAFE_INTEGER),
  holder: fc.option(nodeName, { nil: undefined }),
  base: fc.option(anyId, { nil: undefined }),
  role: fc.constantFrom('primary', 'secondary'),
  data: fc.constantFrom('fresh', 'up-to-date', 'outdated', 'inconsistent'),
  diskDoubt: fc.constantFrom('none', 'flush-failed', 'file-replaced'),
  peerData: fc.constantFrom('unknown', 'outdated', 'inconsistent'),
  pending: fc.option(
    fc.record(
      { store: anyId, expected: fc.option(anyRecord, { nil: undefined }), next: anyRecord },
      { requiredKeys: ['expected', 'next'] },
    ),
    { nil: undefined },
  ),
  arbiterStore: anyId,
  wish: fc.constantFrom('prim', 'second'),
  inSyncAt: timeOfDay,
  aloneSince: timeOfDay,
  splitSince: timeOfDay,
  bootId: anyId,
});
