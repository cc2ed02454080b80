import { expect } from 'chai';
import fc from 'fast-check';
import { CheckWatch } from '../../src/checks/check-watch.ts';

function states(watch: CheckWatch, results: string): string[] {
  return results.split('').map((each, index) => {
    watch.observe({ ok: each === '+', because: each }, index);
    return watch.state;
  });
}

describe('the results of a check', () => {
  it('fails when so many of the last ones failed, and is well after as many good ones in a row', () => {
    const watch = new CheckWatch({ fails: 2, of: 3, recovers: 2 });
    expect(states(watch, '+-+-+++-').join(' ')).to.equal('well well well failing failing well well well');
  });

  it('the first good one is enough for one that was never asked, a bad one is not', () => {
    const watch = new CheckWatch({ fails: 2, of: 2, recovers: 2 });
    expect(states(watch, '-+')).to.deep.equal(['unknown', 'well']);
    expect(watch.isSteady).to.equal(true);
  });

  it('one that may be about to fail is not steady, and knows since when', () => {
    const watch = new CheckWatch({ fails: 3, of: 3, recovers: 1 });
    states(watch, '++');
    watch.observe({ ok: false, because: 'gone' }, 70);
    watch.observe({ ok: false, because: 'gone' }, 80);
    expect([watch.state, watch.isSteady, watch.firstBadMs]).to.deep.equal(['well', false, 70]);
  });

  it('forgotten, it counts from the beginning', () => {
    const watch = new CheckWatch({ fails: 2, of: 2, recovers: 1 });
    states(watch, '+--');
    watch.forget();
    expect([watch.state, ...states(watch, '--')]).to.deep.equal(['unknown', 'unknown', 'failing']);
    watch.forget('idle');
    expect(watch.state).to.equal('idle');
  });

  it('whatever comes, it fails only with enough failures among the last ones, and recovers only after enough good ones', () => {
    const hysteresis = fc
      .record({
        of: fc.integer({ min: 1, max: 6 }),
        part: fc.nat(5),
        recovers: fc.integer({ min: 1, max: 4 }),
      })
      .map(({ of, part, recovers }) => ({ fails: 1 + (part % of), of, recovers }));
    fc.assert(
      fc.property(hysteresis, fc.array(fc.boolean(), { maxLength: 40 }), (settings, results) => {
        const watch = new CheckWatch(settings);
        results.forEach((ok, index) => {
          const before = watch.state;
          watch.observe({ ok, because: '' }, index);
          const seen = results.slice(0, index + 1);
          const bad = seen.slice(-settings.of).filter((each) => !each).length;
          if (watch.state === 'failing' && before !== 'failing') expect(bad).to.be.at.least(settings.fails);
          if (watch.state === 'well' && before === 'failing')
            expect(seen.slice(-settings.recovers).every(Boolean)).to.equal(true);
        });
      }),
    );
  });
});
