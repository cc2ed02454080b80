/** The activity log over a port that the test completes by hand: what costs a transaction, who shares one, what may be evicted. */
import { expect } from 'chai';
import fc from 'fast-check';
import { extentSizeBytes, hotExtentsMax } from '../../src/disk/state.ts';
import { ActivityLog, type ExtentUser } from '../../src/engine/activity-log.ts';

/** Keeps lists that are being written; `durable` is what a crash would leave. */
class ManualPort {
  readonly writes: { readonly hot: readonly number[]; readonly done: (ok: boolean) => void }[] = [];
  durable: readonly number[] = [];
  settleWishes = 0;

  write(hot: readonly number[], done: (ok: boolean) => void): void {
    this.writes.push({ hot, done });
  }

  wantSettled(): void {
    this.settleWishes += 1;
  }

  /** The oldest write becomes durable, or fails. */
  complete(ok = true): void {
    const write = this.writes.shift();
    if (write === undefined) throw new Error('no list is being written');
    if (ok) this.durable = write.hot;
    write.done(ok);
  }
}

class Write implements ExtentUser {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  hot = false;

  constructor(firstExtent: number, extentCount = 1) {
    this.offsetBytes = firstExtent * extentSizeBytes;
    this.lengthBytes = extentCount * extentSizeBytes;
  }

  extentsHot(): void {
    this.hot = true;
  }

  get extents(): number[] {
    const first = this.offsetBytes / extentSizeBytes;
    return Array.from({ length: this.lengthBytes / extentSizeBytes }, (_, index) => first + index);
  }
}

function reserve(log: ActivityLog, write: Write): Write {
  if (log.reserve(write)) write.hot = true;
  return write;
}

function setUp(): { port: ManualPort; log: ActivityLog } {
  const port = new ManualPort();
  return { port, log: new ActivityLog(port) };
}

/** Extents 0..255 are durably hot, written and not settled. */
function full(): { port: ManualPort; log: ActivityLog } {
  const { port, log } = setUp();
  const write = reserve(log, new Write(0, hotExtentsMax));
  port.complete();
  log.release(write);
  return { port, log };
}

function settle(log: ActivityLog): void {
  log.settled(log.beginSettling());
}

