/**
 * The activity log of one volume: the durable list of extents in which the two copies may differ because writes to them are
 * recent. After a crash of either node or both, every difference lies inside the old primary's log and the dirty bitmaps.
 *
 * Invariants: a write starts only while all its extents are in the last durable list. An extent leaves only when no
 * write is in flight in it and everything written in it is *settled*: flushed on both copies, or (alone) marked in
 * durable bitmap pages. A write to hot extents costs no metadata I/O; concurrent cold writes share one transaction.
 */
import { assertInvariant } from '../base/assert.ts';
import { extentSizeBytes, hotExtentsMax } from '../disk/state.ts';

/** A mutation that waits for, or holds, hot extents. */
export interface ExtentUser {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Called once when the extents are durably hot, if `reserve` had answered false. */
  extentsHot(): void;
}

export interface ActivityLogPort {
  /** Makes the complete list durable. `done(false)`: it could not be; the volume must not go on. */
  write(hot: readonly number[], done: (ok: boolean) => void): void;
  /** Asks for a settling pass (flush on both, or bitmap pages); `settled(tick)` follows when it worked. */
  wantSettled(): void;
}

class HotExtent {
  readonly index: number;
  inFlight = 0;
  /** Tick of the latest completed write; settled when a pass that began after it has worked. */
  lastWriteTick = 0;
  /** Tick at which it was pinned; 0: it is not. */
  pinnedTick = 0;

  constructor(index: number) {
    this.index = index;
  }
}

export class ActivityLog {
  readonly #port: ActivityLogPort;
  /** In order of use, the least recently used first; contains extents of the transaction under way too. */
  readonly #hot = new Map<number, HotExtent>();
  /** Extents that are in the last durable list. */
  readonly #durable = new Set<number>();
  readonly #waiting: ExtentUser[] = [];
  #transaction: ExtentUser[] | undefined;
  #tick = 1;
  #settledTick = 0;
  #failed = false;
  transactions = 0;

  constructor(port: ActivityLogPort) {
    this.#port = port;
  }

  /** Now, as a point in the order of writes and settling passes. A pass calls this first and `settled` with it last. */
  beginSettling(): number {
    const tick = this.#tick;
    this.#tick += 1;
    return tick;
  }

