import { expect } from 'chai';
import { ResyncReport } from '../../src/cluster/resync-report.ts';
import type { ResyncVerdict } from '../../src/cluster/decide-resync.ts';

const verdict: ResyncVerdict = {
  action: 'source',
  rule: 'one-up-to-date',
  because: 'the other is fresh',
  scope: 'full',
  compare: true,
  targetStaysUpToDate: false,
};
const totalBytes = 1_000_000;

describe('report of a resync', () => {
  it('a steady resync tells its rate and when it ends', () => {
    const report = new ResyncReport('source', verdict, 5000);
    for (let ms = 500; ms <= 2000; ms += 500)
      report.observe(5000 + ms, { totalBytes, examinedBytes: ms * 100, sentBytes: ms * 10 });
    expect(report.progress(7000)).to.deep.equal({
      direction: 'source',
      rule: 'one-up-to-date',
      because: 'the other is fresh',
      totalBytes,
      examinedBytes: 200_000,
      sentBytes: 20_000,
      elapsedMs: 2000,
      bytesPerSecond: 100_000,
      etaMs: 8000,
    });
  });

  it('a hole that is passed at once does not promise the end', () => {
    const report = new ResyncReport('source', verdict, 0);
    for (let ms = 500; ms <= 10_000; ms += 500)
      report.observe(ms, { totalBytes, examinedBytes: ms, sentBytes: 0 });
    const before = report.progress(10_000).etaMs as number;
    report.observe(10_500, { totalBytes, examinedBytes: 110_000, sentBytes: 0 });
    expect(report.progress(10_500).etaMs).to.be.within(before / 50, before);
    for (let ms = 500; ms <= 30_000; ms += 500)
      report.observe(10_500 + ms, { totalBytes, examinedBytes: 110_000 + ms, sentBytes: 0 });
    expect(report.progress(40_500).etaMs).to.be.above(before / 4);
  });

  it('nothing moves yet: no end is promised', () => {
    const report = new ResyncReport('target', verdict, 0);
    report.observe(500, { totalBytes, examinedBytes: 0, sentBytes: 0 });
    expect(report.progress(500).etaMs).to.equal(undefined);
  });

  it('one that is over tells its totals and its average', () => {
    const report = new ResyncReport('source', verdict, 1000);
    report.observe(3000, { totalBytes, examinedBytes: totalBytes, sentBytes: 1024 });
    expect(report.totals(5000)).to.include({
      elapsedMs: 4000,
      bytesPerSecond: 250_000,
      etaMs: 0,
      sentBytes: 1024,
    });
    expect(report.sentence(5000)).to.equal('976.6 KiB examined, 1 KiB sent in 4.0 s');
  });
});
