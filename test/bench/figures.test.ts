/** The arithmetic of the bench and the words of its verdicts. */
import { expect } from 'chai';
import { median, medianRatio, rotate, showNumber, verdictOf } from '../../bench/figures.ts';

describe('figures of the bench', () => {
  it('the median is the middle one, or the mean of the two in the middle, and nothing has none', () => {
    expect(median([9, 1, 5])).to.equal(5);
    expect(median([9, 1, 5, 7])).to.equal(6);
    expect(median([])).to.be.NaN;
  });

  it('a round in which the whole machine was slow does not change the ratio', () => {
    expect(medianRatio([200, 20, 220], [100, 10, 110])).to.equal(2);
    expect(medianRatio([200], [])).to.be.NaN;
  });

  it('a goal is met at its bound; what could not be measured has missed it', () => {
    const least = { bound: 'at least', value: 2.5 } as const;
    expect(verdictOf({ value: 2.5, goal: least })).to.equal('met');
    expect(verdictOf({ value: 2.49, goal: least })).to.equal('missed');
    expect(verdictOf({ value: Number.NaN, goal: least })).to.equal('missed');
    expect(verdictOf({ value: 81, goal: { bound: 'at most', value: 80 } })).to.equal('missed');
    expect(verdictOf({ value: 81 })).to.equal('no goal');
  });

  it('numbers keep about three digits', () => {
    expect([12345.6, 99.96, 1.234, Number.NaN].map(showNumber)).to.deep.equal([
      '12346',
      '100.0',
      '1.23',
      '-',
    ]);
  });

  it('in each round another system is first', () => {
    const orders = [0, 1, 2, 3].map((round) => rotate(['a', 'b', 'c'], round).join(''));
    expect(orders).to.deep.equal(['abc', 'bca', 'cab', 'abc']);
    expect(rotate([], 3)).to.deep.equal([]);
  });
});
