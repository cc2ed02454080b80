/** A secondary that reaches none of its addresses does not take over. The alone table and the fence are not looked at. */
import { expect } from 'chai';
import type { AloneAction, AloneSituation } from '../../src/cluster/decide-alone.ts';
import type { Decision } from '../../src/base/decision.ts';
import { Isolation } from '../../src/cluster/isolation.ts';
import { VirtualClock } from '../base/virtual-clock.ts';
import { forEachSituation, timers } from './alone-universe.ts';

const claim: Decision<AloneAction> = { action: 'claim', rule: 'secondary-lost-peer', because: 'silent' };

function situationOf(change: Partial<AloneSituation>): AloneSituation {
  let found: AloneSituation | undefined;
  forEachSituation((situation) => (found ??= { ...situation }));
  return {
    ...(found as AloneSituation),
    peer: 'silent',
    primary: false,
    silenceMs: timers.claimAfterMs,
    ...change,
  };
}

describe('a node that knows addresses', () => {
  let clock: VirtualClock;
  let answer: (reached: boolean) => void;
  let asked: number;
  let isolation: Isolation;

  beforeEach(() => {
    clock = new VirtualClock();
    asked = 0;
    const reachAny = (answered: (reached: boolean) => void): void => {
      asked += 1;
      answer = answered;
    };
    isolation = new Isolation({ addresses: ['192.0.2.1'], reachAny }, clock, () => {});
  });
  const review = (change: Partial<AloneSituation> = {}, decision = claim): Decision<AloneAction> =>
    isolation.review(decision, situationOf(change), timers);

  it('asks before its time to claim has come, so that nothing is delayed', () => {
    const wait: Decision<AloneAction> = { action: 'wait', rule: 'claim-delay', because: 'not yet' };
    expect(review({ silenceMs: timers.lostAfterMs - 1 }, wait)).to.equal(wait);
    expect(asked).to.equal(0);
    expect(review({ silenceMs: timers.lostAfterMs }, wait)).to.equal(wait);
    expect(asked).to.equal(1);
    answer(true);
    expect(review()).to.equal(claim);
  });

  it('waits while it reaches nobody, says so, and goes on when it does', () => {
    expect(review().rule).to.equal('reaches-nobody');
    answer(false);
    const { action, because } = review();
    expect(action).to.equal('wait');
    expect(because).to.contain('none of 192.0.2.1');
    clock.advance(1000);
    review();
    expect(asked).to.equal(2);
    answer(true);
    expect(review()).to.equal(claim);
  });

  it('waits too where a split brain is allowed, and nobody would be asked', () => {
    const goOn = { action: 'go-on-without-arbiter', rule: 'split-brain-allowed', because: 'silent' } as const;
    expect(review({}, goOn).rule).to.equal('reaches-nobody');
    answer(true);
    expect(review({}, goOn)).to.equal(goOn);
  });

  it('does not go by an answer that is old', () => {
    review();
    answer(true);
    clock.advance(3001);
    expect(review().rule).to.equal('reaches-nobody');
  });

  it('never changes what a primary does, what an operator asked for, or what the peer said of itself', () => {
    for (const change of [{ primary: true }, { forced: true }, { peer: 'out' }, { peer: 'new' }] as const)
      expect(review(change)).to.equal(claim);
    expect(asked).to.equal(0);
  });

  it('makes nothing allowed: what waits for another reason goes on waiting', () => {
    review();
    answer(true);
    const wait: Decision<AloneAction> = { action: 'wait', rule: 'not-up-to-date', because: 'outdated' };
    expect(review({}, wait)).to.equal(wait);
  });
});
