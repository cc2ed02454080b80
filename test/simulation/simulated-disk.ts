/**
 * A disk file of one host. It keeps one tag per sector of 512 bytes instead of bytes: the first and the last word of a sector
 * are its tag, and zero means zeroes. Three levels: in flight (a process asked), completed (in the host's cache, readers
 * see it), durable. A process kill lets any part of what is in flight happen; a power loss keeps, for each sector, any version
 * since the durable one, so that writes are lost, torn and reordered. A flush that fails leaves what it covered in the
 * cache, where the next flush takes it for clean: only writing it again makes it durable, as on Linux.
 * It does not model sectors that go bad for good, nor content smaller than a sector.
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
import type { DeviceWork } from '../../src/engine/request-watch.ts';
import { joinChunks } from '../../src/link/frames.ts';
import type { Random } from './random.ts';
import type { Life, SimulatedTime } from './simulated-time.ts';

export const sectorBytes = 512;
const wordsPerSector = sectorBytes / 4;

/** What a faulty disk does to calls: fails those of one kind, or has no room for writes. */
export type DiskFailure = 'write' | 'flush' | 'read' | 'no-space';

/** A disk that others keep busy: its device works, and flushes wait for their turn. Draws from a generator of its own. */
export interface BusyDisk {
  readonly random: Random;
  readonly flushMsMin: number;
  readonly flushMsMax: number;
}

/** A device that works completes something at least this often, ms. */
const completesEveryMs = 100;
/** The longest call for which a disk that works may not be given up, with clocks that drift, ms. */
export const patienceMs = 27_000;

export function busyFlushMs({ random, flushMsMin, flushMsMax }: BusyDisk): number {
  return random.between(flushMsMin, flushMsMax);
}

interface Change {
  readonly firstSector: number;
  readonly tags: Uint32Array;
  readonly life: Life;
}

/** What happened to the cache and is not known to be durable. */
interface Applied {
  readonly firstSector: number;
  readonly tags: Uint32Array;
  /** Place in the order of all changes of this disk. */
  readonly order: number;
  /** It is durable already, over what came before it. */
  readonly durable: boolean;
}

