/**
 * The metadata file of a simulated host: the test disk of test/disk with completions in virtual time, in any order. Power loss
 * keeps any part of what was not synced, sector by sector. It knows which part of the file is on its way to the disk.
 */
import type { MirrorMetadata } from '../../src/cluster/mirror-ports.ts';
import type { BlockError } from '../../src/base/block-device.ts';
import { planFile } from '../../src/disk/format.ts';
import type { MetadataStore } from '../../src/disk/metadata-store.ts';
import type { VolumeIdentity } from '../../src/disk/state.ts';
import { SimulatedStorage } from '../disk/simulated-storage.ts';
import type { Random } from './random.ts';
import { type BusyDisk, busyFlushMs, patienceMs } from './simulated-disk.ts';
import type { Life, SimulatedTime } from './simulated-time.ts';

/** Small, so that rings wrap around in a short run. */
export const ringBlocks = 8;

export type MetadataArea = 'superblock' | 'activity-log' | 'bitmap';

export class TimedStorage extends SimulatedStorage {
  readonly #time: SimulatedTime;
  readonly #random: Random;
  readonly #areas: readonly { readonly endBytes: number; readonly area: MetadataArea }[];
  /** What is written and not synced yet. */
  readonly underWay = new Set<MetadataArea>();
  slowness = 1;
  /** Syncs take long, as on the disk of the same name. */
  busy: BusyDisk | undefined;
  /** As of a disk. */
  tooLateMs = Number.NEGATIVE_INFINITY;
  /** The process that has it open. */
  #life: Life | undefined;
  #failedThisProcess = false;
  #hung = false;
  #hanging = 0;
  /** It always had a call to work at from here to there, ms. */
  #busySinceMs = 0;
  #busyUntilMs = 0;

  constructor(volumes: readonly VolumeIdentity[], time: SimulatedTime, random: Random) {
    const plan = planFile(volumes, ringBlocks);
    super(plan.fileSizeBytes);
    this.#time = time;
    this.#random = random;
    const starts = plan.areas.flatMap(({ ringOffsetBytes, bitmapOffsetBytes }) => [
      { startBytes: ringOffsetBytes, area: 'activity-log' as const },
      { startBytes: bitmapOffsetBytes, area: 'bitmap' as const },
    ]);
    const inOrder = starts.sort((left, right) => left.startBytes - right.startBytes);
    this.#areas = [{ startBytes: 0, area: 'superblock' as const }, ...inOrder].map(({ area }, index) => ({
      area,
      endBytes: inOrder[index]?.startBytes ?? plan.fileSizeBytes,
    }));
  }

  /** From now on calls are those of this process. */
  openedBy(life: Life): void {
    this.#life = life;
    this.#failedThisProcess = false;
  }

  /** A call of this process may have failed: its store is over, also when the disk works again. */
  get failedThisProcess(): boolean {
    return this.#failedThisProcess || this.failing !== undefined;
  }

  startFailing(kind: 'write' | 'sync'): void {
    this.failing = kind;
    this.#failedThisProcess = true;
  }

  get hung(): boolean {
    return this.#hung;
  }

  stopFailing(): void {
    this.#failedThisProcess ||= this.failing !== undefined;
    this.failing = undefined;
  }

  /** No call ends from now on; at the end of it, all do. */
  set hung(hung: boolean) {
    this.#hung = hung;
    if (hung) return;
    for (; this.#hanging > 0; this.#hanging -= 1) this.#completeOne(0, 1);
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
    const touched = this.#areas.find(({ endBytes }) => offsetBytes < endBytes);
    if (touched !== undefined) this.underWay.add(touched.area);
    super.write(offsetBytes, bytes, done);
    this.#completeOne(0.05, 0.3);
  }

  override sync(done: (error: BlockError | undefined) => void): void {
    super.sync((error) => {
      this.underWay.clear();
      done(error);
    });
    const { busy } = this;
    if (busy === undefined) this.#completeOne(0.3, 6);
    else this.#completeAfter(busyFlushMs(busy));
  }

  override crashProcess(): void {
    super.crashProcess();
    this.underWay.clear();
    this.#hanging = 0;
  }

  #completeOne(fromMs: number, toMs: number): void {
    const hiccup = this.#random.chance(0.01) ? 20 : 1;
    this.#completeAfter(this.#random.between(fromMs, toMs) * this.slowness * hiccup);
  }

  #completeAfter(delayMs: number): void {
    const { nowMs } = this.#time;
    if (nowMs > this.#busyUntilMs) this.#busySinceMs = nowMs;
    this.#busyUntilMs = Math.max(this.#busyUntilMs, nowMs + delayMs);
    // Changes of one superblock wait for one another: the last one may have waited for all calls since the disk was idle.
    if (this.#busyUntilMs - this.#busySinceMs > patienceMs)
      this.tooLateMs = Math.max(this.tooLateMs, this.#time.nowMs + delayMs);
    this.#time.after(
      delayMs,
      () => {
        if (this.#hung) this.#hanging += 1;
        else this.step((count) => this.#random.below(Math.max(1, count)));
      },
      this.#life,
    );
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
