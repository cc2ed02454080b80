/**
 * `npm run sim:bugs [-- NAME...]`: plants each bug of planted-bugs.ts in a copy of the sources and runs seeds until one finds it.
 * Prints a table of the seeds that were needed. Exit code 1 when a bug was not found within its limit.
 */
import { findPlanted, plantedBug } from './find-planted.ts';
import { plantedBugs } from './planted-bugs.ts';

const names = process.argv.slice(2);
const chosen = names.length > 0 ? names : Object.keys(plantedBugs);
let missed = 0;
for (const name of chosen) {
  const bug = plantedBug(name);
  const found = await findPlanted(bug);
  if (found === undefined) missed += 1;
  const where = found === undefined ? 'NOT FOUND' : `seed ${found.seed}`;
  console.log(`${name.padEnd(30)} ${where.padEnd(9)} of ${String(bug.seedsMax).padEnd(4)} ${bug.because}`);
  if (found !== undefined) console.log(`${''.padEnd(31)}${found.violation}`);
}
console.log(`${chosen.length} bugs, ${missed} not found`);
process.exitCode = missed === 0 ? 0 : 1;
