/**
 * A disk file of one host. It keeps one tag per sector of 4 KiB instead of bytes: every word of a sector's content is its
 * tag, and zero means zeroes. Three levels: in flight (a process asked), completed (in the host's cache, readers see it),
 * durable. A process kill lets any part of what is in flight happen; a power loss keeps, for each sector, any version
 * since the durable one, so that writes are lost, torn and reordered.
 * It does not model sectors that go bad, nor content smaller than a sector.
 */
import type {
  AllocationCompletion,
  AllocationExtent,
  BlockDevice,
  BlockError,
  Completion,
  ReadCompletion,
  ZeroOptions,
} from '../../src/base/block-device.ts';
import { joinChunks } from '../../src/link/frames.ts';
import type { Random } from './random.ts';
import type { Life, SimulatedTime } from './simulated-time.ts';

export const sectorBytes = 4096;
const wordsPerSector = sectorBytes / 4;

interface Change {
  readonly firstSector: number;
  readonly tags: Uint32Array;
  readonly life: Life;
}

/** The content of sectors with these tags. */
export function bytesOf(tags: Uint32Array): Uint8Array {
  const words = new Uint32Array(tags.length * wordsPerSector);
  for (let index = 0; index < tags.length; index += 1) {
    const tag = tags[index] as number;
    if (tag !== 0) words.fill(tag, index * wordsPerSector, (index + 1) * wordsPerSector);
  }
  return new Uint8Array(words.buffer);
}

/** The tags of whole sectors; throws when a sector's content is not of one tag, which is corruption. */
export function tagsOf(chunks: readonly Uint8Array[], lengthBytes: number): Uint32Array {
  const bytes = joinChunks(chunks);
  if (bytes.length !== lengthBytes) throw new Error('the chunks of a request have its length');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const tags = new Uint32Array(lengthBytes / sectorBytes);
  for (let index = 0; index < tags.length; index += 1) {
    const start = index * sectorBytes;
    const tag = view.getUint32(start, true);
    if (view.getUint32(start + sectorBytes - 4, true) !== tag) throw new Error('a sector of mixed content');
    tags[index] = tag;
  }
  return tags;
}

export class SimulatedDisk {
  readonly sizeBytes: number;
  /** What readers see. */
  readonly seen: Uint32Array;
  readonly #durable: Uint32Array;
  /** Versions since the durable one, oldest first, of sectors that have any. */
  readonly #unflushed = new Map<number, number[]>();
  readonly #inFlight = new Set<Change>();
  readonly #time: SimulatedTime;
  readonly #random: Random;
  /** Multiplies every delay: a slow disk. */
  slowness = 1;
  /** When set, calls of this kind fail from now on. */
  failing: 'write' | 'flush' | 'read' | 'no-space' | undefined;
  /** Calls that a hung disk does not finish. */
  readonly #hanging: { readonly life: Life; readonly callback: () => void }[] = [];
  #hung = false;

  constructor(sizeBytes: number, time: SimulatedTime, random: Random) {
    this.sizeBytes = sizeBytes;
    this.seen = new Uint32Array(sizeBytes / sectorBytes);
    this.#durable = new Uint32Array(sizeBytes / sectorBytes);
    this.#time = time;
    this.#random = random;
  }

  /** Content that was there before anything started. */
  fill(firstSector: number, tags: Uint32Array): void {
    this.seen.set(tags, firstSector);
    this.#durable.set(tags, firstSector);
  }

  /** The disk file as one process has it open. */
  openedBy(life: Life): BlockDevice {
    return new OpenedDisk(this, life);
  }

  get hung(): boolean {
    return this.#hung;
  }

