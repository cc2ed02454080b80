/** The lineage of a forced start: no later meeting may take it, or the old source, for the past of the other. */
import { expect } from 'chai';
import fc from 'fast-check';
import { decideResync } from '../../src/cluster/decide-resync.ts';
import { factsOfState } from '../../src/cluster/dry-run.ts';
import { lineageAfter } from '../../src/cluster/forced-start.ts';
import type { PersistentState } from '../../src/disk/state.ts';
import { id, sampleState } from '../disk/sample-state.ts';

const data = fc.constantFrom('up-to-date' as const, 'outdated' as const, 'inconsistent' as const);

describe('the lineage after a forced start', () => {
  it('has diverged from the old source, whatever that did since, and neither is ever overwritten', () => {
    const counts = { common: fc.integer({ min: 1, max: 6 }), since: fc.nat({ max: 4 }) };
    fc.assert(
      fc.property(
        fc.record(counts),
        data,
        data,
        fc.boolean(),
        ({ common, since }, worth, oldData, rebooted) => {
          const image = Array.from({ length: common }, (_, index) => id(index + 1));
          const oldPath = [...image, ...Array.from({ length: since }, (_, index) => id(index + 50))];
          const restored: PersistentState = {
            ...sampleState,
            self: 'B',
            peer: 'A',
            path: image,
            generation: common,
            data: worth === 'up-to-date' ? 'outdated' : worth,
            pending: undefined,
          };
          const next = { generation: common + since + 1, holder: 'B', operationId: id(99) };
          const after: PersistentState = { ...restored, ...lineageAfter(restored, next), data: 'up-to-date' };
          const old = {
            ...sampleState,
            path: oldPath,
            base: oldPath.at(-1),
            pending: undefined,
            data: oldData,
          };
          const verdict = decideResync(
            { ...factsOfState(after), guestRuns: true },
            { ...factsOfState(old), generation: common + since, rebooted },
            true,
          );
          expect([verdict.action, verdict.rule]).to.deep.equal([
            'refuse',
            common > 1 ? 'split-brain' : 'unrelated-data',
          ]);
          expect(after.base).to.equal(worth === 'inconsistent' ? undefined : restored.base);
        },
      ),
    );
  });

  it('is the one that it has when it went on before the arbiter answered', () => {
    const next = { generation: 3, holder: 'A', operationId: sampleState.path.at(-1) as string };
    expect(lineageAfter(sampleState, next).path).to.deep.equal(sampleState.path);
  });

  it('of an ordinary claim goes on from the whole path and keeps the base', () => {
    const next = { generation: 4, holder: 'A', operationId: id(99) };
    expect(lineageAfter(sampleState, next)).to.deep.equal({
      path: [...sampleState.path, id(99)],
      generation: 4,
      holder: 'A',
      base: sampleState.base,
    });
  });
});
