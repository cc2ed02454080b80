/**
 * Which of two nodes has the newer configuration: a literal table over what each tells of its history, evaluated from the
 * top. Pure. Numbers and times decide nothing: only whether the head of one stands in the history of the other.
 */

/** What a node tells of its history. */
export interface HeadFacts {
  /** Identifiers of the revisions that it keeps, oldest first; the last one is its head. Empty: it has no configuration. */
  readonly ids: readonly string[];
  /** Number of the head; 0: none. */
  readonly number: number;
}

/** From the view of the node that compares: `behind` takes over, `ahead` is taken over from. */
export type HeadVerdict = 'same' | 'behind' | 'ahead' | 'diverged';

export interface HeadComparison {
  readonly verdict: HeadVerdict;
  readonly rule: string;
  readonly because: string;
}

interface HeadRow {
  readonly rule: string;
  readonly verdict: HeadVerdict;
  readonly matches: (mine: HeadFacts, theirs: HeadFacts) => boolean;
  readonly because: string;
}

export function headOf({ ids }: HeadFacts): string | undefined {
  return ids.at(-1);
}

const has = (facts: HeadFacts, id: string | undefined): boolean => id !== undefined && facts.ids.includes(id);
/** Number of the oldest revision that is kept. */
const oldest = ({ ids, number }: HeadFacts): number => number - ids.length + 1;

export const headTable: readonly HeadRow[] = [
  {
    rule: 'same-head',
    verdict: 'same',
    matches: (mine, theirs) => headOf(mine) === headOf(theirs),
    because: 'both nodes have the same configuration',
  },
  {
    rule: 'nothing-here',
    verdict: 'behind',
    matches: (mine) => headOf(mine) === undefined,
    because: 'this node has no configuration yet',
  },
  {
    rule: 'nothing-there',
    verdict: 'ahead',
    matches: (_mine, theirs) => headOf(theirs) === undefined,
    because: 'the other node has no configuration yet',
  },
  {
    rule: 'my-head-in-theirs',
    verdict: 'behind',
    matches: (mine, theirs) => has(theirs, headOf(mine)),
    because: 'the other node has every change of this node, and further ones',
  },
  {
    rule: 'their-head-in-mine',
    verdict: 'ahead',
    matches: (mine, theirs) => has(mine, headOf(theirs)),
    because: 'this node has every change of the other node, and further ones',
  },
  {
    rule: 'history-too-short',
    verdict: 'diverged',
    matches: (mine, theirs) => mine.number < oldest(theirs) || theirs.number < oldest(mine),
    because:
      'one node was away for longer than the history of the other one is kept, so nothing shows that one follows the other',
  },
  {
    rule: 'both-changed',
    verdict: 'diverged',
    matches: () => true,
    because: 'both nodes changed the configuration without each other',
  },
];

export function compareHeads(mine: HeadFacts, theirs: HeadFacts): HeadComparison {
  const row = headTable.find(({ matches }) => matches(mine, theirs)) as HeadRow;
  return { verdict: row.verdict, rule: row.rule, because: row.because };
}

/** The newest revision that both have; `undefined`: none that both still keep. */
export function commonAncestor(mine: HeadFacts, theirs: HeadFacts): string | undefined {
  return mine.ids.findLast((id) => theirs.ids.includes(id));
}
