import { expect } from 'chai';
import { idleAfterMs, trimWhenIdle } from '../../src/platform/idle-memory.ts';
import { VirtualClock } from '../base/virtual-clock.ts';

describe('idle memory', () => {
  it('is given back once after each load, and not while it lasts', () => {
    const clock = new VirtualClock();
    let activity = 0;
    let trims = 0;
    const timer = trimWhenIdle(
      clock,
      () => activity,
      () => (trims += 1),
    );
    for (activity = 1; activity < 5; activity += 1) clock.advance(idleAfterMs);
    expect(trims).to.equal(0);
    clock.advance(5 * idleAfterMs);
    expect(trims).to.equal(1);
    activity += 1;
    clock.advance(5 * idleAfterMs);
    expect(trims).to.equal(2);
    timer.cancel();
    expect(clock.pendingCount).to.equal(0);
  });

  it('trims the heap of this process without complaint', () => {
    const clock = new VirtualClock();
    const timer = trimWhenIdle(clock, () => 0);
    clock.advance(2 * idleAfterMs);
    timer.cancel();
  });
});
