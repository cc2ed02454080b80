/**
 * A resync between two disks in memory: the shipped source, the shipped secondary, and the wire format between them. Frames are
 * delivered when the test says so, in order. No cluster rules: who may be source is decided elsewhere.
 */
import { DirtyBitmap } from '../../src/disk/dirty-bitmap.ts';
import { blockSizeBytes } from '../../src/disk/state.ts';
import type { BlockChecksum } from '../../src/engine/block-digests.ts';
import { PeerChannel } from '../../src/engine/peer-channel.ts';
import { Replica } from '../../src/engine/replica.ts';
import { ResyncSource } from '../../src/engine/resync-source.ts';
import { SecondaryEngine } from '../../src/engine/secondary-engine.ts';
import { type FrameHeader, FrameParser, FrameType } from '../../src/link/frames.ts';
import type { LinkConnection } from '../../src/link/transport.ts';
import { blockChecksum } from '../../src/platform/block-checksum.ts';
import { VirtualClock } from '../base/virtual-clock.ts';
import { MemoryDevice } from '../nbd/memory-device.ts';
import { MemoryMetadata } from './engine-fixture.ts';

/** One end of a link; what it sends waits until it is delivered. */
class HeldEnd implements LinkConnection {
  readonly peer = 'peer';
  readonly queue: Uint8Array[] = [];

  send(header: Uint8Array, payload: readonly Uint8Array[]): void {
    this.queue.push(header, ...payload);
  }
  queuedBytes(): number {
    return 0;
  }
  destroy(): void {}
}

export interface SeenFrame {
  readonly type: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export class ResyncFixture {
  readonly clock = new VirtualClock();
  readonly mine: MemoryDevice;
  readonly theirs: MemoryDevice;
  readonly metadata = new MemoryMetadata();
  readonly replica: Replica;
  readonly target: Replica;
  readonly source: ResyncSource;
  /** Requests that reached the target. */
  readonly frames: SeenFrame[] = [];
  readonly failures: string[] = [];
  openRequests = 0;
  copied = false;
  readonly #secondary: SecondaryEngine;
  readonly #toTarget = new HeldEnd();
  readonly #toSource = new HeldEnd();
  readonly #channel = new PeerChannel(this.#toTarget);
  readonly #answers = new PeerChannel(this.#toSource);
  readonly #targetParser: FrameParser;
  readonly #sourceParser: FrameParser;

  constructor(blocks: number, bytesPerSecondMax?: number, checksum: BlockChecksum = blockChecksum) {
    const sizeBytes = blocks * blockSizeBytes;
    this.mine = new MemoryDevice(sizeBytes);
    this.theirs = new MemoryDevice(sizeBytes);
    const replica = (device: MemoryDevice, metadata: MemoryMetadata): Replica => {
      const volume = { name: 'disk0', device, bitmap: new DirtyBitmap(sizeBytes), hotExtents: [] };
      return new Replica(0, volume, metadata, () => {});
    };
    this.replica = replica(this.mine, this.metadata);
    this.target = replica(this.theirs, new MemoryMetadata());
    this.#secondary = new SecondaryEngine([this.target], checksum, {
      diskFailed: (volume, during) => this.failures.push(`target ${volume}: ${during}`),
    });
    this.#targetParser = new FrameParser({ frame: (header, payload) => this.#request(header, payload) });
    this.#sourceParser = new FrameParser({
      frame: (header, payload) => void this.#channel.answerArrived(header, payload),
    });
    const parts = {
      clock: this.clock,
      replicas: [this.replica],
      checksum,
      mayCompare: true,
      guestRequests: () => this.openRequests,
      bytesPerSecondMax: () => bytesPerSecondMax,
    };
    this.source = new ResyncSource(parts, this.#channel, {
      copied: () => (this.copied = true),
      diskFailed: (volume, during) => this.failures.push(`source ${volume}: ${during}`),
    });
  }

  #request(header: FrameHeader, payload: readonly Uint8Array[]): void {
    const { type, offsetBytes, lengthBytes } = header;
    this.frames.push({ type, offsetBytes, lengthBytes });
    const problem = this.#secondary.request(header, payload, this.#answers);
    if (problem !== undefined) throw new Error(problem);
  }

  /** Writes `value` to whole blocks of a disk, past every engine. */
  fill(device: MemoryDevice, firstBlock: number, blocks: number, value: number): void {
    const lengthBytes = blocks * blockSizeBytes;
    const bytes = new Uint8Array(lengthBytes).fill(value);
    device.write(firstBlock * blockSizeBytes, lengthBytes, [bytes], false, { done: () => {} });
  }

  /** What was sent is delivered to the target. */
  deliver(): void {
    for (const bytes of this.#toTarget.queue.splice(0)) this.#targetParser.received(bytes);
  }

  /** What the target answered is delivered to the source. */
  answer(): void {
    for (const bytes of this.#toSource.queue.splice(0)) this.#sourceParser.received(bytes);
  }

  /** Delivers everything until nothing more is sent. */
  settle(): void {
    while (this.#toTarget.queue.length > 0 || this.#toSource.queue.length > 0) {
      this.deliver();
      this.answer();
    }
  }

  closeChannel(): void {
    this.#channel.close();
    this.source.stop();
  }

  /** Bytes of payload that reached the target as data. */
  get dataBytes(): number {
    return this.frames
      .filter(({ type }) => type === FrameType.resyncWrite)
      .reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  }

  get copiesAreEqual(): boolean {
    return this.mine.bytes.every((byte, at) => byte === this.theirs.bytes[at]);
  }
}
