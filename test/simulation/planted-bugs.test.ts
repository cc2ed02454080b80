/** Every bug that `npm run sim:bugs` plants has its place in the source as it is: one that moved would be found out only hours later. */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { blindBugs } from './blind-bugs.ts';
import { plantedBugs } from './planted-bugs.ts';

const root = new URL('../../', import.meta.url);

describe('planted bugs', () => {
  for (const [name, { edits }] of Object.entries({ ...plantedBugs, ...blindBugs }))
    it(`${name} has its place, once`, () => {
      for (const { file, find } of edits) {
        const places = readFileSync(new URL(file, root), 'utf8').split(find).length - 1;
        expect([file, places]).to.deep.equal([file, 1]);
      }
    });
});
