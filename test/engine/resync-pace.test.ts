/** The pace against a link that moves a fixed number of bytes per ms, in virtual time. What a guest notices is measured by the bench. */
import { expect } from 'chai';
import { chunkBytesMax, ResyncPace, shareMin } from '../../src/engine/resync-pace.ts';

const capacityBytesPerMs = 500_000;

interface Run {
  readonly ms: number;
  readonly openRequests: (nowMs: number) => number;
  /** Everything happens only so often: a busy host. */
  readonly stepMs?: number;
  readonly capacity?: (nowMs: number) => number;
}

/** A resync without end; its bytes per ms in each step. */
class PacedResync {
  readonly pace: ResyncPace;
  nowMs = 0;
  readonly #inFlight: { readonly bytes: number; left: number }[] = [];
  largestInFlightBytes = 0;

  bytesPerSecondMax: number | undefined;

  constructor(bytesPerSecondMax?: number) {
    this.bytesPerSecondMax = bytesPerSecondMax;
    this.pace = new ResyncPace(() => this.bytesPerSecondMax);
  }

  /** Bytes per ms that were moved. */
  run({ ms, openRequests, stepMs = 1, capacity = () => capacityBytesPerMs }: Run): number {
    const { pace } = this;
    const endMs = this.nowMs + ms;
    let moved = 0;
    while (this.nowMs < endMs) {
      this.nowMs += stepMs;
      let budget = capacity(this.nowMs) * stepMs;
      for (let first = this.#inFlight[0]; first !== undefined && budget > 0; first = this.#inFlight[0]) {
        const part = Math.min(budget, first.left);
        budget -= part;
        first.left -= part;
        if (first.left > 0) break;
        this.#inFlight.shift();
        moved += first.bytes;
        pace.ended(this.nowMs, first.bytes);
      }
      pace.observeGuest(this.nowMs, openRequests(this.nowMs));
      while (this.#bytes() + pace.chunkBytes <= pace.inFlightBytes && pace.waitMs(this.nowMs) === 0) {
        const bytes = pace.chunkBytes;
        pace.began(this.nowMs, bytes);
        this.#inFlight.push({ bytes, left: bytes });
      }
      this.largestInFlightBytes = Math.max(this.largestInFlightBytes, this.#bytes());
    }
    return moved / ms;
  }

  #bytes(): number {
    return this.#inFlight.reduce((sum, { bytes }) => sum + bytes, 0);
  }
}

const rests = (): number => 0;
const works = (): number => 4;
const share = (rate: number): number => rate / capacityBytesPerMs;

describe('pace of a resync', () => {
  it('the guest rests: as fast as the link', () => {
    expect(share(new PacedResync().run({ ms: 2000, openRequests: rests }))).to.be.above(0.98);
  });

  it('the guest works all the time: slower, and never below the share', () => {
    const resync = new PacedResync();
    resync.run({ ms: 1000, openRequests: rests });
    resync.run({ ms: 500, openRequests: works });
    expect(share(resync.run({ ms: 5000, openRequests: works }))).to.be.within(
      shareMin * 0.95,
      shareMin * 1.1,
    );
  });

  it('the guest has worked since before the resync: the share is learnt within a fraction of a second', () => {
    const resync = new PacedResync();
    resync.run({ ms: 300, openRequests: works });
    expect(share(resync.run({ ms: 5000, openRequests: works }))).to.be.within(shareMin * 0.9, shareMin * 1.1);
  });

  it('the guest works half of the time: in between', () => {
    const resync = new PacedResync();
    resync.run({ ms: 1000, openRequests: rests });
    const half = (nowMs: number): number => (nowMs % 10 < 5 ? 1 : 0);
    resync.run({ ms: 500, openRequests: half });
    expect(share(resync.run({ ms: 5000, openRequests: half }))).to.be.within(0.42, 0.6);
  });

  it('the guest stops working: full speed within a second', () => {
    const resync = new PacedResync();
    resync.run({ ms: 2000, openRequests: works });
    resync.run({ ms: 1000, openRequests: rests });
    expect(share(resync.run({ ms: 1000, openRequests: rests }))).to.be.above(0.98);
  });

  it('beside a guest, chunks are small and less stands in the link', () => {
    const resync = new PacedResync();
    resync.run({ ms: 1000, openRequests: works });
    expect(resync.pace.chunkBytes).to.be.at.most(chunkBytesMax / 4);
    resync.largestInFlightBytes = 0;
    resync.run({ ms: 1000, openRequests: works });
    expect(resync.largestInFlightBytes).to.be.at.most(4 * chunkBytesMax);
  });

  it('a host on which everything is late keeps the share', () => {
    const resync = new PacedResync();
    resync.run({ ms: 2000, openRequests: rests, stepMs: 9 });
    resync.run({ ms: 500, openRequests: works, stepMs: 9 });
    const rate = resync.run({ ms: 5000, openRequests: works, stepMs: 9 });
    expect(share(rate)).to.be.within(shareMin * 0.75, shareMin * 1.1);
  });

  it('a link that has become slower for good is noticed beside a guest that never rests', () => {
    const resync = new PacedResync();
    resync.run({ ms: 1000, openRequests: rests });
    const slow = { openRequests: works, capacity: () => capacityBytesPerMs / 10 };
    for (let minute = 0; minute < 30; minute += 1) resync.run({ ms: 61_000, stepMs: 10, ...slow });
    const rate = resync.run({ ms: 30_000, stepMs: 10, ...slow });
    expect(share(rate)).to.be.at.most(0.06);
  });

  it('holes do not count as speed', () => {
    const resync = new PacedResync();
    resync.run({ ms: 1000, openRequests: rests });
    for (let hole = 0; hole < 1000; hole += 1) {
      resync.pace.began(resync.nowMs, 0);
      resync.pace.ended(resync.nowMs, 0);
    }
    resync.run({ ms: 500, openRequests: works });
    expect(share(resync.run({ ms: 3000, openRequests: works }))).to.be.within(shareMin * 0.9, shareMin * 1.1);
  });

  it('a configured limit is kept while the guest rests, and shared while it works', () => {
    const limit = 50_000_000;
    const resync = new PacedResync(limit);
    resync.run({ ms: 1000, openRequests: rests });
    expect(resync.run({ ms: 5000, openRequests: rests }) * 1000).to.be.within(limit * 0.95, limit * 1.02);
    resync.run({ ms: 1000, openRequests: works });
    expect(resync.run({ ms: 5000, openRequests: works }) * 1000).to.be.within(limit * 0.3, limit * 0.5);
  });

  it('an operator who changes the limit of a resync that runs is obeyed with the next chunk', () => {
    const resync = new PacedResync(50_000_000);
    expect(resync.run({ ms: 1000, openRequests: rests })).to.be.within(45_000, 55_000);
    resync.bytesPerSecondMax = 100_000_000;
    expect(resync.run({ ms: 1000, openRequests: rests })).to.be.within(95_000, 105_000);
    resync.bytesPerSecondMax = undefined;
    expect(share(resync.run({ ms: 2000, openRequests: rests }))).to.be.above(0.9);
  });
});
