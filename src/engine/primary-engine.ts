/**
 * The write path of the node whose guest writes.
 *
 * Invariants. Every guest write is at all times in exactly one state: acknowledged by both copies, or marked dirty, or not
 * acknowledged to the guest. Nothing is acknowledged alone unless `soloAllowed`, which only the cluster rules grant
 * (the peer durably outdated or inconsistent, or the arbiter's record). Overlapping mutations reach both copies in one order.
 * A mutation starts only when its extents are durably in the activity log. A disk error is never acknowledged.
 *
 * The gate: `closed` refuses, `held` keeps requests without touching anything, `open` lets them run.
 * It does not decide when to open or to go alone, and does not know generations, arbiters or VMs.
 */
import { assertInvariant } from '../base/assert.ts';
import type { BlockError, Completion } from '../base/block-device.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { FrameFlag, FrameType } from '../link/frames.ts';
import { FlushCycle, Mutation, type MutationKind } from './mutation.ts';
import type { PeerChannel } from './peer-channel.ts';
import { completion, forEachReplica, type Replica } from './replica.ts';

/** How long written blocks stay in the unstable set at most before the engine flushes by itself. */
export const settleIntervalMs = 2000;

export interface PrimaryEngineEvents {
  /** A read, write or fdatasync of this node's disk file failed: nothing may be acknowledged from it any more. */
  diskFailed(volume: string, during: string): void;
}

type Gate = 'closed' | 'held' | 'open';

export class PrimaryEngine {
  readonly replicas: readonly Replica[];
  readonly counters = { writes: 0, writtenBytes: 0, flushes: 0, soloWrites: 0, heldRequests: 0 };
  /** Reads that are not answered to the guest. */
  readsInFlight = 0;
  readonly #events: PrimaryEngineEvents;
  readonly #clock: Clock;
  #gate: Gate = 'closed';
  #channel: PeerChannel | undefined;
  #soloAllowed = false;
  /** Mutations and flushes that the peer has not answered, in the order in which they were sent. */
  readonly #awaitingPeer = new Set<Mutation | FlushCycle>();
  /** Mutations that wait for the gate, in order. Their number is bounded by the servers' limits on requests in flight. */
  #backlog: Mutation[] = [];
  readonly #inFlight = new Set<Mutation>();
  #idleWaiters: (() => void)[] = [];
  /** Who waits for the flush before going on alone. */
  #goingAlone: ((ok: boolean) => void)[] | undefined;
  /** Mutations that run on disks now. */
  #issuedCount = 0;
  #drainWaiters: (() => void)[] = [];
  #settleTimer: Timer | undefined;
  #failed = false;
  /** Grows when the peer is lost with what it may have had in its page cache only. */
  #epoch = 0;

  constructor(replicas: readonly Replica[], clock: Clock, events: PrimaryEngineEvents) {
    this.replicas = replicas;
    this.#clock = clock;
    this.#events = events;
  }

  get gate(): Gate {
    return this.#gate;
  }
  get soloAllowed(): boolean {
    return this.#soloAllowed;
  }
  get replicating(): boolean {
    return this.#channel !== undefined;
  }
  /** Mutations that were let in and are not answered to the guest. */
  get inFlightCount(): number {
    return this.#inFlight.size;
  }

  // ---- guest requests -------------------------------------------------------------------------------------------

