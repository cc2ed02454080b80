/** The resync table over every combination of facts: one row decides, both sides agree, and what it says is safe. */
import { expect } from 'chai';
import {
  compareLineage,
  decideResync,
  type ResyncVerdict,
  resyncTable,
} from '../../src/cluster/decide-resync.ts';
import type { CopyFacts } from '../../src/link/control-messages.ts';
import { forEachPair } from './resync-universe.ts';

/** Plain comparisons in one pass over all pairs; the first few that break the rule are shown. */
function expectAll(rule: (mine: CopyFacts, theirs: CopyFacts, verdict: ResyncVerdict) => boolean): void {
  const broken: string[] = [];
  const count = forEachPair((mine, theirs) => {
    const verdict = decideResync(mine, theirs, true);
    if (!rule(mine, theirs, verdict) && broken.length < 3)
      broken.push(JSON.stringify({ mine, theirs, verdict }));
  });
  expect(count).to.be.above(100_000);
  expect(broken).to.deep.equal([]);
}

const mirrored = { source: 'target', target: 'source', wait: 'wait', refuse: 'refuse' } as const;
const sourceOf = (mine: CopyFacts, theirs: CopyFacts, verdict: ResyncVerdict): CopyFacts | undefined =>
  verdict.action === 'source' ? mine : verdict.action === 'target' ? theirs : undefined;
const targetOf = (mine: CopyFacts, theirs: CopyFacts, verdict: ResyncVerdict): CopyFacts | undefined =>
  sourceOf(theirs, mine, verdict);

const base: CopyFacts = {
  data: 'up-to-date',
  path: ['a'.repeat(32)],
  generation: 1,
  base: 'a'.repeat(32),
  claimOpen: false,
  guestRuns: false,
  rebooted: false,
  lastRole: 'secondary',
  bootId: '1'.repeat(32),
};
const copy = (patch: Partial<CopyFacts> = {}): CopyFacts => ({ ...base, bootId: '2'.repeat(32), ...patch });
const path = (...letters: string[]): string[] => letters.map((letter) => letter.repeat(32));

