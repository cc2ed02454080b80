import { expect } from 'chai';
import { decideJoin, type JoinFacts, joinTable } from '../../../src/agent/membership/decide-join.ts';

function forEachJoin(visit: (facts: JoinFacts) => void): void {
  for (const token of ['unknown', 'fresh', 'expired', 'used', 'used-by-this'] as const)
    for (const nameFits of [true, false])
      for (const keyRevoked of [true, false])
        for (const place of ['self', 'free', 'vacant', 'same-key', 'other-key', 'full'] as const)
          visit({ token, nameFits, keyRevoked, place });
}

describe('decision about a join', () => {
  it('every row is needed, and each refusal says what to do next', () => {
    const seen = new Set<string>();
    forEachJoin((facts) => {
      const { rule, action, next } = decideJoin(facts);
      seen.add(rule);
      expect(next === '', rule).to.equal(action !== 'refuse');
    });
    expect([...seen].toSorted()).to.deep.equal(joinTable.map(({ rule }) => rule).toSorted());
  });

  it('nobody gets a certificate without a token that is good, a key that is, and a place', () => {
    forEachJoin((facts) => {
      if (decideJoin(facts).action === 'refuse') return;
      expect(facts.token, JSON.stringify(facts)).to.be.oneOf(['fresh', 'used-by-this']);
      expect(facts.keyRevoked).to.equal(false);
      expect(facts.place).to.be.oneOf(['free', 'vacant', 'same-key']);
    });
  });

  it('who has no token learns nothing of the cluster', () => {
    forEachJoin((facts) => {
      if (facts.token === 'unknown') expect(decideJoin(facts).rule).to.equal('token-unknown');
    });
  });
});