  submit(
    kind: MutationKind,
    replica: Replica,
    offsetBytes: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[],
    fua: boolean,
    mayPunch: boolean,
    guest: Completion,
  ): void {
    if (this.#gate === 'closed') return guest.done('shutting-down');
    const mutation = new Mutation(
      this,
      kind,
      replica,
      offsetBytes,
      lengthBytes,
      chunks,
      fua,
      mayPunch,
      guest,
    );
    this.#inFlight.add(mutation);
    if (replica.locks.acquire(mutation, offsetBytes, offsetBytes + lengthBytes)) this.rangeAcquired(mutation);
  }

  flush(replica: Replica, guest: Completion): void {
    if (this.#gate === 'closed') return guest.done('shutting-down');
    this.counters.flushes += 1;
    replica.flushWaiters.push(guest);
    this.#startFlush(replica);
  }

  // ---- what the cluster rules decide ----------------------------------------------------------------------------

  /** Requests are kept from now on until the gate opens. */
  hold(): void {
    if (this.#gate === 'closed' || this.#gate === 'open') this.#gate = 'held';
  }

  /** The peer was in sync a moment ago and is reachable again: what it did not answer is sent again. */
  resume(channel: PeerChannel): void {
    assertInvariant(this.#gate === 'held' && this.#channel === undefined, 'a held engine resumes');
    this.#channel = channel;
    this.#keepDirtyBits();
    for (const request of this.#awaitingPeer) this.#sendAgain(request, channel);
    this.#open();
  }

  /**
   * Replicate over this channel from now on. With `soloAllowed` the peer is the target of a resync and may drop out at any
   * time; without, both are needed for every write. Nothing may be waiting for the peer.
   */
  replicate(channel: PeerChannel, soloAllowed: boolean): void {
    assertInvariant(this.#awaitingPeer.size === 0, 'nothing waits for an earlier channel');
    assertInvariant(this.#channel === undefined, 'one channel at a time');
    this.#channel = channel;
    this.#soloAllowed = soloAllowed;
    this.#keepDirtyBits();
    this.#open();
  }

  /** From now on every write and flush waits for both: the final part of a resync, and being in sync. */
  requireBoth(): void {
    assertInvariant(this.#channel !== undefined, 'both are needed only when both are there');
    this.#soloAllowed = false;
  }

  /** The final part of a resync ended without the record having moved: alone is allowed again. */
  allowSolo(): void {
    this.#soloAllowed = true;
    if (this.#channel === undefined) this.#convertAwaiting();
    this.#open();
  }

  /** The channel is gone. Alone: go on, marking dirty. Otherwise: hold. */
  channelLost(): void {
    if (this.#channel === undefined) return;
    this.#channel = undefined;
    if (this.#soloAllowed) {
      this.#convertAwaiting();
      this.#drain();
    } else if (this.#gate === 'open') {
      this.#gate = 'held';
    }
  }

  /**
   * This node is allowed to go on alone. What the peer may lack (unanswered and unflushed) is marked dirty, the own copy is
   * flushed, and only then is anything acknowledged. `done(false)`: the disk failed, nothing was acknowledged.
   */
  goAlone(done: (ok: boolean) => void): void {
    assertInvariant(this.#channel === undefined, 'alone means without a channel');
    // The arbiter's answer and a handshake may both come to it.
    if (this.#goingAlone !== undefined) return void this.#goingAlone.push(done);
    const waiting = [done];
    this.#goingAlone = waiting;
    for (const request of this.#awaitingPeer) {
      if (request instanceof Mutation) request.markDirty();
    }
    this.#markUnstableDirty();
    forEachReplica(
      this.replicas,
      (replica, flushed) => replica.device.flush(completion(flushed)),
      (ok) => {
        // Otherwise it was abandoned meanwhile.
        if (this.#goingAlone !== waiting) return;
        this.#goingAlone = undefined;
        if (ok) {
          this.#soloAllowed = true;
          this.#convertAwaiting();
          this.#open();
        } else this.diskFailed('every volume', 'the flush before going on alone');
        for (const each of waiting) each(ok);
      },
    );
  }

  /**
   * Flushes every volume on both copies (or alone); writes go on meanwhile. If the channel is lost first, `done` comes when
   * the flush has ended under whatever rule then holds, or never: callers check that their connection is still the same.
   */
  flushAll(done: () => void): void {
    forEachReplica(
      this.replicas,
      (replica, flushed) => {
        replica.flushWaiters.push(completion(flushed));
        this.#startFlush(replica);
      },
      (ok) => {
        if (ok) done();
      },
    );
  }

  /** No new requests; `done` when none is in flight. Needs a peer that answers, or `soloAllowed`. */
  quiesce(done: () => void): void {
    this.#gate = 'closed';
    this.#settleTimer?.cancel();
    this.#settleTimer = undefined;
    this.#whenIdle(done);
  }

  /** Requests are kept from now on; `done` when none of those that were let in before is under way. */
  holdAndDrain(done: () => void): void {
    this.hold();
    this.#drainWaiters.push(done);
    this.#reportDrained();
  }

  /** No new requests, and what is in flight is never acknowledged: it is answered `shutting-down`. */
  abandon(): void {
    this.#gate = 'closed';
    this.#channel = undefined;
    this.#soloAllowed = false;
    this.#goingAlone = undefined;
    this.#settleTimer?.cancel();
    this.#settleTimer = undefined;
    this.#awaitingPeer.clear();
    this.#backlog = [];
    // Everything is marked before anything is finished: finishing one wakes others.
    const inFlight = [...this.#inFlight];
    for (const mutation of inFlight) {
      mutation.abandoned = true;
      mutation.peerPending = false;
    }
    const cancelled = new Set(this.replicas.flatMap((replica) => replica.log.cancelWaiting()));
    for (const mutation of inFlight) {
      const isStuck = mutation.stage === 'gate' || (mutation.stage === 'copies' && !mutation.localPending);
      if (isStuck || cancelled.has(mutation)) this.#finish(mutation);
    }
    for (const replica of this.replicas) {
      const cycle = replica.flushRunning;
      for (const waiter of replica.flushWaiters.splice(0)) waiter.done('shutting-down');
      if (cycle !== undefined) {
        cycle.abandoned = true;
        cycle.peerPending = false;
        if (!cycle.localPending) this.#flushFinished(cycle);
      }
    }
    this.#markUnstableDirty();
    if (this.#inFlight.size === 0) this.#reportIdle();
  }

  /** `done` when no disk request of this engine runs any more. */
  whenIdle(done: () => void): void {
    this.#whenIdle(done);
  }

  // ---- the path of one mutation -----------------------------------------------------------------------------------

  rangeAcquired(mutation: Mutation): void {
    if (mutation.abandoned) return this.#finish(mutation);
    mutation.stage = 'log';
    if (mutation.replica.log.reserve(mutation)) {
      mutation.hot = true;
      this.#issue(mutation);
    }
  }

  extentsHot(mutation: Mutation): void {
    mutation.hot = true;
    if (mutation.abandoned) return this.#finish(mutation);
    this.#issue(mutation);
  }

  #issue(mutation: Mutation): void {
    if (this.#failed || this.#gate === 'held' || (this.#channel === undefined && !this.#soloAllowed)) {
      this.counters.heldRequests += 1;
      mutation.stage = 'gate';
      this.#backlog.push(mutation);
      return;
    }
    const { replica, kind, offsetBytes, lengthBytes, chunks, fua } = mutation;
    this.counters.writes += 1;
    this.counters.writtenBytes += lengthBytes;
    mutation.stage = 'copies';
    mutation.localPending = true;
    mutation.issued = true;
    mutation.epoch = this.#epoch;
    this.#issuedCount += 1;
    const channel = this.#channel;
    if (channel === undefined) {
      this.counters.soloWrites += 1;
      mutation.markDirty();
    } else {
      mutation.peerPending = true;
      mutation.replicated = true;
      this.#awaitingPeer.add(mutation);
      this.#send(mutation, channel);
    }
    if (kind === 'write') replica.device.write(offsetBytes, lengthBytes, chunks, fua, mutation);
    else if (kind === 'trim') replica.device.trim(offsetBytes, lengthBytes, fua, mutation);
    else
      replica.device.zero(
        offsetBytes,
        lengthBytes,
        { fua, mayPunch: mutation.mayPunch, fast: false },
        mutation,
      );
  }

  #send(mutation: Mutation, channel: PeerChannel): void {
    const flags = (mutation.fua ? FrameFlag.fua : 0) | (mutation.mayPunch ? FrameFlag.mayPunch : 0);
    const isWrite = mutation.kind === 'write';
    channel.request(
      isWrite ? FrameType.write : mutation.kind === 'trim' ? FrameType.trim : FrameType.zero,
      flags,
      mutation.replica.index,
      mutation.offsetBytes,
      mutation.lengthBytes,
      mutation.chunks,
      isWrite ? mutation.lengthBytes : 0,
      mutation,
    );
  }

  #sendAgain(request: Mutation | FlushCycle, channel: PeerChannel): void {
    if (request instanceof Mutation) this.#send(request, channel);
    else channel.request(FrameType.flush, 0, request.replica.index, 0, 0, [], 0, request);
  }

  /** This node's disk file is done with the mutation. */
  localDone(mutation: Mutation, error: BlockError | undefined): void {
    mutation.localPending = false;
    if (error !== undefined) {
      // The copies may differ there now, whatever the peer says.
      mutation.markDirty();
      mutation.replica.log.pin(mutation);
      mutation.error = error;
      if (error !== 'no-space') {
        mutation.failed = true;
        this.#awaitingPeer.delete(mutation);
        this.diskFailed(mutation.replica.name, mutation.kind);
      }
    }
    // Abandoning, which a failure may bring about at once, finishes what has no copy pending by itself.
    if (mutation.stage === 'done' || (mutation.failed && !mutation.abandoned)) return;
    this.#localAnswered(mutation);
  }

  /**
   * What the peer had answered before it was lost waits like the rest: the peer may have gone on since, and this node may not
   * acknowledge anything until it knows.
   */
  #localAnswered(request: Mutation | FlushCycle): void {
    if (request.peerPending) return;
    if (this.#channel !== undefined || this.#soloAllowed || request.abandoned) return this.#finish(request);
    request.peerPending = true;
    this.#awaitingPeer.add(request);
  }

  /** The peer answered. A failing peer leaves the pair: its connection ends, and the rules for a lost peer apply. */
  peerDone(request: Mutation | FlushCycle, failed: boolean): void {
    if (failed) return;
    if (!this.#awaitingPeer.delete(request) || request.failed) return;
    request.peerPending = false;
    if (!request.localPending) this.#finish(request);
  }

  #finish(request: Mutation | FlushCycle): void {
    if (request instanceof FlushCycle) return this.#flushFinished(request);
    const { replica } = request;
    if (request.stage === 'done') return;
    request.stage = 'done';
    this.#inFlight.delete(request);
    if (request.issued) this.#issuedCount -= 1;
    if (request.hot) {
      // Its disk answers only now: the peer was lost meanwhile, with what it may have had of it in its page cache.
      if (request.issued && request.epoch !== this.#epoch) request.markDirty();
      else if (request.replicated && !request.dirty)
        replica.markUnstable(request.offsetBytes, request.lengthBytes);
      replica.log.release(request);
    }
    replica.locks.release(request);
    this.scheduleSettle();
    request.guest.done(request.abandoned ? 'shutting-down' : request.error);
    if (this.#issuedCount === 0) this.#reportDrained();
    if (this.#inFlight.size === 0) this.#reportIdle();
  }

  // ---- flushes ----------------------------------------------------------------------------------------------------

  #startFlush(replica: Replica): void {
    if (replica.flushRunning !== undefined || this.#failed) return;
    if (this.#gate === 'held' || (this.#channel === undefined && !this.#soloAllowed)) return;
    const cycle = new FlushCycle(this, replica, replica.flushWaiters.splice(0), replica.log.beginSettling());
    replica.flushRunning = cycle;
    cycle.localPending = true;
    if (this.#channel !== undefined) {
      // Only writes that have completed on both by now are settled by this flush.
      assertInvariant(replica.unstableFlushing.count === 0, 'one flush settles at a time');
      const empty = replica.unstableFlushing;
      replica.unstableFlushing = replica.unstable;
      replica.unstable = empty;
      cycle.both = true;
      cycle.peerPending = true;
      this.#awaitingPeer.add(cycle);
      this.#sendAgain(cycle, this.#channel);
    }
    replica.device.flush(cycle);
  }

  localFlushDone(cycle: FlushCycle, error: BlockError | undefined): void {
    cycle.localPending = false;
    if (error !== undefined) {
      cycle.failed = true;
      this.#awaitingPeer.delete(cycle);
      this.diskFailed(cycle.replica.name, 'fdatasync');
    }
    if (cycle.replica.flushRunning !== cycle || (cycle.failed && !cycle.abandoned)) return;
    this.#localAnswered(cycle);
  }

  #flushFinished(cycle: FlushCycle): void {
    const { replica } = cycle;
    replica.flushRunning = undefined;
    if (cycle.both && !cycle.abandoned) {
      replica.unstableFlushing.clearAll();
      if (replica.bitmapWrites === 0) replica.log.settled(cycle.tick);
    } else replica.unsettle();
    for (const waiter of cycle.waiters) waiter.done(cycle.abandoned ? 'shutting-down' : undefined);
    if (this.#inFlight.size === 0) this.#reportIdle();
    if (replica.flushWaiters.length > 0) this.#startFlush(replica);
  }

  // ---- settling: keeps the activity log evictable and the unstable set small ----------------------------------------

  /** Flush on both, or durable bitmap pages when alone; then extents may leave the activity log. */
  settle(replica: Replica): void {
    // Also while the gate is closed: the last writes may wait for room in the activity log.
    if (this.#failed || this.#gate === 'held') return;
    if (this.#channel !== undefined) return this.#startFlush(replica);
    if (!this.#soloAllowed || replica.bitmapWrites > 0) return;
    const tick = replica.log.beginSettling();
    this.#keepBits(replica, () => {
      replica.log.unpin(tick);
      replica.log.settled(tick);
    });
  }

  /**
   * What may differ from the peer's copy is covered by the activity log until its bits are durable: from now on a flush on both
   * would let extents leave the log although their dirty blocks are not equal yet.
   */
  #keepDirtyBits(): void {
    for (const replica of this.replicas) if (replica.bitmap.count > 0) this.#keepBits(replica, () => {});
  }

  /** Makes the bits of a replica durable; `then` is not called when that fails. */
  #keepBits(replica: Replica, then: () => void): void {
    replica.bitmapWrites += 1;
    replica.writeBitmapSafely((ok) => {
      replica.bitmapWrites -= 1;
      if (!ok) return this.diskFailed(replica.name, 'writing the dirty bitmap');
      then();
    });
  }

  /** Settles some time later: after writes, and while a resync goes on. */
  scheduleSettle(): void {
    if (this.#settleTimer !== undefined || this.#gate === 'closed') return;
    this.#settleTimer = this.#clock.after(settleIntervalMs, () => {
      this.#settleTimer = undefined;
      for (const replica of this.replicas) this.settle(replica);
    });
  }

  // ---- internals ------------------------------------------------------------------------------------------------------

  diskFailed(volume: string, during: string): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#gate = this.#gate === 'closed' ? 'closed' : 'held';
    this.#events.diskFailed(volume, during);
  }

  /** What the peer might lack if it lost its page cache becomes dirty, also what finishes from now on. */
  #markUnstableDirty(): void {
    this.#epoch += 1;
    for (const replica of this.replicas) replica.markUnstableDirty();
  }

  /** What the peer did not answer becomes dirty and is acknowledged alone. */
  #convertAwaiting(): void {
    assertInvariant(this.#soloAllowed, 'acknowledging alone is allowed');
    const awaiting = [...this.#awaitingPeer];
    this.#awaitingPeer.clear();
    for (const request of awaiting) {
      if (request instanceof Mutation) request.markDirty();
      else request.both = false;
      request.peerPending = false;
    }
    this.#markUnstableDirty();
    for (const request of awaiting) if (!request.localPending) this.#finish(request);
  }

  #open(): void {
    if (this.#failed) return;
    this.#gate = 'open';
    this.#drain();
  }

  #drain(): void {
    const backlog = this.#backlog;
    this.#backlog = [];
    for (const mutation of backlog) this.#issue(mutation);
    for (const replica of this.replicas) {
      if (replica.flushWaiters.length > 0) this.#startFlush(replica);
      this.settle(replica);
    }
  }

  #reportDrained(): void {
    if (this.#issuedCount > 0 || this.#drainWaiters.length === 0) return;
    for (const waiter of this.#drainWaiters.splice(0)) waiter();
  }

  #whenIdle(done: () => void): void {
    this.#idleWaiters.push(done);
    this.#reportIdle();
  }

  #reportIdle(): void {
    if (this.#inFlight.size > 0 || this.#idleWaiters.length === 0) return;
    for (const replica of this.replicas) if (replica.flushRunning !== undefined) return;
    for (const waiter of this.#idleWaiters.splice(0)) waiter();
  }
}
