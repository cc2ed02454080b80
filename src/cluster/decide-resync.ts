/**
 * The verdict of a handshake: who is the source, how much must be examined, and why. A pure function of what both sides say
 * of their copies; both evaluate it, mirrored, and must come to the same row.
 *
 * The rows are tried top-down and the first that matches decides. Their order matters: an open claim stops everything, data
 * flags come before lineage, lineage before any guess about equal copies. Who holds dirty bits never decides the direction.
 */
import type { OperationId } from '../base/identity.ts';
import type { CopyFacts } from '../link/control-messages.ts';

export type ResyncAction = 'source' | 'target' | 'wait' | 'refuse';

/** `none`: nothing to examine. `bits`: dirty bitmaps and activity logs of both. `full`: every block. */
export type ResyncScope = 'none' | 'bits' | 'full';

export interface ResyncVerdict {
  readonly action: ResyncAction;
  readonly rule: string;
  readonly because: string;
  readonly scope: ResyncScope;
  /** Checksums may be compared before anything is sent. Not with a disk that failed a flush: it may show what it does not hold. */
  readonly compare: boolean;
  /** The target keeps its up-to-date flag while it is compared: it can differ only in writes that nobody acknowledged. */
  readonly targetStaysUpToDate: boolean;
}

/**
 * How their lineage stands to mine. `ahead`: they have what I have and more, and the bitmap of the one that is ahead counts
 * from a generation that the other has; `ahead-before-base`: the same, but the bitmap counts from a later one.
 */
export type Lineage =
  | 'equal'
  | 'mine-ahead'
  | 'mine-ahead-before-base'
  | 'theirs-ahead'
  | 'theirs-ahead-before-base'
  | 'diverged'
  | 'unrelated';

export function compareLineage(mine: CopyFacts, theirs: CopyFacts): Lineage {
  const myLast = mine.path.at(-1);
  const theirLast = theirs.path.at(-1);
  if (myLast === theirLast) return 'equal';
  // Bits of both that count from one generation cover all that both did since, whatever that was.
  const sameBase =
    mine.base !== undefined && mine.base === theirs.base && mine.data !== 'fresh' && theirs.data !== 'fresh';
  if (myLast === undefined) return sameBase ? 'theirs-ahead' : 'theirs-ahead-before-base';
  if (theirLast === undefined) return sameBase ? 'mine-ahead' : 'mine-ahead-before-base';
  if (mine.path.includes(theirLast)) {
    const isCovered = sameBase || isAtOrAfterBase(theirLast, mine.path, mine.base);
    return isCovered ? 'mine-ahead' : 'mine-ahead-before-base';
  }
  if (theirs.path.includes(myLast)) {
    const isCovered = sameBase || isAtOrAfterBase(myLast, theirs.path, theirs.base);
    return isCovered ? 'theirs-ahead' : 'theirs-ahead-before-base';
  }
  return commonPath(mine.path, theirs.path).length > 0 ? 'diverged' : 'unrelated';
}

/** The path up to the last operation that the other one has too. */
export function commonPath(path: readonly OperationId[], other: readonly OperationId[]): OperationId[] {
  return path.slice(0, path.findLastIndex((id) => other.includes(id)) + 1);
}

interface Counting {
  readonly path: readonly OperationId[];
  readonly base?: OperationId | undefined;
}

/** Whether the bits of two copies that diverged cover every difference between them. */
export function bitsCoverSplit(mine: Counting, theirs: Counting): boolean {
  if (mine.base === undefined || theirs.base === undefined) return false;
  const last = commonPath(mine.path, theirs.path).at(-1);
  const countsFrom = ({ path, base }: Counting): boolean =>
    last !== undefined && isAtOrAfterBase(last, path, base);
  return mine.base === theirs.base || (countsFrom(mine) && countsFrom(theirs));
}

function isAtOrAfterBase(
  id: OperationId,
  path: readonly OperationId[],
  base: OperationId | undefined,
): boolean {
  return base !== undefined && path.includes(base) && path.indexOf(id) >= path.indexOf(base);
}

type Side = 'mine' | 'theirs';

interface Row {
  readonly rule: string;
  matches(mine: CopyFacts, theirs: CopyFacts, lineage: Lineage): boolean;
  decide(
    mine: CopyFacts,
    theirs: CopyFacts,
    lineage: Lineage,
  ): { source: Side; scope: ResyncScope; staysUpToDate?: boolean } | 'wait' | 'refuse';
  because(mine: CopyFacts, theirs: CopyFacts): string;
}

