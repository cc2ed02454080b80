/**
 * Makes the two copies of a pair in sync equal again where the own disk could not take a write that the peer took: a disk
 * without room. The guest was told, so either content is right, but both copies must have the same: that of the own disk, which
 * the guest reads. Block after block is locked, read, and sent as an ordinary write; then both copies are flushed, and only
 * then may the activity log let the extents go.
 *
 * A crash at any point leaves them in the activity log. It does not wait for room: the guest tries again by itself.
 */
import type { Clock } from '../base/clock.ts';
import { blockSizeBytes } from '../disk/state.ts';
import { FrameType } from '../link/frames.ts';
import type { AnswerSink, PeerChannel } from './peer-channel.ts';
import type { PrimaryEngine, PrimaryEngineEvents } from './primary-engine.ts';
import { RangeHolder } from './range-locks.ts';
import type { Replica } from './replica.ts';

/** From the beginning of one pass to that of the next, ms. */
export const passIntervalMs = 2000;

export class BlockRepair {
  readonly #engine: PrimaryEngine;
  readonly #clock: Clock;
  readonly #events: PrimaryEngineEvents;
  #channel: PeerChannel | undefined;
  #block: RepairedBlock | undefined;
  #notBeforeMs = 0;
  /** Blocks that were sent, since the start of the process. */
  repairedBlocks = 0;

  constructor(engine: PrimaryEngine, clock: Clock, events: PrimaryEngineEvents) {
    this.#engine = engine;
    this.#clock = clock;
    this.#events = events;
  }

  /** Looks for dirty blocks; called again and again while the pair is in sync and this node serves. */
  consider(channel: PeerChannel): void {
    const nowMs = this.#clock.nowMs();
    if (this.#channel !== undefined || nowMs < this.#notBeforeMs) return;
    // Pinned without a dirty bit: a resync or a verify has made the block equal.
    if (this.#engine.replicas.every(({ bitmap, log }) => bitmap.count === 0 && !log.hasPinned)) return;
    this.#notBeforeMs = nowMs + passIntervalMs;
    this.#channel = channel;
    this.#next(channel, 0, 0);
  }

  /** The pair is not in sync any more, or this node serves no more. */
  stop(): void {
    this.#channel = undefined;
    const block = this.#block;
    this.#block = undefined;
    if (block === undefined) return;
    block.stopped = true;
    block.replica.locks.release(block);
  }

  #next(channel: PeerChannel, volume: number, fromBlock: number): void {
    const replica = this.#engine.replicas[volume];
    if (replica === undefined) return this.#finish(channel);
    const block = replica.bitmap.nextDirty(fromBlock);
    if (block === -1) return this.#next(channel, volume + 1, 0);
    const repaired = new RepairedBlock(replica, block, channel, (outcome) => {
      // Stopped meanwhile: the range was released then.
      if (this.#block !== repaired) return;
      this.#block = undefined;
      if (outcome === 'sent') {
        replica.bitmap.clearBlock(block);
        replica.markUnstable(repaired.offsetBytes, repaired.lengthBytes);
        this.repairedBlocks += 1;
      }
      replica.locks.release(repaired);
      if (outcome === 'sent') return this.#next(channel, volume, block + 1);
      this.#channel = undefined;
      if (outcome === 'unreadable') this.#events.diskFailed(replica.name, 'reading for a repair');
    });
    this.#block = repaired;
    repaired.begin();
  }

  #finish(channel: PeerChannel): void {
    const ticks = this.#engine.replicas.map(({ log }) => log.beginSettling());
    this.#engine.flushAll(() => {
      if (this.#channel !== channel) return;
      this.#channel = undefined;
      for (const replica of this.#engine.replicas) {
        replica.writeBitmap((ok) => {
          // Not with a block that became dirty meanwhile: its extent stays for the next pass.
          if (!ok || replica.bitmap.count > 0) return;
          const tick = ticks[replica.index] as number;
          replica.log.unpin(tick);
          replica.log.settled(tick);
        });
      }
    });
  }
}

type Outcome = 'sent' | 'refused' | 'unreadable';

/** One block on its way: locked against guest writes, read, sent, answered. */
class RepairedBlock extends RangeHolder implements AnswerSink {
  readonly replica: Replica;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Its range is free: what is read from now on may be older than what the guest writes there. */
  stopped = false;
  readonly #channel: PeerChannel;
  readonly #done: (outcome: Outcome) => void;

  constructor(replica: Replica, block: number, channel: PeerChannel, done: (outcome: Outcome) => void) {
    super();
    this.replica = replica;
    this.offsetBytes = block * blockSizeBytes;
    this.lengthBytes = Math.min(blockSizeBytes, replica.device.sizeBytes - this.offsetBytes);
    this.#channel = channel;
    this.#done = done;
  }

  begin(): void {
    if (this.replica.locks.acquire(this, this.offsetBytes, this.offsetBytes + this.lengthBytes))
      this.rangeAcquired();
  }

  rangeAcquired(): void {
    const { replica, offsetBytes, lengthBytes } = this;
    replica.device.read(offsetBytes, lengthBytes, {
      done: (error, chunks) => {
        if (this.stopped) return;
        if (error !== undefined) return this.#done('unreadable');
        this.#channel.request(
          FrameType.write,
          0,
          replica.index,
          offsetBytes,
          lengthBytes,
          chunks,
          lengthBytes,
          this,
        );
      },
    });
  }

  /** A peer whose disk fails leaves the pair by itself. */
  answered(failed: boolean): void {
    this.#done(failed ? 'refused' : 'sent');
  }
}
