/** Range locks against a model that keeps the whole history: who holds, who waits, and who is woken by a release. */
import { expect } from 'chai';
import fc from 'fast-check';
import { RangeHolder, RangeLocks } from '../../src/engine/range-locks.ts';

class Holder extends RangeHolder {
  readonly name: number;
  readonly woken: number[];

  constructor(name: number, woken: number[]) {
    super();
    this.name = name;
    this.woken = woken;
  }

  rangeAcquired(): void {
    this.woken.push(this.name);
  }
}

/** The naive model: everybody present in order of arrival; a holder holds when nobody before it overlaps. */
class Model {
  readonly present: { readonly name: number; readonly start: number; readonly end: number }[] = [];

  holds(name: number): boolean {
    const index = this.present.findIndex((each) => each.name === name);
    const self = this.present[index];
    if (self === undefined) return false;
    return this.present.slice(0, index).every(({ start, end }) => start >= self.end || end <= self.start);
  }

  holding(): number[] {
    return this.present.map(({ name }) => name).filter((name) => this.holds(name));
  }
}

const step = fc.oneof(
  fc.record({
    kind: fc.constant('acquire' as const),
    start: fc.nat({ max: 20 }),
    length: fc.integer({ min: 1, max: 8 }),
  }),
  /** The n-th of those present, modulo their number; `waitingToo`: also one that still waits. */
  fc.record({ kind: fc.constant('release' as const), nth: fc.nat({ max: 30 }), waitingToo: fc.boolean() }),
);

describe('range locks', () => {
  it('hold, keep waiting and wake exactly as the model has it', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const locks = new RangeLocks();
        const model = new Model();
        const woken: number[] = [];
        const holders = new Map<number, Holder>();
        let names = 0;
        for (const each of steps) {
          const before = model.holding();
          woken.length = 0;
          if (each.kind === 'acquire') {
            const holder = new Holder(names, woken);
            names += 1;
            holders.set(holder.name, holder);
            model.present.push({ name: holder.name, start: each.start, end: each.start + each.length });
            const now = locks.acquire(holder, each.start, each.start + each.length);
            expect(now).to.equal(model.holds(holder.name));
            expect(woken).to.deep.equal([]);
          } else {
            const choice = each.waitingToo ? model.present.map(({ name }) => name) : before;
            const name = choice[each.nth % Math.max(1, choice.length)];
            if (name === undefined) continue;
            model.present.splice(
              model.present.findIndex((other) => other.name === name),
              1,
            );
            locks.release(holders.get(name) as Holder);
            const newly = model.holding().filter((other) => !before.includes(other));
            expect(woken, 'woken in order of arrival').to.deep.equal(newly);
          }
          expect(locks.count).to.equal(model.present.length);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('ranges that only touch do not wait for each other', () => {
    const locks = new RangeLocks();
    const woken: number[] = [];
    expect(locks.acquire(new Holder(1, woken), 0, 10)).to.equal(true);
    expect(locks.acquire(new Holder(2, woken), 10, 20)).to.equal(true);
  });

  it('a range waits for a waiting one before it, so that overlapping writes keep their order', () => {
    const locks = new RangeLocks();
    const woken: number[] = [];
    const [first, second, third] = [new Holder(1, woken), new Holder(2, woken), new Holder(3, woken)];
    expect(locks.acquire(first, 0, 10)).to.equal(true);
    expect(locks.acquire(second, 5, 15)).to.equal(false);
    expect(locks.acquire(third, 12, 20), 'overlaps only the one that waits').to.equal(false);
    locks.release(first);
    expect(woken).to.deep.equal([2]);
    locks.release(second);
    expect(woken).to.deep.equal([2, 3]);
  });

  it('a holder that releases from inside its wake-up call wakes the next one', () => {
    const locks = new RangeLocks();
    const order: number[] = [];
    class Brief extends RangeHolder {
      readonly name: number;
      constructor(name: number) {
        super();
        this.name = name;
      }
      rangeAcquired(): void {
        order.push(this.name);
        locks.release(this);
      }
    }
    const first = new Brief(0);
    locks.acquire(first, 0, 4);
    for (let name = 1; name <= 5; name += 1) locks.acquire(new Brief(name), 0, 4);
    first.rangeAcquired();
    expect(order).to.deep.equal([0, 1, 2, 3, 4, 5]);
    expect(locks.count).to.equal(0);
  });

  it('a double acquire or release is our own mistake', () => {
    const locks = new RangeLocks();
    const holder = new Holder(1, []);
    locks.acquire(holder, 0, 1);
    expect(() => locks.acquire(holder, 0, 1)).to.throw('one range at a time');
    locks.release(holder);
    expect(() => locks.release(holder)).to.throw('released once');
  });
});
