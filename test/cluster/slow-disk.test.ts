/** When a disk is slow and when it hangs, and what people are told, in virtual time. */
import { expect } from 'chai';
import { silentLog } from '../../src/base/log.ts';
import { DecisionLog } from '../../src/cluster/decision-log.ts';
import { hungBecause, type NamedWait, SlowDisk } from '../../src/cluster/slow-disk.ts';

const hungAfterMs = 7000;

function wait(ageMs: number, silentMs: number): NamedWait {
  return { name: 'volume disk0', ageMs, silentMs };
}

describe('slow disk', () => {
  it('hangs when it is silent for too long, or when a request is four times as old although the device works', () => {
    expect(hungBecause(wait(7000, 7000), hungAfterMs)).to.equal(undefined);
    expect(hungBecause(wait(7100, 7100), hungAfterMs)).to.equal('volume disk0 has not answered for 7 s');
    expect(hungBecause(wait(28_000, 100), hungAfterMs)).to.equal(undefined);
    expect(hungBecause(wait(12_000, 7100), hungAfterMs)).to.equal('volume disk0 has not answered for 12 s');
    expect(hungBecause(wait(28_100, 100), hungAfterMs)).to.equal(
      'volume disk0 has not answered for 28 s, although its device works',
    );
  });

  it('is told before anything happens, with its longest wait, until none was long for a while', () => {
    let nowMs = 0;
    const decisions = new DecisionLog(silentLog, () => '', 'VM');
    const slow = new SlowDisk({
      hungAfterMs,
      decisions,
      nowMs: () => nowMs,
      wallTime: () => '2026-01-02T03:04:05.678Z',
    });
    const rules = (): string[] => decisions.entries.map(({ rule }) => rule);
    slow.observe(wait(3000, 3000));
    expect(slow.sentence).to.equal(undefined);
    slow.observe(wait(3600, 200));
    slow.observe(wait(6000, 200));
    nowMs = 9000;
    slow.observe(wait(0, 0));
    expect(slow.sentence).to.equal(
      'volume disk0 is slow since 2026-01-02T03:04:05.678Z: a request has waited for 6 s, while its device works; ' +
        'look for what else writes to this disk; a request that waits for 28 s makes this node leave the pair',
    );
    nowMs = 10_000;
    slow.observe(wait(0, 0));
    expect(slow.sentence).to.equal(undefined);
    expect(rules()).to.deep.equal(['disk-slow-no-more', 'disk-slow']);
    slow.observe(wait(3600, 3600));
    expect(slow.sentence).to.include('waited for 4 s; look').and.include('waits for 7 s makes');
  });
});