/** The content of sectors with these tags. */
export function bytesOf(tags: Uint32Array): Uint8Array {
  const words = new Uint32Array(tags.length * wordsPerSector);
  for (let index = 0; index < tags.length; index += 1) {
    const tag = tags[index] as number;
    words[index * wordsPerSector] = tag;
    words[(index + 1) * wordsPerSector - 1] = tag;
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
  /** Since the last flush, in their order. */
  #unflushed: Applied[] = [];
  readonly #inFlight = new Set<Change>();
  readonly #time: SimulatedTime;
  readonly #random: Random;
  #order = 0;
  /** Calls that a hung disk does not finish. */
  readonly #hanging: { readonly life: Life; readonly callback: () => void }[] = [];
  #hung = false;
  /** Multiplies every delay: a slow disk. */
  slowness = 1;
  busy: BusyDisk | undefined;
  /** A call that takes longer than any disk that works should let one wait ends then. */
  tooLateMs = Number.NEGATIVE_INFINITY;
  #completed = 0;
  /** When set, calls of this kind fail from now on. */
  failing: DiskFailure | undefined;
  /** A flush has failed since the host booted: the cache holds what the disk never got and never will. */
  flushFailed = false;

  constructor(sizeBytes: number, time: SimulatedTime, random: Random) {
    this.sizeBytes = sizeBytes;
    this.seen = new Uint32Array(sizeBytes / sectorBytes);
    this.#durable = new Uint32Array(sizeBytes / sectorBytes);
    this.#time = time;
    this.#random = random;
  }

  /** What a sector would hold if the host lost power now and nothing of what it had not synced survived. */
  durableTag(sector: number): number {
    let tag = this.#durable[sector] as number;
    for (const { firstSector, tags, durable } of this.#unflushed)
      if (durable && sector >= firstSector && sector < firstSector + tags.length)
        tag = tags[sector - firstSector] as number;
    return tag;
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

  /** What the device says that it has completed: parts of a call too, and nothing more while it hangs. */
  get work(): DeviceWork {
    if (!this.#hung) this.#completed = Math.floor(this.#time.nowMs / completesEveryMs);
    return { reads: this.#completed, changes: this.#completed };
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
      if (this.failing === 'write' || this.failing === 'no-space') {
        // A part of it may be on the disk all the same.
        if (this.#random.chance(0.5)) this.#applyTorn(change);
        return completion.done(this.failing === 'write' ? 'io-error' : 'no-space');
      }
      const durable = fua && this.failing !== 'flush';
      this.flushFailed ||= fua && !durable;
      this.#apply(change.firstSector, change.tags, durable);
      completion.done(fua && !durable ? 'io-error' : undefined);
    });
  }

  flush(completion: Completion, life: Life): void {
    const until = this.#order;
    const end = (): void => {
      const failed = this.failing === 'flush';
      this.flushFailed ||= failed;
      const covered = this.#unflushed.findIndex(({ order }) => order > until);
      const taken = this.#unflushed.splice(0, covered === -1 ? this.#unflushed.length : covered);
      for (const { firstSector, tags, durable } of taken)
        if (!failed || durable) this.#durable.set(tags, firstSector);
      completion.done(failed ? 'io-error' : undefined);
    };
    const { busy } = this;
    if (busy === undefined) this.#later(life, 0.5, 8, end);
    else this.#after(busyFlushMs(busy), life, end);
  }

  /** The page cache of the file goes as far as it is clean: what a failed flush left in it is seen no more. */
  forgetCached(): void {
    this.flushFailed = false;
    this.seen.set(this.#durable);
    for (const { firstSector, tags } of this.#unflushed) this.seen.set(tags, firstSector);
  }

  /** The process is gone: what it had asked for happened, or not, or in part. */
  processKilled(life: Life): void {
    for (const change of this.#inFlight) {
      if (change.life !== life) continue;
      this.#inFlight.delete(change);
      this.#applyTorn(change);
    }
  }

  powerLost(): void {
    for (const change of this.#inFlight) this.#applyTorn(change);
    this.#inFlight.clear();
    this.#hanging.length = 0;
    this.flushFailed = false;
    const share = this.#random.pick([0, 0.1, 0.5, 0.9, 1]);
    for (const { firstSector, tags, durable } of this.#unflushed) {
      if (durable || share === 1) this.#durable.set(tags, firstSector);
      else if (share > 0)
        for (let index = 0; index < tags.length; index += 1)
          if (this.#random.chance(share)) this.#durable[firstSector + index] = tags[index] as number;
    }
    this.#unflushed = [];
    this.seen.set(this.#durable);
  }

  /** Nothing, its first sectors, or any of them. */
  #applyTorn({ firstSector, tags }: Change): void {
    if (this.#random.chance(0.5)) {
      this.#apply(firstSector, tags.subarray(0, this.#random.below(tags.length + 1)));
      return;
    }
    const share = this.#random.pick([0, 0.5, 1]);
    for (let index = 0; index < tags.length; index += 1)
      if (this.#random.chance(share)) this.#apply(firstSector + index, tags.subarray(index, index + 1));
  }

  #apply(firstSector: number, tags: Uint32Array, durable = false): void {
    this.#order += 1;
    this.seen.set(tags, firstSector);
    this.#unflushed.push({ firstSector, tags, order: this.#order, durable });
  }

  #later(life: Life, fromMs: number, toMs: number, callback: () => void): void {
    const hiccup = this.#random.chance(0.01) ? 20 : 1;
    this.#after(this.#random.between(fromMs, toMs) * this.slowness * hiccup, life, callback);
  }

  #after(delayMs: number, life: Life, callback: () => void): void {
    if (delayMs > patienceMs) this.tooLateMs = Math.max(this.tooLateMs, this.#time.nowMs + delayMs);
    this.#time.after(
      delayMs,
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
