/**
 * A disk in memory behind the `MetadataStorage` port: writes land in a cache, a sync makes them durable. Calls complete
 * when `step` is called, so that a test decides where a crash falls. Power loss keeps any subset of the unsynced 512-byte
 * sectors, which tears blocks; a process crash keeps the cache.
 */
import type { BlockError } from '../../src/base/block-device.ts';
import type { MetadataStorage } from '../../src/disk/metadata-storage.ts';

const sectorBytes = 512;

export class SimulatedStorage implements MetadataStorage {
  readonly sizeBytes: number;
  /** Bytes that readers see. */
  readonly cache: Uint8Array;
  readonly #durable: Uint8Array;
  #unsynced = new Set<number>();
  #calls: (() => void)[] = [];
  #epoch = 0;
  /** When set, the next calls of this kind fail. */
  failing: 'write' | 'sync' | undefined;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.cache = new Uint8Array(sizeBytes);
    this.#durable = new Uint8Array(sizeBytes);
  }

  read(offsetBytes: number, lengthBytes: number, done: (error: undefined, bytes: Uint8Array) => void): void {
    this.#later(() => done(undefined, this.cache.slice(offsetBytes, offsetBytes + lengthBytes)));
  }

  write(offsetBytes: number, bytes: Uint8Array, done: (error: BlockError | undefined) => void): void {
    if (offsetBytes + bytes.length > this.sizeBytes) throw new Error('a write beyond the end');
    if (this.failing === 'write') return this.#later(() => done('io-error'));
    this.cache.set(bytes, offsetBytes);
    const first = Math.floor(offsetBytes / sectorBytes);
    const last = Math.floor((offsetBytes + bytes.length - 1) / sectorBytes);
    for (let sector = first; sector <= last; sector += 1) this.#unsynced.add(sector);
    this.#later(() => done(undefined));
  }

  sync(done: (error: BlockError | undefined) => void): void {
    this.#later(() => {
      if (this.failing === 'sync') return done('io-error');
      for (const sector of this.#unsynced) this.#keep(sector);
      this.#unsynced.clear();
      done(undefined);
    });
  }

  /** Completes one outstanding call, the one that `pick` chooses; false when there is none. */
  step(pick: (count: number) => number = () => 0): boolean {
    const [call] = this.#calls.splice(pick(this.#calls.length), 1);
    call?.();
    return call !== undefined;
  }

  /** Completes everything, also what follows from it. */
  settle(): void {
    while (this.step());
  }

  /** The process dies: outstanding calls never complete; the cache stays. */
  crashProcess(): void {
    this.#calls = [];
    this.#epoch += 1;
  }

  /** The host dies: of the unsynced sectors those that `survives` says are kept. */
  losePower(survives: (sector: number) => boolean): void {
    this.crashProcess();
    for (const sector of this.#unsynced) if (survives(sector)) this.#keep(sector);
    this.#unsynced.clear();
    this.cache.set(this.#durable);
  }

  #keep(sector: number): void {
    const start = sector * sectorBytes;
    this.#durable.set(this.cache.subarray(start, start + sectorBytes), start);
  }

  #later(call: () => void): void {
    const epoch = this.#epoch;
    this.#calls.push(() => {
      if (epoch === this.#epoch) call();
    });
  }
}
