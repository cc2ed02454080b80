/** Runs seeds against a copy of the sources with a planted bug until one of them violates something. */
import { plantedBugs, type PlantedBug } from './planted-bugs.ts';
import { withPlanted } from './planted-tree.ts';
import type { SeedReport } from './run-seed.ts';
import { runSeeds, seedsFrom } from './seed-pool.ts';

export interface FoundBug {
  readonly seed: number;
  /** The first line of what it broke, without the parts that differ from run to run. */
  readonly violation: string;
}

/** The first seed, from 1 on, that finds it; `undefined`: none within its limit. */
export function findPlanted(
  { edits, seedsMax }: PlantedBug,
  { workers }: { readonly workers?: number } = {},
): Promise<FoundBug | undefined> {
  return withPlanted(edits, async (root) => {
    let found: FoundBug | undefined;
    await runSeeds<SeedReport>(
      seedsFrom(1, seedsMax),
      ({ seed, violation }) => {
        if (violation === undefined) return true;
        found = {
          seed,
          violation: (violation.split('\n')[0] as string).replace(/^seed \d+: /, '').slice(0, 90),
        };
        return false;
      },
      { root, ...(workers === undefined ? {} : { workers }) },
    );
    return found;
  });
}

/** A bug by its name; throws when there is none. */
export function plantedBug(name: string): PlantedBug {
  const bug = plantedBugs[name];
  if (bug === undefined)
    throw new Error(`no planted bug ${name}; there are ${Object.keys(plantedBugs).join(', ')}`);
  return bug;
}