const upToDate = (facts: CopyFacts): boolean => facts.data === 'up-to-date';
const both = (test: (facts: CopyFacts) => boolean, mine: CopyFacts, theirs: CopyFacts): boolean =>
  test(mine) && test(theirs);
const either = (test: (facts: CopyFacts) => boolean, mine: CopyFacts, theirs: CopyFacts): boolean =>
  test(mine) || test(theirs);

/** The bits of the one that is ahead, if they count from a generation that the other has; they say nothing of another file. */
const scopeOf = (lineage: Lineage, target: CopyFacts): ResyncScope => {
  const common = lineage === 'equal' || lineage === 'mine-ahead' || lineage === 'theirs-ahead';
  return common && target.diskDoubt !== 'file-replaced' ? 'bits' : 'full';
};

/** Equal generations, both up to date: everything that may differ is in the bits and logs of both. */
const equalCopies = (source: Side, mine: CopyFacts, theirs: CopyFacts) => ({
  source,
  scope: scopeOf('equal', source === 'mine' ? theirs : mine),
  staysUpToDate: !(source === 'mine' ? theirs : mine).rebooted,
});

const inDoubt = (facts: CopyFacts): boolean => facts.diskDoubt !== undefined;

/** The copy that would be the source is on a disk in doubt: alone up to date, or ahead; or both are equal and both in doubt. */
const newestInDoubt = (mine: CopyFacts, theirs: CopyFacts, lineage: Lineage): boolean => {
  if (upToDate(mine) !== upToDate(theirs)) return inDoubt(upToDate(mine) ? mine : theirs);
  if (!upToDate(mine)) return false;
  if (lineage === 'equal') return both(inDoubt, mine, theirs);
  return inDoubt(lineage === 'mine-ahead' || lineage === 'mine-ahead-before-base' ? mine : theirs);
};

/** A secondary whose host is the one of then, and still has in its cache, or on its disk, all that it answered. */
const canResume = (primary: CopyFacts, secondary: CopyFacts): boolean =>
  primary.resumeWithBoot !== undefined && primary.resumeWithBoot === secondary.bootId && !secondary.rebooted;

