/** The sentence of a pair: each situation of its two nodes matches the row that people expect, and every row is reached. */
import { expect } from 'chai';
import type { ModuleStatus } from '../../src/base/status.ts';
import { decidePairState, type NodeSide, pairTable } from '../../src/agent/view/pair-state.ts';
import { sampleStatus } from './sample-status.ts';

const side = (node: string, status: ModuleStatus): NodeSide => ({
  node,
  status,
  isCurrent: true,
  problem: '',
});
const silent = (node: string, status?: ModuleStatus): NodeSide => ({
  node,
  status,
  isCurrent: false,
  problem: 'its agent was last heard 12 s ago',
});

const primary = sampleStatus({ node: 'A', state: 'PRIM', because: 'both copies hold every write' });
const secondary = sampleStatus({ node: 'B', state: 'SECOND', because: 'this copy holds every write' });
const stopped = (node: string) => sampleStatus({ node, state: 'STOP', readiness: 'not-ready' });
const waiting = (node: string) =>
  sampleStatus({ node, state: 'WAIT', readiness: 'not-ready', because: `${node} waits` });
const split = { seenAt: '', because: 'both went on', sides: [] };

const situations: readonly {
  readonly name: string;
  readonly sides: readonly NodeSide[];
  readonly rule: string;
  readonly health: string;
}[] = [
  { name: 'nobody tells', sides: [silent('A'), silent('B')], rule: 'nobody-tells', health: 'unknown' },
  { name: 'in sync', sides: [side('A', primary), side('B', secondary)], rule: 'in-sync', health: 'ok' },
  {
    name: 'in sync, seen from the secondary',
    sides: [side('B', secondary), side('A', primary)],
    rule: 'in-sync',
    health: 'ok',
  },
  {
    name: 'the other agent is dead',
    sides: [side('A', primary), silent('B', secondary)],
    rule: 'other-does-not-tell',
    health: 'warning',
  },
  {
    name: 'only the secondary tells',
    sides: [side('B', secondary), silent('A', primary)],
    rule: 'primary-does-not-tell',
    health: 'warning',
  },
  {
    name: 'a split brain',
    sides: [side('A', { ...primary, split }), side('B', { ...primary, node: 'B', split })],
    rule: 'split-brain',
    health: 'critical',
  },
  {
    name: 'both say that they are primary',
    sides: [side('A', primary), side('B', { ...primary, node: 'B' })],
    rule: 'two-primaries',
    health: 'critical',
  },
  {
    name: 'stopped on both',
    sides: [side('A', stopped('A')), side('B', stopped('B'))],
    rule: 'stopped',
    health: 'stopped',
  },
  {
    name: 'both wait',
    sides: [side('A', waiting('A')), side('B', waiting('B'))],
    rule: 'no-primary',
    health: 'critical',
  },
  {
    name: 'one stopped, the other waits',
    sides: [side('A', stopped('A')), side('B', waiting('B'))],
    rule: 'no-primary',
    health: 'critical',
  },
  {
    name: 'the primary needs help',
    sides: [side('A', { ...primary, readiness: 'not-ready' }), side('B', waiting('B'))],
    rule: 'primary-not-ready',
    health: 'critical',
  },
  {
    name: 'a resync',
    sides: [
      side('A', { ...primary, state: 'ALONE' }),
      side('B', { ...secondary, readiness: 'transient', because: 'being resynchronised (12 %)' }),
    ],
    rule: 'resync',
    health: 'warning',
  },
  {
    name: 'alone',
    sides: [side('A', { ...primary, state: 'ALONE' }), side('B', waiting('B'))],
    rule: 'alone',
    health: 'warning',
  },
  {
    name: 'the guest waits',
    sides: [side('A', { ...primary, readiness: 'transient' }), side('B', secondary)],
    rule: 'in-between',
    health: 'warning',
  },
];

describe('state of a pair', () => {
  for (const { name, sides, rule, health } of situations) {
    it(`${name}: ${rule}`, () => {
      const found = decidePairState(sides);
      expect(found).to.include({ rule, health });
      expect(found.sentence).to.not.equal('');
      expect(found.sentence).to.not.contain('undefined');
    });
  }

  it('every row is reached by one of them', () => {
    expect(new Set(situations.map(({ rule }) => rule))).to.deep.equal(
      new Set(pairTable.map(({ rule }) => rule)),
    );
  });

  it('names the node that does not tell, and why', () => {
    const { sentence, primary: named } = decidePairState([side('A', primary), silent('B', secondary)]);
    expect(sentence).to.contain('B does not tell (its agent was last heard 12 s ago)');
    expect(named).to.equal('A');
  });
});