describe('activity log', () => {
  it('a cold write waits until its extents are durable', () => {
    const { port, log } = setUp();
    const write = reserve(log, new Write(7));
    expect(write.hot).to.equal(false);
    expect(port.writes[0]?.hot).to.deep.equal([7]);
    port.complete();
    expect(write.hot).to.equal(true);
    expect(log.hotExtents()).to.deep.equal([7]);
  });

  it('a write to hot extents costs no transaction', () => {
    const { port, log } = setUp();
    reserve(log, new Write(3, 2));
    port.complete();
    for (let round = 0; round < 100; round += 1) {
      const write = new Write(3 + (round % 2));
      expect(log.reserve(write)).to.equal(true);
      log.release(write);
    }
    expect(log.transactions).to.equal(1);
    expect(port.writes).to.have.length(0);
  });

  it('cold writes that come while a list is being written share the next one', () => {
    const { port, log } = setUp();
    const first = reserve(log, new Write(0));
    const others = [1, 2, 3, 4, 5].map((extent) => reserve(log, new Write(extent)));
    expect(port.writes).to.have.length(1);
    port.complete();
    expect(first.hot).to.equal(true);
    expect(others.every(({ hot }) => !hot)).to.equal(true);
    expect(port.writes).to.have.length(1);
    expect(port.writes[0]?.hot).to.deep.equal([0, 1, 2, 3, 4, 5]);
    port.complete();
    expect(others.every(({ hot }) => hot)).to.equal(true);
    expect(log.transactions).to.equal(2);
  });

  it('a write that needs an extent of the list under way is not hot before that list is durable', () => {
    const { port, log } = setUp();
    reserve(log, new Write(0));
    const second = reserve(log, new Write(0));
    expect(second.hot).to.equal(false);
    port.complete();
    expect(second.hot).to.equal(true);
    expect(log.transactions).to.equal(1);
  });

  it('nothing is evicted before it is settled; the log asks for that', () => {
    const { port, log } = full();
    const write = reserve(log, new Write(300));
    expect(port.writes).to.have.length(0);
    expect(port.settleWishes).to.equal(1);
    settle(log);
    expect(port.writes[0]?.hot).to.have.length(hotExtentsMax).and.to.include(300);
    port.complete();
    expect(write.hot).to.equal(true);
  });

  it('a settling pass that began before a write ended does not settle it', () => {
    const { port, log } = setUp();
    const write = reserve(log, new Write(0, hotExtentsMax));
    port.complete();
    const tick = log.beginSettling();
    log.release(write);
    log.settled(tick);
    reserve(log, new Write(300));
    expect(port.writes).to.have.length(0);
    settle(log);
    expect(port.writes).to.have.length(1);
  });

  it('extents in use are never evicted; the least recently used settled one goes first', () => {
    const { port, log } = full();
    settle(log);
    reserve(log, new Write(0));
    const touched = reserve(log, new Write(1));
    log.release(touched);
    settle(log);
    reserve(log, new Write(300));
    const hot = port.writes[0]?.hot ?? [];
    expect(hot).to.include.members([0, 1, 300]);
    expect(hot).not.to.include(2);
  });

  it('an extent that is being evicted is cold at once: a write to it waits for the next list', () => {
    const { port, log } = full();
    settle(log);
    reserve(log, new Write(300));
    const back = reserve(log, new Write(0));
    expect(back.hot).to.equal(false);
    port.complete();
    expect(back.hot).to.equal(false);
    expect(port.writes[0]?.hot).to.include.members([0, 300]);
    port.complete();
    expect(back.hot).to.equal(true);
  });

  it('one request larger than what is free waits, and later small ones do not overtake it for ever', () => {
    const { port, log } = full();
    const held = [0, 1, 2].map((extent) => reserve(log, new Write(extent)));
    settle(log);
    const large = reserve(log, new Write(1000, hotExtentsMax - 2));
    const small = reserve(log, new Write(5));
    expect(port.writes).to.have.length(0);
    expect(large.hot || small.hot).to.equal(false);
    log.release(held[0] as Write);
    settle(log);
    expect(port.writes).to.have.length(1);
    port.complete();
    expect(large.hot).to.equal(true);
    expect(small.hot).to.equal(false);
    for (const each of [...held.slice(1), large]) log.release(each);
    settle(log);
    port.complete();
    expect(small.hot).to.equal(true);
  });

  it('a request that is itself partly hot keeps its own extents while it makes room', () => {
    const { port, log } = full();
    settle(log);
    const write = reserve(log, new Write(hotExtentsMax - 10, 20));
    const hot = port.writes[0]?.hot ?? [];
    expect(hot).to.have.length(hotExtentsMax).and.to.include.members(write.extents);
  });

  it('after a failed list nobody is told that he is hot, and none is written any more', () => {
    const { port, log } = setUp();
    const write = reserve(log, new Write(0));
    port.complete(false);
    const next = reserve(log, new Write(1));
    expect(write.hot || next.hot).to.equal(false);
    expect(port.writes).to.have.length(0);
  });

  it('the list can be forgotten only while nothing is in flight', () => {
    const { port, log } = setUp();
    const write = reserve(log, new Write(0));
    port.complete();
    expect(() => log.forgetAll()).to.throw('no write is in flight');
    log.release(write);
    log.forgetAll();
    expect(log.hotExtents()).to.deep.equal([]);
  });

  it('whatever happens, the durable list covers every write in flight and every unsettled one, and everyone gets his turn', () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.tuple(fc.constant('reserve' as const), fc.nat({ max: 600 })) },
      { weight: 3, arbitrary: fc.tuple(fc.constant('release' as const), fc.nat({ max: 600 })) },
      { weight: 4, arbitrary: fc.tuple(fc.constant('complete' as const), fc.constant(0)) },
      { weight: 2, arbitrary: fc.tuple(fc.constant('begin' as const), fc.constant(0)) },
      { weight: 2, arbitrary: fc.tuple(fc.constant('settled' as const), fc.constant(0)) },
    );
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 20, maxLength: 120 }),
        fc.integer({ min: 1, max: 120 }),
        (steps, size) => {
          const { port, log } = setUp();
          const writes: Write[] = [];
          const running = new Set<Write>();
          /** Extents of ended writes that no pass has settled; a pass takes those that were there when it began. */
          const unsettled = new Map<number, number>();
          let now = 0;
          let pass: { tick: number; begun: number } | undefined;
          const check = (): void => {
            for (const write of writes) if (write.hot) running.add(write);
            // A crash leaves the last durable list or the one that is being written.
            for (const list of [port.durable, ...port.writes.map(({ hot }) => hot)]) {
              const listed = new Set(list);
              for (const write of running)
                for (const extent of write.extents) expect(listed.has(extent)).to.equal(true);
              for (const extent of unsettled.keys()) expect(listed.has(extent)).to.equal(true);
              expect(list.length).to.be.at.most(hotExtentsMax);
            }
          };
          const release = (write: Write): void => {
            running.delete(write);
            writes.splice(writes.indexOf(write), 1);
            for (const extent of write.extents) unsettled.set(extent, now);
            log.release(write);
          };
          const settled = (): void => {
            if (pass === undefined) return;
            for (const [extent, at] of unsettled) if (at < pass.begun) unsettled.delete(extent);
            const { tick } = pass;
            pass = undefined;
            log.settled(tick);
          };
          const begin = (): void => {
            now += 1;
            pass ??= { tick: log.beginSettling(), begun: now };
          };
          for (const [kind, value] of steps) {
            if (kind === 'reserve') {
              const write = new Write(value, 1 + (value % size));
              writes.push(write);
              reserve(log, write);
            } else if (kind === 'release') {
              const list = [...running];
              const write = list[value % Math.max(1, list.length)];
              if (write !== undefined) release(write);
            } else if (kind === 'complete') {
              if (port.writes.length > 0) port.complete();
            } else if (kind === 'begin') begin();
            else settled();
            check();
          }
          // Everything ends, passes work: nobody may be left waiting.
          for (let round = 0; round < 400 && writes.length > 0; round += 1) {
            settled();
            begin();
            while (port.writes.length > 0) port.complete();
            check();
            for (const write of running) release(write);
          }
          expect(writes).to.have.length(0);
        },
      ),
      { numRuns: 20 },
    );
  });

  it('an extent whose copies differ without a durable bit stays, however often everything is settled', () => {
    const { port, log } = setUp();
    const differing = reserve(log, new Write(0));
    port.complete();
    log.pin(differing);
    log.release(differing);
    for (let extent = 1; extent < 2 * hotExtentsMax; extent += 1) {
      log.settled(log.beginSettling());
      const write = reserve(log, new Write(extent));
      if (!write.hot) port.complete();
      log.release(write);
    }
    expect(port.durable).to.include(0);
  });

  it('a log full of extents that cannot leave asks for settling once, not again and again', () => {
    const { port, log } = setUp();
    for (let extent = 0; extent < hotExtentsMax; extent += 1) {
      const write = reserve(log, new Write(extent));
      if (!write.hot) port.complete();
      log.pin(write);
      log.release(write);
    }
    reserve(log, new Write(hotExtentsMax));
    for (let pass = 0; pass < 3; pass += 1) log.settled(log.beginSettling());
    expect(port.settleWishes).to.be.at.most(1);
  });
});