describe('resync table', () => {
  it('every combination is decided by the first row that matches, and every row decides some', () => {
    const deciding = new Set<string>();
    expectAll((mine, theirs, verdict) => {
      const lineage = compareLineage(mine, theirs);
      deciding.add(verdict.rule);
      return verdict.rule === resyncTable.find((row) => row.matches(mine, theirs, lineage))?.rule;
    });
    expect([...deciding].sort()).to.deep.equal(resyncTable.map(({ rule }) => rule).sort());
    expect(new Set(resyncTable.map(({ rule }) => rule)).size).to.equal(resyncTable.length);
  });

  it('both sides come to mirrored verdicts: same rule, same scope, one source', () => {
    expectAll((mine, theirs, verdict) => {
      const other = decideResync(theirs, mine, false);
      return (
        other.action === mirrored[verdict.action] &&
        other.rule === verdict.rule &&
        other.scope === verdict.scope &&
        other.targetStaysUpToDate === verdict.targetStaysUpToDate
      );
    });
  });

  it('the source is up to date, always', () => {
    expectAll((mine, theirs, verdict) => {
      const source = sourceOf(mine, theirs, verdict);
      return source === undefined || source.data === 'up-to-date';
    });
  });

  it('nothing goes on while either side has an open claim', () => {
    expectAll((mine, theirs, verdict) => !(mine.claimOpen || theirs.claimOpen) || verdict.action === 'wait');
  });

  it('histories that diverged or have nothing in common are never overwritten', () => {
    expectAll((mine, theirs, verdict) => {
      const lineage = compareLineage(mine, theirs);
      const protectedCopies =
        lineage === 'diverged' ||
        (lineage === 'unrelated' && mine.data !== 'fresh' && theirs.data !== 'fresh');
      return !protectedCopies || verdict.action === 'refuse' || verdict.action === 'wait';
    });
  });

  it('an up-to-date copy is the target only of an up-to-date one that is not behind it', () => {
    expectAll((mine, theirs, verdict) => {
      const source = sourceOf(mine, theirs, verdict);
      const target = targetOf(mine, theirs, verdict);
      if (source === undefined || target === undefined || target.data !== 'up-to-date') return true;
      return !compareLineage(source, target).startsWith('theirs-ahead');
    });
  });

  it("only bits are examined exactly when one side has the other's generation at or after the base of its bits, and the target's file is the one they are about", () => {
    expectAll((mine, theirs, verdict) => {
      if (verdict.action === 'wait' || verdict.action === 'refuse') return verdict.scope === 'none';
      const incremental = (ahead: CopyFacts, behind: CopyFacts): boolean => {
        const last = behind.path.at(-1);
        const from = ahead.base === undefined ? -1 : ahead.path.indexOf(ahead.base);
        return from >= 0 && last !== undefined && ahead.path.indexOf(last) >= from;
      };
      const equal = mine.path.at(-1) === theirs.path.at(-1);
      const mineIsAhead = mine.path.includes(theirs.path.at(-1) ?? '');
      const bits = equal || (mineIsAhead ? incremental(mine, theirs) : incremental(theirs, mine));
      const target = targetOf(mine, theirs, verdict);
      return (verdict.scope !== 'full') === (bits && target?.diskDoubt !== 'file-replaced');
    });
  });

  it('a disk in doubt is never the source, and nothing on it is left as it is because it looks equal', () => {
    expectAll((mine, theirs, verdict) => {
      const source = sourceOf(mine, theirs, verdict);
      const target = targetOf(mine, theirs, verdict);
      if (source === undefined || target === undefined) return true;
      if (source.diskDoubt !== undefined) return false;
      return target.diskDoubt === undefined || (!verdict.compare && !verdict.targetStaysUpToDate);
    });
  });

  it('nothing at all is examined only when the same primary meets the same boot of an equal copy', () => {
    expectAll((mine, theirs, verdict) => {
      const source = sourceOf(mine, theirs, verdict);
      const target = targetOf(mine, theirs, verdict);
      if (source === undefined || target === undefined || verdict.scope !== 'none') return true;
      return (
        source.resumeWithBoot === target.bootId &&
        target.data === 'up-to-date' &&
        source.path.at(-1) === target.path.at(-1)
      );
    });
  });

  it('a target keeps its flag only if it is up to date, of equal generation and not rebooted', () => {
    expectAll((mine, theirs, verdict) => {
      const target = targetOf(mine, theirs, verdict);
      if (!verdict.targetStaysUpToDate || target === undefined) return !verdict.targetStaysUpToDate;
      const equal = mine.path.at(-1) === theirs.path.at(-1);
      return target.data === 'up-to-date' && equal && (!target.rebooted || verdict.scope === 'none');
    });
  });

  it('who asks for the tie-break changes nothing but the tie', () => {
    expectAll((mine, theirs, verdict) => {
      const other = decideResync(mine, theirs, false);
      return verdict.rule === 'equal-copies'
        ? other.action === mirrored[verdict.action]
        : other.action === verdict.action && other.rule === verdict.rule;
    });
  });

  describe('by name', () => {
    const cases: readonly [string, CopyFacts, CopyFacts, string, string, string][] = [
      [
        'neither holds data',
        copy({ data: 'fresh', path: [] }),
        copy({ data: 'fresh', path: [] }),
        'wait',
        'both-fresh',
        'none',
      ],
      [
        'a new node joins a copy that the arbiter has confirmed',
        copy({ alone: true }),
        copy({ data: 'fresh', path: [], generation: 0 }),
        'source',
        'one-up-to-date',
        'full',
      ],
      [
        'a node came back with new hardware, and nobody has confirmed that this copy is the latest',
        copy(),
        copy({ data: 'fresh', path: [], generation: 0 }),
        'wait',
        'new-peer',
        'none',
      ],
      [
        'the peer was interrupted as a target',
        copy(),
        copy({ data: 'inconsistent' }),
        'source',
        'one-up-to-date',
        'bits',
      ],
      [
        'the peer was interrupted in its first full copy, whose lineage it took with the first block',
        copy({ base: path('a')[0] as string }),
        copy({ data: 'inconsistent', holder: 'A', base: path('a')[0] as string }),
        'source',
        'one-up-to-date',
        'bits',
      ],
      [
        'the peer left and this node went on',
        copy({ path: path('a', 'b') }),
        copy({ data: 'outdated' }),
        'source',
        'one-up-to-date',
        'bits',
      ],
      [
        'a last primary that was rebooted meets the one that went on',
        copy({ lastRole: 'primary' }),
        copy({ path: path('a', 'b') }),
        'target',
        'newer-generation',
        'bits',
      ],
      [
        'bits count from a later generation than the peer has',
        copy({ path: path('a', 'b', 'c'), base: path('b')[0] as string }),
        copy(),
        'source',
        'newer-generation',
        'full',
      ],
      [
        'both went on alone',
        copy({ path: path('a', 'b') }),
        copy({ path: path('a', 'c') }),
        'refuse',
        'split-brain',
        'none',
      ],
      [
        'copies of two different modules',
        copy(),
        copy({ path: path('b') }),
        'refuse',
        'unrelated-data',
        'none',
      ],
      [
        'two outdated copies',
        copy({ data: 'outdated' }),
        copy({ data: 'outdated' }),
        'wait',
        'none-up-to-date',
        'none',
      ],
      [
        'the link blinked',
        copy({ resumeWithBoot: base.bootId, guestRuns: true }),
        base,
        'source',
        'link-resumes',
        'none',
      ],
      [
        'the module of the primary was restarted',
        copy({ guestRuns: true }),
        base,
        'source',
        'guest-runs',
        'bits',
      ],
      [
        'the primary lost power and is back',
        copy({ rebooted: true, lastRole: 'primary' }),
        base,
        'target',
        'not-rebooted',
        'bits',
      ],
      [
        'the primary failed a flush and was killed at once, both copies are equal',
        copy({ rebooted: true, diskDoubt: 'flush-failed', lastRole: 'primary' }),
        { ...base, rebooted: true },
        'target',
        'disk-in-doubt',
        'bits',
      ],
      [
        'the one that went on alone failed a flush',
        copy({ path: path('a', 'b'), rebooted: true, diskDoubt: 'flush-failed' }),
        base,
        'wait',
        'newest-in-doubt',
        'none',
      ],
      [
        'the only good copy is on a disk in doubt',
        copy({ rebooted: true, diskDoubt: 'flush-failed' }),
        { ...base, data: 'outdated' },
        'wait',
        'newest-in-doubt',
        'none',
      ],
      [
        'the file of the secondary was replaced while its module did not run',
        copy({ guestRuns: true }),
        { ...base, rebooted: true, diskDoubt: 'file-replaced' },
        'source',
        'disk-in-doubt',
        'full',
      ],
      [
        'both lost power',
        copy({ rebooted: true, lastRole: 'primary' }),
        { ...base, rebooted: true },
        'source',
        'last-primary',
        'bits',
      ],
    ];
    for (const [name, mine, theirs, action, rule, scope] of cases) {
      it(name, () => {
        expect(decideResync(mine, theirs, true)).to.include({ action, rule, scope });
      });
    }
  });
});