  /** No call ends from now on; at the end of it, all do. */
  set hung(hung: boolean) {
    this.#hung = hung;
    if (hung) return;
    for (const { life, callback } of this.#hanging.splice(0)) this.#later(life, 0, 1, callback);
  }

  read(offsetBytes: number, lengthBytes: number, completion: ReadCompletion, life: Life): void {
    this.#later(life, 0.05, 0.5, () => {
      if (this.failing === 'read') return completion.done('io-error', []);
      const first = offsetBytes / sectorBytes;
      completion.done(undefined, [bytesOf(this.seen.subarray(first, first + lengthBytes / sectorBytes))]);
    });
  }

  change(offsetBytes: number, tags: Uint32Array, fua: boolean, completion: Completion, life: Life): void {
    const change: Change = { firstSector: offsetBytes / sectorBytes, tags, life };
    this.#inFlight.add(change);
    this.#later(life, 0.05, fua ? 5 : 1, () => {
      this.#inFlight.delete(change);
      if (this.failing === 'write') return completion.done('io-error');
      if (this.failing === 'no-space') return completion.done('no-space');
      if (fua && this.failing === 'flush') return completion.done('io-error');
      this.#apply(change, () => true);
      if (fua) for (let index = 0; index < tags.length; index += 1) this.#keep(change.firstSector + index);
      completion.done(undefined);
    });
  }

  flush(completion: Completion, life: Life): void {
    const versions = new Map([...this.#unflushed].map(([sector, list]) => [sector, list.length]));
    this.#later(life, 0.5, 8, () => {
      if (this.failing === 'flush') {
        // What it covered stays in the cache, where the next flush takes it for clean.
        for (const [sector, count] of versions) this.#unflushed.get(sector)?.splice(0, count);
        return completion.done('io-error');
      }
      for (const [sector, count] of versions) {
        const list = this.#unflushed.get(sector);
        // Shorter: a FUA write made a later version durable meanwhile.
        if (list === undefined || list.length < count) continue;
        this.#durable[sector] = list[count - 1] as number;
        list.splice(0, count);
        if (list.length === 0) this.#unflushed.delete(sector);
      }
      completion.done(undefined);
    });
  }

  /** The process is gone: what it had asked for happened, or not, or in part. */
  processKilled(life: Life): void {
    for (const change of this.#inFlight) {
      if (change.life !== life) continue;
      this.#inFlight.delete(change);
      const share = this.#random.pick([0, 0.5, 1]);
      this.#apply(change, () => this.#random.chance(share));
    }
  }

  powerLost(): void {
    for (const change of this.#inFlight) this.#apply(change, () => this.#random.chance(0.5));
    this.#inFlight.clear();
    this.#hanging.length = 0;
    const share = this.#random.pick([0, 0.1, 0.5, 0.9, 1]);
    for (const [sector, versions] of this.#unflushed) {
      if (versions.length > 0 && this.#random.chance(share)) {
        const newest = this.#random.chance(0.8);
        this.#durable[sector] = newest ? (versions.at(-1) as number) : this.#random.pick(versions);
      }
    }
    this.#unflushed.clear();
    this.seen.set(this.#durable);
  }

  #apply(change: Change, happens: () => boolean): void {
    change.tags.forEach((tag, index) => {
      if (!happens()) return;
      const sector = change.firstSector + index;
      this.seen[sector] = tag;
      const versions = this.#unflushed.get(sector);
      if (versions === undefined) this.#unflushed.set(sector, [tag]);
      else versions.push(tag);
    });
  }

  #keep(sector: number): void {
    this.#durable[sector] = this.seen[sector] as number;
    this.#unflushed.delete(sector);
  }

  #later(life: Life, fromMs: number, toMs: number, callback: () => void): void {
    const hiccup = this.#random.chance(0.01) ? 20 : 1;
    this.#time.after(
      this.#random.between(fromMs, toMs) * this.slowness * hiccup,
      () => {
        if (this.#hung) this.#hanging.push({ life, callback });
        else callback();
      },
      life,
    );
  }
}

class OpenedDisk implements BlockDevice {
  readonly sizeBytes: number;
  readonly #disk: SimulatedDisk;
  readonly #life: Life;

  constructor(disk: SimulatedDisk, life: Life) {
    this.#disk = disk;
    this.#life = life;
    this.sizeBytes = disk.sizeBytes;
  }

  read(offsetBytes: number, lengthBytes: number, completion: ReadCompletion): void {
    this.#disk.read(offsetBytes, lengthBytes, completion, this.#life);
  }

  write(
    offsetBytes: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[],
    fua: boolean,
    completion: Completion,
  ): void {
    this.#disk.change(offsetBytes, tagsOf(chunks, lengthBytes), fua, completion, this.#life);
  }

  flush(completion: Completion): void {
    this.#disk.flush(completion, this.#life);
  }

  trim(offsetBytes: number, lengthBytes: number, fua: boolean, completion: Completion): void {
    this.#disk.change(offsetBytes, new Uint32Array(lengthBytes / sectorBytes), fua, completion, this.#life);
  }

  zero(offsetBytes: number, lengthBytes: number, options: ZeroOptions, completion: Completion): void {
    this.trim(offsetBytes, lengthBytes, options.fua, completion);
  }

  allocation(offsetBytes: number, lengthBytes: number, completion: AllocationCompletion): void {
    const first = offsetBytes / sectorBytes;
    const end = (offsetBytes + lengthBytes) / sectorBytes;
    const zero = this.#disk.seen[first] === 0;
    let sector = first + 1;
    while (sector < end && (this.#disk.seen[sector] === 0) === zero) sector += 1;
    const extent: AllocationExtent = { lengthBytes: (sector - first) * sectorBytes, hole: zero, zero };
    const error: BlockError | undefined = undefined;
    completion.done(error, [extent]);
  }
}

/** A digest of block contents that looks at one word of each sector: contents here are tags. */
export const tagChecksum = {
  digestBytes: 8,
  digest(chunks: readonly Uint8Array[], target: Uint8Array, targetOffset: number): void {
    const bytes = joinChunks(chunks);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let low = 0x811c9dc5;
    let high = 0;
    for (let at = 0; at < bytes.length; at += sectorBytes) {
      const tag = view.getUint32(at, true);
      low = Math.imul(low ^ tag, 0x01000193);
      high = (Math.imul(high, 31) + tag + at) | 0;
    }
    const out = new DataView(target.buffer, target.byteOffset + targetOffset, 8);
    out.setUint32(0, low >>> 0, true);
    out.setUint32(4, high >>> 0, true);
  },
};
