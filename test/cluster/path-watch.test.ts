/** Silence of the peer in virtual time, seen from both ends. */
import { expect } from 'chai';
import fc from 'fast-check';
import { PathWatch } from '../../src/cluster/path-watch.ts';
import { VirtualClock } from '../base/virtual-clock.ts';

function setUp(): { clock: VirtualClock; watch: PathWatch } {
  const clock = new VirtualClock();
  return { clock, watch: new PathWatch(clock) };
}

describe('watch of one network', () => {
  it('silence grows with time and ends with a heartbeat of a peer that hears this node', () => {
    const { clock, watch } = setUp();
    clock.advance(700);
    expect(watch.silenceMs).to.equal(700);
    watch.observeHeartbeat(0, 0, 0);
    expect(watch.silenceMs).to.equal(0);
    clock.advance(500);
    expect([watch.silenceMs, watch.unheardMs]).to.deep.equal([500, 500]);
  });

  it('a cut towards the peer alone is seen here too, although its heartbeats arrive', () => {
    const { clock, watch } = setUp();
    for (let ageMs = 0; ageMs <= 3000; ageMs += 500) {
      watch.observeHeartbeat(ageMs, 0, 0);
      expect(watch.unheardMs).to.equal(0);
      expect(watch.silenceMs).to.equal(ageMs);
      clock.advance(500);
    }
  });

  it('a cut in one direction is noticed by both ends at most one heartbeat apart', () => {
    const clock = new VirtualClock();
    const [deaf, dumb] = [new PathWatch(clock), new PathWatch(clock)];
    const noticedMs = { deaf: 0, dumb: 0 };
    for (let atMs = 0; atMs < 10_000; atMs += 500) {
      dumb.observeHeartbeat(deaf.unheardMs, 0, 0);
      if (atMs < 2000) deaf.observeHeartbeat(dumb.unheardMs, 0, 0);
      if (noticedMs.deaf === 0 && deaf.silenceMs > 3000) noticedMs.deaf = atMs;
      if (noticedMs.dumb === 0 && dumb.silenceMs > 3000) noticedMs.dumb = atMs;
      clock.advance(500);
    }
    expect(noticedMs.deaf).to.be.above(0);
    expect(Math.abs(noticedMs.deaf - noticedMs.dumb)).to.be.at.most(500);
  });

  it('other bytes show that the peer lives, not that it hears', () => {
    const { clock, watch } = setUp();
    clock.advance(4000);
    watch.observeBytes();
    expect([watch.unheardMs, watch.silenceMs]).to.deep.equal([0, 4000]);
  });

  it('a heartbeat that was delayed on its way takes nothing back', () => {
    const { clock, watch } = setUp();
    clock.advance(1000);
    watch.observeHeartbeat(100, 0, 0);
    watch.observeHeartbeat(900, 0, 0);
    expect(watch.silenceMs).to.equal(100);
  });

  it('a new connection counts from now', () => {
    const { clock, watch } = setUp();
    clock.advance(9000);
    watch.opened();
    expect([watch.unheardMs, watch.silenceMs]).to.deep.equal([0, 0]);
  });

  it('silence is never negative and never longer than since the last restart', () => {
    const event = fc.oneof(
      fc.tuple(fc.constant('time' as const), fc.nat({ max: 5000 })),
      fc.tuple(fc.constant('heartbeat' as const), fc.nat({ max: 2 ** 31 })),
      fc.tuple(fc.constant('bytes' as const), fc.constant(0)),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 50 }), (events) => {
        const { clock, watch } = setUp();
        const startMs = clock.nowMs();
        for (const [kind, value] of events) {
          if (kind === 'time') clock.advance(value);
          else if (kind === 'heartbeat') watch.observeHeartbeat(value, 0, 0);
          else watch.observeBytes();
          expect(watch.silenceMs).to.be.within(0, clock.nowMs() - startMs);
          expect(watch.unheardMs).to.be.at.most(watch.silenceMs);
        }
      }),
    );
  });

  it('doubt ends only with a stamp that the peer gave back, not with a new connection or other bytes', () => {
    const { clock, watch } = setUp();
    clock.advance(2000);
    const { own } = watch.stamps;
    clock.advance(1000);
    watch.observeBytes();
    watch.opened();
    expect(watch.doubtMs).to.equal(3000);
    watch.observeHeartbeat(0, 77, own);
    expect(watch.doubtMs).to.equal(1000);
    expect(watch.stamps.returned).to.equal(77);
  });

  it('a stamp from the future, which no honest peer gives back, changes nothing', () => {
    const { clock, watch } = setUp();
    clock.advance(2000);
    watch.observeHeartbeat(0, 1, clock.nowMs() + 1);
    expect(watch.doubtMs).to.equal(2000);
  });

  it('the longest gap between heartbeats stays until a new connection, whatever other bytes arrive', () => {
    const { clock, watch } = setUp();
    watch.opened();
    for (const gapMs of [500, 1400, 500]) {
      clock.advance(gapMs / 2);
      watch.observeBytes();
      clock.advance(gapMs / 2);
      watch.observeHeartbeat(0, 0, 0);
    }
    expect(watch.heartbeatGapMaxMs).to.equal(1400);
    clock.advance(9000);
    watch.opened();
    expect(watch.heartbeatGapMaxMs).to.equal(0);
  });
});
