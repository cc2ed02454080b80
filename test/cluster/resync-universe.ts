/**
 * Every combination of what two copies can say of themselves, over a small universe of lineages, in two parts that together
 * are small enough to run through: all data flags, lineages and bases; and all other facts over one pair of each lineage.
 */
import type { CopyFacts } from '../../src/link/control-messages.ts';

const ids = { a: 'a'.repeat(32), b: 'b'.repeat(32), c: 'c'.repeat(32), d: 'd'.repeat(32), x: 'e'.repeat(32) };
export const bootIds = { mine: '1'.repeat(32), theirs: '2'.repeat(32) };

/** `c` follows `b` follows `a`; `d` also follows `a`; `x` shares nothing; the last has lost its oldest entry. */
const paths: readonly (readonly (keyof typeof ids)[])[] = [
  [],
  ['a'],
  ['a', 'b'],
  ['a', 'b', 'c'],
  ['a', 'd'],
  ['x'],
  ['b', 'c'],
];

export const dataFlags = ['fresh', 'up-to-date', 'outdated', 'inconsistent'] as const;
type Side = 'mine' | 'theirs';
type Lineage = Pick<CopyFacts, 'path' | 'base' | 'generation'>;
type Flags = Pick<CopyFacts, 'claimOpen' | 'guestRuns' | 'rebooted' | 'lastRole' | 'diskDoubt' | 'alone'> & {
  readonly resumes: boolean;
};

const generations: Readonly<Record<keyof typeof ids, number>> = { a: 1, b: 2, c: 3, d: 2, x: 1 };

const lineages: readonly Lineage[] = paths.flatMap((path) => {
  const last = path.at(-1);
  const lineage = { path: path.map((id) => ids[id]), generation: last === undefined ? 0 : generations[last] };
  return [lineage, ...path.map((base) => ({ ...lineage, base: ids[base] }))];
});

const booleans = [false, true] as const;
const flags: readonly Flags[] = booleans.flatMap((claimOpen) =>
  booleans.flatMap((guestRuns) =>
    booleans.flatMap((rebooted) =>
      booleans.flatMap((resumes) =>
        (['primary', 'secondary'] as const).map((lastRole) => ({
          claimOpen,
          guestRuns,
          rebooted,
          resumes,
          lastRole,
        })),
      ),
    ),
  ),
);

/** A process that opened a disk in doubt counts as rebooted, serves nothing and resumes nothing. */
const doubts: readonly Flags[] = (['flush-failed', 'file-replaced'] as const).flatMap((diskDoubt) =>
  flags
    .filter(({ claimOpen, guestRuns, rebooted, resumes }) => !claimOpen && !guestRuns && rebooted && !resumes)
    .map((flag) => ({ ...flag, diskDoubt })),
);
const allFlags = [...flags, ...doubts];

function facts(side: Side, data: CopyFacts['data'], lineage: Lineage, own: Flags): CopyFacts {
  const { resumes, ...rest } = own;
  const peerBoot = bootIds[side === 'mine' ? 'theirs' : 'mine'];
  return {
    data,
    ...lineage,
    ...rest,
    bootId: bootIds[side],
    ...(resumes ? { resumeWithBoot: peerBoot } : {}),
  };
}

/** Calls `visit` with every pair; their number is returned. */
export function forEachPair(visit: (mine: CopyFacts, theirs: CopyFacts) => void): number {
  const first = flags.find((each) => !each.claimOpen) as Flags;
  const opposite = {
    ...first,
    guestRuns: true,
    rebooted: true,
    resumes: true,
    lastRole: 'secondary' as const,
  };
  const middle = lineages.filter(
    ({ path, base }) => path.length === 2 && path[1] === ids.b && base === ids.a,
  );
  let count = 0;
  const each = (mine: CopyFacts, theirs: CopyFacts): void => {
    count += 1;
    visit(mine, theirs);
  };
  const perSide = (side: Side, own: readonly Lineage[], ownFlags: readonly Flags[]): CopyFacts[] =>
    dataFlags.flatMap((data) =>
      own.flatMap((lineage) => ownFlags.map((flag) => facts(side, data, lineage, flag))),
    );

  const few = [{ ...first, alone: true }, opposite, { ...first, claimOpen: true }, ...doubts.slice(0, 3)];
  const theirsAll = perSide('theirs', lineages, few);
  for (const mine of perSide('mine', lineages, few)) for (const theirs of theirsAll) each(mine, theirs);

  const theirsMany = perSide(
    'theirs',
    lineages.filter(({ base }) => base === undefined || base === ids.a),
    allFlags,
  );
  for (const mine of perSide('mine', middle, allFlags)) for (const theirs of theirsMany) each(mine, theirs);
  return count;
}
