/** One primary engine over disks in memory, bookkeeping that the test can hold back, and a virtual clock. */
import type { BlockError, Completion } from '../../src/base/block-device.ts';
import { DirtyBitmap } from '../../src/disk/dirty-bitmap.ts';
import { blockSizeBytes } from '../../src/disk/state.ts';
import { MirroredVolume } from '../../src/engine/mirrored-volume.ts';
import { PrimaryEngine } from '../../src/engine/primary-engine.ts';
import { type MetadataPort, Replica } from '../../src/engine/replica.ts';
import { VirtualClock } from '../base/virtual-clock.ts';
import { MemoryDevice } from '../nbd/memory-device.ts';

/** Bookkeeping in memory; completes at once unless `holding`. */
export class MemoryMetadata implements MetadataPort {
  holding = false;
  activityLogWrites = 0;
  bitmapWrites = 0;
  hot: readonly number[] = [];
  /** Blocks that are dirty in the last bitmap that was written. */
  dirtyBlocks: readonly number[] = [];
  readonly #held: (() => void)[] = [];

  writeActivityLog(_volume: number, hot: readonly number[], done: (ok: boolean) => void): void {
    this.activityLogWrites += 1;
    this.#complete(() => {
      this.hot = [...hot];
      done(true);
    });
  }

  writeBitmap(_volume: number, bitmap: DirtyBitmap, done: (ok: boolean) => void): void {
    this.bitmapWrites += 1;
    const dirty = dirtyBlocks(bitmap);
    this.#complete(() => {
      this.dirtyBlocks = dirty;
      done(true);
    });
  }

  release(): void {
    this.holding = false;
    for (const complete of this.#held.splice(0)) complete();
  }

  #complete(complete: () => void): void {
    if (this.holding) this.#held.push(complete);
    else complete();
  }
}

export function dirtyBlocks(bitmap: DirtyBitmap): number[] {
  const blocks: number[] = [];
  bitmap.forEach((block) => blocks.push(block));
  return blocks;
}

/** What the guest saw of one request. */
export class GuestRequest implements Completion {
  answer: 'none' | 'ok' | BlockError = 'none';

  done(error: BlockError | undefined): void {
    if (this.answer !== 'none') throw new Error('a request is answered once');
    this.answer = error ?? 'ok';
  }
}

export class EngineFixture {
  readonly clock = new VirtualClock();
  readonly device: MemoryDevice;
  readonly metadata = new MemoryMetadata();
  readonly diskFailures: string[] = [];
  readonly replica: Replica;
  readonly engine: PrimaryEngine;
  readonly volume: MirroredVolume;

  constructor(sizeBytes = 64 * blockSizeBytes) {
    this.device = new MemoryDevice(sizeBytes);
    const volume = { name: 'disk0', device: this.device, bitmap: new DirtyBitmap(sizeBytes), hotExtents: [] };
    this.replica = new Replica(0, volume, this.metadata, (replica) => this.engine.settle(replica));
    this.engine = new PrimaryEngine([this.replica], this.clock, {
      diskFailed: (name, during) => this.diskFailures.push(`${name}: ${during}`),
    });
    this.volume = new MirroredVolume(this.engine, this.replica);
  }

  get dirty(): number[] {
    return dirtyBlocks(this.replica.bitmap);
  }

  /** A write of `lengthBytes` bytes that all are `value`. */
  write(offsetBytes: number, lengthBytes: number, value: number, fua = false): GuestRequest {
    const request = new GuestRequest();
    this.volume.write(offsetBytes, lengthBytes, [new Uint8Array(lengthBytes).fill(value)], fua, request);
    return request;
  }

  flush(): GuestRequest {
    const request = new GuestRequest();
    this.volume.flush(request);
    return request;
  }
}
