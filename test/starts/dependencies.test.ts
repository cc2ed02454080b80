/** What is wrong with who starts after whom, found before anything runs. */
import { expect } from 'chai';
import { allBefore, cycleThrough, findDependencyProblems } from '../../src/starts/dependencies.ts';

const set = (edges: Readonly<Record<string, readonly string[]>>) =>
  Object.entries(edges).map(([module, after]) => ({ module, after }));

describe('dependencies between modules', () => {
  it('a set in order has no problem', () => {
    expect(findDependencyProblems(set({ db: [], cache: ['db'], app: ['db', 'cache'] }))).to.deep.equal([]);
  });

  it('a name that no module has is named with who wants it', () => {
    expect(findDependencyProblems(set({ app: ['db'] }))).to.deep.equal([
      { module: 'app', kind: 'unknown-name', names: ['db'] },
    ]);
  });

  it('a cycle is found once, as the way around it', () => {
    const ring = set({ a: ['b'], b: ['c'], c: ['a'], d: ['a'] });
    expect(findDependencyProblems(ring)).to.deep.equal([
      { module: 'a', kind: 'cycle', names: ['a', 'b', 'c', 'a'] },
    ]);
    expect(cycleThrough('d', ring)).to.equal(undefined);
  });

  it('two cycles are two problems, and one that names itself is a cycle', () => {
    const problems = findDependencyProblems(set({ a: ['b'], b: ['a'], c: ['c'] }));
    expect(problems.map(({ names }) => names)).to.deep.equal([
      ['a', 'b', 'a'],
      ['c', 'c'],
    ]);
  });

  it('what a module is after, it is after through others as well', () => {
    const all = set({ app: ['cache'], cache: ['db'], db: [] });
    expect([...allBefore('app', all)].sort()).to.deep.equal(['cache', 'db']);
    expect(allBefore('db', all).size).to.equal(0);
  });
});
