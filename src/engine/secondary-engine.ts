/**
 * Applies what the primary sends to this node's copy: writes in the order of arrival where they overlap, flushes, resync
 * blocks, checksums. It answers a request only when the disk file has done it. A disk error is answered as failed and
 * reported; this node then leaves the pair.
 *
 * It does not know whether the copy is up to date or the target of a resync; that is decided and persisted elsewhere
 * before the primary sends anything.
 */
import type { BlockError, Completion } from '../base/block-device.ts';
import { blockSizeBytes } from '../disk/state.ts';
import { FrameFlag, FrameType, type FrameHeader } from '../link/frames.ts';
import { type BlockChecksum, blockDigests } from './block-digests.ts';
import type { PeerChannel } from './peer-channel.ts';
import { RangeHolder } from './range-locks.ts';
import type { Replica } from './replica.ts';

export interface SecondaryEngineEvents {
  diskFailed(volume: string, during: string): void;
}

/** Most bytes of one checksum request. */
export const checksumBytesMax = 1024 * 1024;

export class SecondaryEngine {
  readonly #replicas: readonly Replica[];
  readonly #checksum: BlockChecksum;
  readonly #events: SecondaryEngineEvents;
  #running = 0;
  #idleWaiters: (() => void)[] = [];
  readonly counters = { appliedWrites: 0, appliedBytes: 0, resyncBytes: 0, flushes: 0 };

  constructor(replicas: readonly Replica[], checksum: BlockChecksum, events: SecondaryEngineEvents) {
    this.#replicas = replicas;
    this.#checksum = checksum;
    this.#events = events;
  }

  /** `done` when nothing of what arrived earlier is still being applied: before a handshake, and before serving. */
  whenIdle(done: () => void): void {
    this.#idleWaiters.push(done);
    this.#reportIdle();
  }

  /** One request of the primary. A string says how it breaks the protocol. */
  request(header: FrameHeader, payload: readonly Uint8Array[], channel: PeerChannel): string | undefined {
    const replica = this.#replicas[header.volume];
    if (replica === undefined) return `a request for volume ${header.volume}, which does not exist`;
    const { offsetBytes, lengthBytes } = header;
    const isFlush = header.type === FrameType.flush;
    if (!isFlush && (lengthBytes === 0 || offsetBytes + lengthBytes > replica.device.sizeBytes)) {
      return `a request for ${lengthBytes} bytes at ${offsetBytes}, outside volume ${replica.name}`;
    }
    const isWrite = header.type === FrameType.write || header.type === FrameType.resyncWrite;
    if (isWrite !== header.payloadBytes > 0 || (isWrite && header.payloadBytes !== lengthBytes)) {
      return `a request whose payload has ${header.payloadBytes} bytes for a range of ${lengthBytes}`;
    }
    if (header.type === FrameType.checksumRequest) {
      if (lengthBytes > checksumBytesMax || offsetBytes % blockSizeBytes !== 0)
        return 'a checksum request of a wrong size';
      this.#checksumRange(replica, header, channel);
      return undefined;
    }
    const apply = new Apply(this, replica, header, payload, channel);
    this.#running += 1;
    if (isFlush) apply.rangeAcquired();
    else if (replica.locks.acquire(apply, offsetBytes, offsetBytes + lengthBytes)) apply.rangeAcquired();
    return undefined;
  }

  finished(apply: Apply, error: BlockError | undefined): void {
    const { header, replica } = apply;
    if (header.type === FrameType.flush) this.counters.flushes += 1;
    else replica.locks.release(apply);
    this.#running -= 1;
    if (error !== undefined) {
      apply.channel.answer(header, true);
      this.#events.diskFailed(replica.name, error);
    } else {
      if (header.type === FrameType.resyncWrite) this.counters.resyncBytes += header.lengthBytes;
      else if (header.type !== FrameType.flush) {
        this.counters.appliedWrites += 1;
        this.counters.appliedBytes += header.lengthBytes;
      }
      apply.channel.answer(header, false);
    }
    this.#reportIdle();
  }

  #checksumRange(replica: Replica, header: FrameHeader, channel: PeerChannel): void {
    const { offsetBytes, lengthBytes } = header;
    this.#running += 1;
    // Holes are read like data: asking for them was measured to cost more, on some file systems far more.
    replica.device.read(offsetBytes, lengthBytes, {
      done: (error, chunks) => {
        this.#running -= 1;
        if (error !== undefined) {
          channel.answer(header, true);
          this.#events.diskFailed(replica.name, error);
        } else {
          const digests = blockDigests(chunks, lengthBytes, this.#checksum);
          channel.answerWith(FrameType.checksumReply, header, digests);
        }
        this.#reportIdle();
      },
    });
  }

  #reportIdle(): void {
    if (this.#running > 0 || this.#idleWaiters.length === 0) return;
    for (const waiter of this.#idleWaiters.splice(0)) waiter();
  }
}

class Apply extends RangeHolder implements Completion {
  readonly #engine: SecondaryEngine;
  readonly replica: Replica;
  readonly header: FrameHeader;
  readonly #payload: readonly Uint8Array[];
  readonly channel: PeerChannel;

  constructor(
    engine: SecondaryEngine,
    replica: Replica,
    header: FrameHeader,
    payload: readonly Uint8Array[],
    channel: PeerChannel,
  ) {
    super();
    this.#engine = engine;
    this.replica = replica;
    this.header = header;
    this.#payload = payload;
    this.channel = channel;
  }

  rangeAcquired(): void {
    const { type, flags, offsetBytes, lengthBytes } = this.header;
    const { device } = this.replica;
    const fua = (flags & FrameFlag.fua) !== 0;
    const mayPunch = (flags & FrameFlag.mayPunch) !== 0;
    if (type === FrameType.flush) device.flush(this);
    else if (type === FrameType.trim) device.trim(offsetBytes, lengthBytes, fua, this);
    else if (type === FrameType.write || type === FrameType.resyncWrite) {
      device.write(offsetBytes, lengthBytes, this.#payload, fua, this);
    } else device.zero(offsetBytes, lengthBytes, { fua, mayPunch, fast: false }, this);
  }

  done(error: BlockError | undefined): void {
    this.#engine.finished(this, error);
  }
}
