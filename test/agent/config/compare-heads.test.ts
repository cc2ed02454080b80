/** The table of heads over all pairs of histories that a small tree of revisions can give, also cut at their old end. */
import { expect } from 'chai';
import {
  commonAncestor,
  compareHeads,
  type HeadFacts,
  headTable,
  type HeadVerdict,
} from '../../../src/agent/config/compare-heads.ts';

/** Chains of a tree: a-b-c-d, and two branches from it; each as a whole and without its oldest revisions. */
const chains = ['', 'a', 'ab', 'abc', 'abcd', 'abx', 'abxy', 'av', 'o'];
const histories: readonly HeadFacts[] = chains.flatMap((chain) =>
  Array.from({ length: Math.max(1, chain.length) }, (_none, dropped) => ({
    ids: chain.split('').slice(dropped),
    number: chain.length,
  })),
);
const chainOf = ({ ids, number }: HeadFacts): string =>
  chains.find((chain) => chain.length === number && chain.endsWith(ids.join(''))) ?? '';

const mirrored: Readonly<Record<HeadVerdict, HeadVerdict>> = {
  same: 'same',
  behind: 'ahead',
  ahead: 'behind',
  diverged: 'diverged',
};

describe('comparison of heads', () => {
  it('every pair of histories has a verdict, the other node has its mirror, and every rule is used', () => {
    const used = new Set<string>();
    for (const mine of histories) {
      for (const theirs of histories) {
        const { verdict, rule, because } = compareHeads(mine, theirs);
        used.add(rule);
        expect(because).to.not.equal('');
        expect(compareHeads(theirs, mine).verdict).to.equal(mirrored[verdict]);
      }
    }
    expect([...used].sort()).to.deep.equal(headTable.map(({ rule }) => rule).sort());
  });

  it('the verdict is what the whole chains say, or diverged where the kept part does not show it', () => {
    for (const mine of histories) {
      for (const theirs of histories) {
        const [own, other] = [chainOf(mine), chainOf(theirs)];
        let truth: HeadVerdict = 'diverged';
        if (own === other) truth = 'same';
        else if (other.startsWith(own)) truth = 'behind';
        else if (own.startsWith(other)) truth = 'ahead';
        const { verdict, rule } = compareHeads(mine, theirs);
        if (rule === 'history-too-short') expect(verdict).to.equal('diverged');
        else expect(verdict, `${own} against ${other}: ${rule}`).to.equal(truth);
      }
    }
  });

  it('the common ancestor is the newest revision that both keep', () => {
    const facts = (chain: string): HeadFacts => ({ ids: chain.split(''), number: chain.length });
    expect(commonAncestor(facts('abc'), facts('abxy'))).to.equal('b');
    expect(commonAncestor(facts('abc'), facts('o'))).to.equal(undefined);
  });
});