  /** Everything that had completed when `beginSettling` returned `tick` is flushed on both, or in durable bitmap pages. */
  settled(tick: number): void {
    this.#settledTick = Math.max(this.#settledTick, tick);
    if (this.#waiting.length > 0) this.#startTransaction();
  }

  /** True: all extents of the user are durably hot and reserved. False: `user.extentsHot()` is called later. */
  reserve(user: ExtentUser): boolean {
    if (this.#waiting.length === 0 && this.#reserveDurable(user)) return true;
    this.#waiting.push(user);
    if (this.#transaction === undefined) this.#startTransaction();
    return false;
  }

  /** The write is complete: on both copies, or locally and in the dirty bitmap. */
  release(user: ExtentUser): void {
    const last = lastExtent(user);
    for (let index = firstExtent(user); index <= last; index += 1) {
      const extent = this.#hot.get(index);
      assertInvariant(extent !== undefined && extent.inFlight > 0, 'a released extent is hot and in use');
      extent.inFlight -= 1;
      extent.lastWriteTick = this.#tick;
    }
    if (this.#waiting.length > 0 && this.#transaction === undefined) this.#startTransaction();
  }

  /** The copies differ there and no durable bitmap page says so: the extents stay until they are equal again, or the log is folded. */
  pin(user: ExtentUser): void {
    const last = lastExtent(user);
    for (let index = firstExtent(user); index <= last; index += 1) {
      const extent = this.#hot.get(index);
      if (extent !== undefined) extent.pinnedTick = this.#tick;
    }
  }

  /** Some extent is pinned. */
  get hasPinned(): boolean {
    for (const { pinnedTick } of this.#hot.values()) if (pinnedTick > 0) return true;
    return false;
  }

  /**
   * What was pinned when `beginSettling` returned `tick` may go like all others: the copies are equal and flushed there, or durable
   * bitmap pages say where they differ. `settled` follows.
   */
  unpin(tick: number): void {
    for (const extent of this.#hot.values()) if (extent.pinnedTick <= tick) extent.pinnedTick = 0;
  }

  /** Forgets everybody who waits for room, and says who they were; they hold nothing. */
  cancelWaiting(): ExtentUser[] {
    return this.#waiting.splice(0);
  }

  /** Extents in the durable list, for folding and display. */
  hotExtents(): readonly number[] {
    return [...this.#durable];
  }

  /** Nothing is in flight, and nothing was written since `beginSettling` returned `tick`. */
  isQuietSince(tick: number): boolean {
    for (const { inFlight, lastWriteTick } of this.#hot.values())
      if (inFlight > 0 || lastWriteTick > tick) return false;
    return true;
  }

  /** The list is durably empty now (done elsewhere, while nothing is in flight). */
  forgetAll(): void {
    for (const extent of this.#hot.values()) assertInvariant(extent.inFlight === 0, 'no write is in flight');
    this.#hot.clear();
    this.#durable.clear();
  }

  #reserveDurable(user: ExtentUser): boolean {
    const first = firstExtent(user);
    const last = lastExtent(user);
    for (let index = first; index <= last; index += 1) if (!this.#durable.has(index)) return false;
    for (let index = first; index <= last; index += 1) this.#use(index);
    return true;
  }

  #use(index: number): void {
    let extent = this.#hot.get(index);
    if (extent === undefined) extent = new HotExtent(index);
    else this.#hot.delete(index);
    this.#hot.set(index, extent);
    extent.inFlight += 1;
  }

  /** Takes as many waiting users, in order, as find room, and writes one list for all of them. */
  #startTransaction(): void {
    if (this.#transaction !== undefined || this.#failed) return;
    const taken: ExtentUser[] = [];
    let changed = false;
    while (this.#waiting.length > 0) {
      const user = this.#waiting[0] as ExtentUser;
      const cold = this.#coldCount(user);
      if (!this.#makeRoom(cold, user)) break;
      if (cold > 0) changed = true;
      const last = lastExtent(user);
      for (let index = firstExtent(user); index <= last; index += 1) {
        if (!this.#durable.has(index)) changed = true;
        this.#use(index);
      }
      taken.push(user);
      this.#waiting.shift();
    }
    if (taken.length === 0) {
      // Settling makes room only if some extent is idle and not settled yet; otherwise a release tries again.
      if (this.#canSettleMore()) this.#port.wantSettled();
      return;
    }
    this.#transaction = taken;
    if (!changed) {
      this.#finishTransaction(true);
      return;
    }
    this.transactions += 1;
    // Evicted extents stop being usable now: what is durable later is exactly the new list.
    for (const index of this.#durable) if (!this.#hot.has(index)) this.#durable.delete(index);
    this.#port.write([...this.#hot.keys()], (ok) => this.#finishTransaction(ok));
  }

  #finishTransaction(ok: boolean): void {
    const taken = this.#transaction as ExtentUser[];
    this.#transaction = undefined;
    if (!ok) {
      this.#failed = true;
      return;
    }
    for (const index of this.#hot.keys()) this.#durable.add(index);
    for (const user of taken) user.extentsHot();
    if (this.#waiting.length > 0) this.#startTransaction();
  }

  #canSettleMore(): boolean {
    for (const extent of this.#hot.values()) {
      if (extent.pinnedTick === 0 && extent.inFlight === 0 && extent.lastWriteTick > this.#settledTick)
        return true;
    }
    return false;
  }

  #coldCount(user: ExtentUser): number {
    let cold = 0;
    const last = lastExtent(user);
    for (let index = firstExtent(user); index <= last; index += 1) if (!this.#hot.has(index)) cold += 1;
    return cold;
  }

  /** Evicts settled extents, least recently used first, until `needed` fit. */
  #makeRoom(needed: number, user: ExtentUser): boolean {
    let excess = this.#hot.size + needed - hotExtentsMax;
    if (excess <= 0) return true;
    const first = firstExtent(user);
    const last = lastExtent(user);
    const evicted: number[] = [];
    for (const extent of this.#hot.values()) {
      if (excess === 0) break;
      if (extent.pinnedTick > 0 || extent.inFlight > 0 || extent.lastWriteTick > this.#settledTick) continue;
      if (extent.index >= first && extent.index <= last) continue;
      evicted.push(extent.index);
      excess -= 1;
    }
    if (excess > 0) return false;
    for (const index of evicted) this.#hot.delete(index);
    return true;
  }
}

function firstExtent(user: ExtentUser): number {
  return Math.floor(user.offsetBytes / extentSizeBytes);
}

function lastExtent(user: ExtentUser): number {
  return Math.floor((user.offsetBytes + user.lengthBytes - 1) / extentSizeBytes);
}
