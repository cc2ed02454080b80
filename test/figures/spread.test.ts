/** How repeated runs become figures. */
import { expect } from 'chai';
import { verdictOf } from '../../bench/figures.ts';
import { quantile, sectionOf } from './spread.ts';

const measures = [{ id: 'stall', what: 'write stall', goalMs: 4000 }] as const;
const sectionFor = (values: readonly number[]) =>
  sectionOf({ title: 'A loss', how: 'Measured.', measures, runs: values.map((value) => [value]) });

describe('the spread of repeated runs', () => {
  it('a percentile is a value that occurred', () => {
    const values = Array.from({ length: 50 }, (_none, index) => 50 - index);
    expect([0.5, 0.9, 0.99, 1].map((share) => quantile(values, share))).to.deep.equal([25, 45, 50, 50]);
    expect(quantile([7], 0.5)).to.equal(7);
    expect(quantile([], 0.5)).to.be.NaN;
  });

  it('the goal is held against the maximum, which is called so', () => {
    const { figures, table } = sectionFor([3000, 4100, 3500]);
    expect(figures[0]).to.include({ what: 'write stall, maximum of 3', value: 4100 });
    expect(figures.map(verdictOf)).to.deep.equal(['missed']);
    expect(table.rows).to.deep.equal([['write stall', '3', '3500', '4100', '4100']]);
    expect(sectionFor([3000, 3999]).figures.map(verdictOf)).to.deep.equal(['met']);
  });

  it('one run in which it was not seen misses the goal, however good the others are', () => {
    expect(sectionFor([1000, Number.NaN, 1000]).figures.map(verdictOf)).to.deep.equal(['missed']);
    expect(sectionFor([]).figures.map(verdictOf)).to.deep.equal(['missed']);
  });
});
