/** Ages of disk requests, in virtual time. */
import { expect } from 'chai';
import { frozenAfterMs, RequestWatch, WatchedDevice } from '../../src/engine/request-watch.ts';
import { VirtualClock } from '../base/virtual-clock.ts';
import { MemoryDevice } from '../nbd/memory-device.ts';
import { GuestRequest } from './engine-fixture.ts';

const lookIntervalMs = 100;

function fixture() {
  const clock = new VirtualClock();
  const watch = new RequestWatch(clock);
  const device = new MemoryDevice(1024 * 1024);
  const failures: string[] = [];
  const watched = new WatchedDevice(device, watch, { flushFailed: () => failures.push('flush') });
  /** Looks every 100 ms until the time is over; the last age. */
  const after = (ms: number): number => {
    let ageMs = 0;
    for (let passed = 0; passed < ms; passed += lookIntervalMs) {
      clock.advance(lookIntervalMs);
      ageMs = watch.look();
    }
    return ageMs;
  };
  const write = (fua = false): GuestRequest => {
    const request = new GuestRequest();
    watched.write(0, 4096, [new Uint8Array(4096)], fua, request);
    return request;
  };
  return { clock, watch, device, watched, failures, after, write };
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
    const { clock, watch, device, write } = fixture();
    device.holding = true;
    write();
    clock.advance(60_000);
    expect(watch.look()).to.equal(frozenAfterMs);
  });

  it('reads, flushes, zeroes, allocation maps and guarded calls count too', () => {
    const { watch, device, watched, after } = fixture();
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
    const done = watch.guard(() => {});
    expect(after(1000)).to.be.above(800);
    done(true);
    expect(after(100)).to.equal(0);
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
