/** The metadata file of a simulated host: the test disk of test/disk with completions in virtual time, in any order. */
import type { MirrorMetadata } from '../../src/cluster/mirror-ports.ts';
import type { BlockError } from '../../src/base/block-device.ts';
import type { MetadataStore } from '../../src/disk/metadata-store.ts';
import { SimulatedStorage } from '../disk/simulated-storage.ts';
import type { Random } from './random.ts';
import type { SimulatedTime } from './simulated-time.ts';

/** Small, so that rings wrap around in a short run. */
export const ringBlocks = 8;

export class TimedStorage extends SimulatedStorage {
  readonly #time: SimulatedTime;
  readonly #random: Random;
  slowness = 1;
  #hung = false;
  #hanging = 0;

  constructor(sizeBytes: number, time: SimulatedTime, random: Random) {
    super(sizeBytes);
    this.#time = time;
    this.#random = random;
  }

  get hung(): boolean {
    return this.#hung;
  }

  /** No call ends from now on; at the end of it, all do. */
  set hung(hung: boolean) {
    this.#hung = hung;
    if (hung) return;
    for (; this.#hanging > 0; this.#hanging -= 1) this.#completeOne(0, 1);
  }

  override crashProcess(): void {
    super.crashProcess();
    this.#hanging = 0;
  }

  override read(
    offsetBytes: number,
    lengthBytes: number,
    done: (error: undefined, bytes: Uint8Array) => void,
  ): void {
    super.read(offsetBytes, lengthBytes, done);
    this.#completeOne(0.05, 0.3);
  }

  override write(
    offsetBytes: number,
    bytes: Uint8Array,
    done: (error: BlockError | undefined) => void,
  ): void {
    super.write(offsetBytes, bytes, done);
    this.#completeOne(0.05, 0.3);
  }

  override sync(done: (error: BlockError | undefined) => void): void {
    super.sync(done);
    this.#completeOne(0.3, 6);
  }

  #completeOne(fromMs: number, toMs: number): void {
    const hiccup = this.#random.chance(0.01) ? 20 : 1;
    const delayMs = this.#random.between(fromMs, toMs) * this.slowness * hiccup;
    this.#time.after(delayMs, () => {
      if (this.#hung) this.#hanging += 1;
      else this.step((count) => this.#random.below(Math.max(1, count)));
    });
  }
}

/** The store as the engine and the cluster rules know it. */
export function metadataPort(store: MetadataStore): MirrorMetadata {
  return {
    persist: (state, done) => store.persist(state, (error) => done(error === undefined)),
    writeActivityLog: (volume, hot, done) =>
      store.writeActivityLog(volume, hot, (error) => done(error === undefined)),
    writeBitmap: (volume, bitmap, done) =>
      store.writeBitmapPages(volume, bitmap, bitmap.takeChangedPages(), (error) => done(error === undefined)),
  };
}
