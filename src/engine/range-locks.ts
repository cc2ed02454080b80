/**
 * Orders overlapping mutations of one volume: both copies must apply them in one order, so a mutation waits for every
 * earlier one that overlaps it. Non-overlapping ones never wait. Resync chunks take part like guest writes.
 *
 * Holders are kept in arrival order in a doubly-linked list; a holder knows how many earlier overlapping ones are still there.
 */
import { assertInvariant } from '../base/assert.ts';

/** A range that is held or wants to be; extended by what needs it, so that no object is made for the lock alone. */
export abstract class RangeHolder {
  startBytes = 0;
  endBytes = 0;
  blockers = 0;
  queued = false;
  previousHolder: RangeHolder | undefined = undefined;
  nextHolder: RangeHolder | undefined = undefined;

  /** Called once when every earlier overlapping holder has gone, if `acquire` had answered false. */
  abstract rangeAcquired(): void;
}

export class RangeLocks {
  #first: RangeHolder | undefined = undefined;
  #last: RangeHolder | undefined = undefined;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** True: held now. False: `holder.rangeAcquired()` is called later. */
  acquire(holder: RangeHolder, startBytes: number, endBytes: number): boolean {
    assertInvariant(!holder.queued, 'a range holder is used for one range at a time');
    holder.startBytes = startBytes;
    holder.endBytes = endBytes;
    holder.queued = true;
    let blockers = 0;
    for (let other = this.#first; other !== undefined; other = other.nextHolder) {
      if (other.startBytes < endBytes && startBytes < other.endBytes) blockers += 1;
    }
    holder.blockers = blockers;
    holder.previousHolder = this.#last;
    holder.nextHolder = undefined;
    if (this.#last === undefined) this.#first = holder;
    else this.#last.nextHolder = holder;
    this.#last = holder;
    this.#count += 1;
    return blockers === 0;
  }

  /** Gives the range up (held or still waiting) and wakes those for whom it was the last obstacle. */
  release(holder: RangeHolder): void {
    assertInvariant(holder.queued, 'a range is released once');
    const { previousHolder, nextHolder } = holder;
    if (previousHolder === undefined) this.#first = nextHolder;
    else previousHolder.nextHolder = nextHolder;
    if (nextHolder === undefined) this.#last = previousHolder;
    else nextHolder.previousHolder = previousHolder;
    holder.queued = false;
    holder.previousHolder = undefined;
    holder.nextHolder = undefined;
    this.#count -= 1;
    let woken: RangeHolder[] | undefined;
    for (let other = nextHolder; other !== undefined; other = other.nextHolder) {
      if (other.startBytes < holder.endBytes && holder.startBytes < other.endBytes) {
        other.blockers -= 1;
        if (other.blockers === 0) (woken ??= []).push(other);
      }
    }
    if (woken !== undefined) for (const other of woken) other.rangeAcquired();
  }
}