export const resyncTable: readonly Row[] = [
  {
    rule: 'claim-open',
    matches: (mine, theirs) => either((side) => side.claimOpen, mine, theirs),
    decide: () => 'wait',
    because: (mine) =>
      `${mine.claimOpen ? 'this node' : 'the peer'} has asked the arbiter and has no answer yet`,
  },
  {
    rule: 'both-fresh',
    matches: (mine, theirs) => both((side) => side.data === 'fresh', mine, theirs),
    decide: () => 'wait',
    because: () =>
      'neither node holds data of this module; run `vmpair prim VM` on the node that has the good copy',
  },
  {
    rule: 'unrelated-data',
    matches: (mine, theirs, lineage) =>
      lineage === 'unrelated' && !either((side) => side.data === 'fresh', mine, theirs),
    decide: () => 'refuse',
    because: () =>
      'the two copies have no common history; nothing was overwritten; give one up with `vmpair resolve VM --keep NODE`',
  },
  {
    rule: 'split-brain',
    matches: (_mine, _theirs, lineage) => lineage === 'diverged',
    decide: () => 'refuse',
    because: () =>
      'both copies went on alone from a common point; nothing was overwritten; give one up with `vmpair resolve VM --keep NODE`',
  },
  {
    rule: 'newest-in-doubt',
    matches: newestInDoubt,
    decide: () => 'wait',
    because: (mine) =>
      `${upToDate(mine) && inDoubt(mine) ? 'this node' : 'the peer'} has the newest copy on a disk in doubt; ` +
      'check the disk, then run `vmpair accept-disk VM` there',
  },
  {
    rule: 'new-peer',
    matches: (mine, theirs) =>
      upToDate(mine) !== upToDate(theirs) &&
      either((side) => side.data === 'fresh', mine, theirs) &&
      (upToDate(mine) ? mine : theirs).alone !== true,
    decide: () => 'wait',
    because: (mine) =>
      `${upToDate(mine) ? 'the peer' : 'this node'} holds nothing and cannot tell whether the other copy is the latest; ` +
      'the arbiter, or `vmpair prim VM` where there is none, has to confirm that first',
  },
  {
    rule: 'one-up-to-date',
    matches: (mine, theirs) => upToDate(mine) !== upToDate(theirs),
    decide: (mine, theirs, lineage) => ({
      source: upToDate(mine) ? 'mine' : 'theirs',
      scope: scopeOf(lineage, upToDate(mine) ? theirs : mine),
    }),
    because: (mine, theirs) =>
      `${upToDate(mine) ? 'this copy' : "the peer's copy"} is up to date and the other is ${upToDate(mine) ? theirs.data : mine.data}`,
  },
  {
    rule: 'none-up-to-date',
    matches: (mine, theirs) => !either(upToDate, mine, theirs),
    decide: () => 'wait',
    because: (mine, theirs) =>
      `this copy is ${mine.data} and the peer's is ${theirs.data}; neither may be the source by itself; ` +
      'run `vmpair prim VM` on the node that is to go on: it says what would be lost',
  },
  {
    rule: 'newer-generation',
    matches: (_mine, _theirs, lineage) => lineage !== 'equal',
    decide: (mine, theirs, lineage) => {
      const mineAhead = lineage === 'mine-ahead' || lineage === 'mine-ahead-before-base';
      return { source: mineAhead ? 'mine' : 'theirs', scope: scopeOf(lineage, mineAhead ? theirs : mine) };
    },
    because: (mine, theirs) =>
      mine.generation > theirs.generation
        ? 'this node went on alone while the peer was away'
        : 'the peer went on alone while this node was away',
  },
  // From here on: equal generations, both up to date.
  {
    rule: 'disk-in-doubt',
    matches: (mine, theirs) => inDoubt(mine) !== inDoubt(theirs),
    decide: (mine, theirs) => equalCopies(inDoubt(mine) ? 'theirs' : 'mine', mine, theirs),
    because: (mine) =>
      `the disk of ${inDoubt(mine) ? 'this node' : 'the peer'} is in doubt and the other is not`,
  },
  {
    rule: 'link-resumes',
    matches: (mine, theirs) => canResume(mine, theirs) !== canResume(theirs, mine),
    decide: (mine, theirs) => ({
      source: canResume(mine, theirs) ? 'mine' : 'theirs',
      scope: 'none',
      staysUpToDate: true,
    }),
    because: () =>
      'the link was interrupted and neither node lost anything; unanswered writes are sent again',
  },
  {
    rule: 'guest-runs',
    matches: (mine, theirs) => mine.guestRuns !== theirs.guestRuns,
    decide: (mine, theirs) => equalCopies(mine.guestRuns ? 'mine' : 'theirs', mine, theirs),
    because: (mine) => `the VM still runs on ${mine.guestRuns ? 'this node' : 'the peer'}`,
  },
  {
    rule: 'not-rebooted',
    matches: (mine, theirs) => mine.rebooted !== theirs.rebooted,
    decide: (mine, theirs) => equalCopies(mine.rebooted ? 'theirs' : 'mine', mine, theirs),
    because: (mine) =>
      `${mine.rebooted ? 'this host' : "the peer's host"} was rebooted and the other was not`,
  },
  {
    rule: 'last-primary',
    matches: (mine, theirs) => mine.lastRole !== theirs.lastRole,
    decide: (mine, theirs) => equalCopies(mine.lastRole === 'primary' ? 'mine' : 'theirs', mine, theirs),
    because: (mine) => `${mine.lastRole === 'primary' ? 'this node' : 'the peer'} was primary last`,
  },
  {
    rule: 'equal-copies',
    matches: () => true,
    decide: () => 'wait',
    because: () => 'both copies are equal in every respect',
  },
];

/** What this node does about the peer's copy, and why. `preferSelf` breaks the tie between copies that are equal in everything. */
export function decideResync(mine: CopyFacts, theirs: CopyFacts, preferSelf: boolean): ResyncVerdict {
  const lineage = compareLineage(mine, theirs);
  const row = resyncTable.find((each) => each.matches(mine, theirs, lineage)) as Row;
  const tie = row.rule === 'equal-copies';
  const outcome = tie
    ? equalCopies(preferSelf ? 'mine' : 'theirs', mine, theirs)
    : row.decide(mine, theirs, lineage);
  const because = row.because(mine, theirs);
  if (outcome === 'wait' || outcome === 'refuse') {
    return {
      action: outcome,
      rule: row.rule,
      because,
      scope: 'none',
      compare: false,
      targetStaysUpToDate: false,
    };
  }
  const target = outcome.source === 'mine' ? theirs : mine;
  return {
    action: outcome.source === 'mine' ? 'source' : 'target',
    rule: row.rule,
    because,
    scope: outcome.scope,
    compare: target.diskDoubt === undefined,
    targetStaysUpToDate: outcome.staysUpToDate ?? false,
  };
}
