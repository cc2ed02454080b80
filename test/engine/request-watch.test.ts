/** Ages of disk requests, in virtual time. */
import { expect } from 'chai';
import {
  type DeviceWork,
  frozenAfterMs,
  RequestWatch,
  WatchedDevice,
} from '../../src/engine/request-watch.ts';
import { VirtualClock } from '../base/virtual-clock.ts';
import { MemoryDevice } from '../nbd/memory-device.ts';
import { GuestRequest } from './engine-fixture.ts';

const lookIntervalMs = 100;

function fixture() {
  const clock = new VirtualClock();
  const device = new MemoryDevice(1024 * 1024);
  const failures: string[] = [];
  const work: { now: DeviceWork | undefined } = { now: undefined };
  const events = { flushFailed: () => failures.push('flush') };
  const watched = new WatchedDevice(device, clock, events, () => work.now);
  /** Looks every 100 ms until the time is over; the last age. */
  const after = (ms: number): number => {
    let ageMs = 0;
    for (let passed = 0; passed < ms; passed += lookIntervalMs) {
      clock.advance(lookIntervalMs);
      ({ ageMs } = watched.look());
    }
    return ageMs;
  };
  const silentMs = (): number => watched.look().silentMs;
  const write = (fua = false): GuestRequest => {
    const request = new GuestRequest();
    watched.write(0, 4096, [new Uint8Array(4096)], fua, request);
    return request;
  };
  return { clock, device, watched, failures, work, after, silentMs, write };
}

describe('request watch', () => {
  it('the age is that of the oldest request, whatever begins and ends after it', () => {
    const { device, after, write } = fixture();
    expect(after(1000)).to.equal(0);
    device.holding = true;
    write();
    after(3000);
    write();
    expect(after(1000)).to.be.within(3900, 4200);
    device.releaseOne();
    expect(after(100)).to.be.within(1000, 1300);
    device.releaseOne();
    expect(after(100)).to.equal(0);
  });

  it('a disk that answers in time is never old, however busy it is', () => {
    const { device, after, write } = fixture();
    device.holding = true;
    for (let turn = 0; turn < 100; turn += 1) {
      write();
      expect(after(200)).to.be.below(500);
      device.releaseOne();
    }
  });

  it('time in which this process did not run blames nobody', () => {
    const { clock, watched, device, write } = fixture();
    device.holding = true;
    write();
    clock.advance(60_000);
    expect(watched.look()).to.deep.equal({ ageMs: frozenAfterMs, silentMs: frozenAfterMs });
  });

  it('reads, flushes, zeroes, allocation maps and guarded calls count too', () => {
    const { device, watched, clock, after } = fixture();
    const request = new GuestRequest();
    const calls: (() => void)[] = [
      () => watched.read(0, 512, request),
      () => watched.flush(request),
      () => watched.zero(0, 512, { fua: false, mayPunch: true, fast: false }, request),
      () => watched.trim(0, 512, false, request),
      () => watched.allocation(0, 512, request),
    ];
    for (const call of calls) {
      request.answer = 'none';
      device.holding = true;
      call();
      expect(after(1000)).to.be.above(800);
      device.release();
      expect([request.answer, after(100)]).to.deep.equal(['ok', 0]);
    }
    const watch = new RequestWatch(clock);
    const done = watch.guard(() => {});
    clock.advance(900);
    expect(watch.look().ageMs).to.be.above(800);
    done(true);
    expect(watch.look().ageMs).to.equal(0);
  });

  it('a device that completes requests is not silent, however old ours is; one that stops is, from then on', () => {
    const { device, work, after, silentMs, write } = fixture();
    work.now = { reads: 5, changes: 100 };
    device.holding = true;
    write();
    expect(after(1500)).to.be.within(1400, 1600);
    for (let turn = 0; turn < 20; turn += 1) {
      work.now = { reads: 5, changes: 100 + turn };
      after(500);
    }
    expect(after(100)).to.be.above(11_000);
    expect(silentMs()).to.be.below(1000);
    after(5000);
    expect(silentMs()).to.be.within(5000, 6000);
  });

  it('a device that completes nothing is as silent as the oldest request is old', () => {
    const { device, work, after, silentMs, write } = fixture();
    work.now = { reads: 5, changes: 100 };
    device.holding = true;
    write();
    expect(after(5000)).to.be.above(4500).and.to.equal(silentMs());
  });

  it('reads that complete say nothing of a write that does not, and the reverse', () => {
    const { device, work, watched, after, silentMs, write } = fixture();
    const grow = (kind: keyof DeviceWork): void => {
      for (let turn = 0; turn < 10; turn += 1) {
        const { reads, changes } = work.now ?? { reads: 0, changes: 0 };
        work.now = { reads, changes, [kind]: turn };
        after(500);
      }
    };
    device.holding = true;
    write();
    grow('reads');
    expect(silentMs()).to.be.above(4000);
    grow('changes');
    expect(silentMs()).to.be.below(1000);
    device.release();
    device.holding = true;
    watched.read(0, 512, new GuestRequest());
    grow('changes');
    expect(silentMs()).to.be.above(4000);
    grow('reads');
    expect(silentMs()).to.be.below(1000);
  });

  it('a device whose counters go away is as silent as the oldest request is old', () => {
    const { device, work, after, silentMs, write } = fixture();
    device.holding = true;
    write();
    for (let turn = 0; turn < 10; turn += 1) {
      work.now = { reads: 0, changes: turn };
      after(500);
    }
    expect(silentMs()).to.be.below(1000);
    work.now = undefined;
    expect(after(100)).to.be.above(5000);
    expect(silentMs()).to.be.above(5000);
  });

  it('a failed flush, and a failed FUA write, are told before the answer; other failures are not', () => {
    const { device, watched, failures, write } = fixture();
    device.failures.push('io-error');
    write();
    expect(failures).to.deep.equal([]);
    device.failures.push('no-space');
    write(true);
    expect(failures).to.deep.equal([]);
    device.failures.push('io-error');
    write(true);
    expect(failures).to.deep.equal(['flush']);
    device.failures.push('io-error');
    let toldBefore = 0;
    watched.flush({ done: () => (toldBefore = failures.length) });
    expect(toldBefore).to.equal(2);
  });
});
