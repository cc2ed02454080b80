/**
 * Crashes of a metadata store at random instants, one after the other on the same storage: power losses that keep any
 * subset of the unsynced sectors, and process crashes that keep the cache. Does not cover sectors that go bad later.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import type { DirtyBitmap } from '../../src/disk/dirty-bitmap.ts';
import { createMetadata, metadataSizeBytes, openMetadata } from '../../src/disk/metadata-store.ts';
import type { OpenedMetadata } from '../../src/disk/metadata-store.ts';
import { sampleState } from './sample-state.ts';
import { SimulatedStorage } from './simulated-storage.ts';

const ringBlocks = 3;
const blocksPerPage = 32512;

/** A small deterministic generator, so that one number replays a run. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Values submitted for one target: which may be found after a crash. */
class Target<Value> {
  /** Oldest first; the first is durable. */
  #candidates: { readonly value: Value }[];

  constructor(durable: Value) {
    this.#candidates = [{ value: durable }];
  }

  submit(value: Value): (error: unknown) => void {
    const candidate = { value };
    this.#candidates.push(candidate);
    return (error) => {
      if (error === undefined) this.#candidates.splice(0, this.#candidates.indexOf(candidate));
    };
  }

  /** The durable value and the one in progress: never one that was merely waiting. */
  possible(): Value[] {
    return this.#candidates.slice(0, 2).map(({ value }) => value);
  }
}

/** A life that ends while it opens the store: random completions, and then a crash. */
function crashWhileOpening(storage: SimulatedStorage, random: (below: number) => number): void {
  openMetadata(storage, () => {});
  for (let steps = random(14); steps > 0; steps -= 1) storage.step(random);
  crash(storage, random);
}

function crash(storage: SimulatedStorage, random: (below: number) => number): void {
  if (random(3) === 0) storage.crashProcess();
  else storage.losePower(() => random(2) === 0);
}

function open(storage: SimulatedStorage): OpenedMetadata {
  let opened: OpenedMetadata | undefined;
  openMetadata(storage, (outcome) => {
    if (outcome.kind === 'refused') throw outcome.error;
    opened = outcome.opened;
  });
  storage.settle();
  if (opened === undefined) throw new Error('openMetadata did not answer');
  return opened;
}

/** The dirty blocks of one page, as text that differs between any two submissions. */
function pageText(bitmap: DirtyBitmap, page: number): string {
  const blocks: number[] = [];
  bitmap.forEach((block) => Math.floor(block / blocksPerPage) === page && blocks.push(block));
  return blocks.join(',');
}

/** One life of the store: random calls and completions, and then a crash. Answers what the next life checks. */
function live(storage: SimulatedStorage, random: (below: number) => number, life: number) {
  const { store, state, volumes } = open(storage);
  const states = new Target(state.generation);
  const hotSets = volumes.map(({ hotExtents }) => new Target(hotExtents.join()));
  const pages = volumes.map(({ bitmap }) =>
    Array.from({ length: bitmap.pageCount }, (_, page) => new Target(pageText(bitmap, page))),
  );
  const callsBeforeCrash = random(40);
  for (let call = 1; call <= callsBeforeCrash; call += 1) {
    const volume = random(volumes.length);
    const stamp = life * 100 + call;
    const verb = random(6);
    if (verb === 0) store.persist({ ...sampleState, generation: stamp }, states.submit(stamp));
    if (verb === 1)
      store.writeActivityLog(volume, [1, stamp % 25], hotSets[volume]!.submit(`1,${stamp % 25}`));
    if (verb === 2) {
      const { bitmap } = volumes[volume]!;
      const block = random(bitmap.blockCount);
      if (random(3) === 0) bitmap.clearBlock(Math.max(0, bitmap.nextDirty(0)));
      bitmap.setBlock(block);
      const changed = bitmap.takeChangedPages();
      const settled = changed.map((page) => pages[volume]![page]!.submit(pageText(bitmap, page)));
      store.writeBitmapPages(volume, bitmap, changed, (error) => settled.forEach((done) => done(error)));
    }
    if (verb > 2) storage.step(random);
  }
  crash(storage, random);
  return (after: OpenedMetadata) => {
    expect(states.possible()).to.include(after.state.generation);
    after.volumes.forEach(({ bitmap, hotExtents }, volume) => {
      expect(hotSets[volume]!.possible()).to.include(hotExtents.join());
      pages[volume]!.forEach((page, index) => expect(page.possible()).to.include(pageText(bitmap, index)));
    });
  };
}

describe('metadata store after crashes at any instant', () => {
  it('holds for each target the last durable value or the one in progress, and keeps what it showed', () => {
    let lives = 0;
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const random = randomFrom(seed);
        const storage = new SimulatedStorage(metadataSizeBytes(sampleState.volumes, ringBlocks));
        createMetadata(storage, sampleState, () => {}, ringBlocks);
        storage.settle();
        for (let life = 1; life <= 6; life += 1) {
          const check = live(storage, random, life);
          while (random(3) === 0) crashWhileOpening(storage, random);
          check(open(storage));
          lives += 1;
        }
      }),
      { numRuns: 60 },
    );
    expect(lives).to.be.at.least(360);
  });

  it('does not lose, by a power loss, what a process crash had left in the cache and the next life has read', () => {
    const storage = new SimulatedStorage(metadataSizeBytes(sampleState.volumes, ringBlocks));
    createMetadata(storage, sampleState, () => {}, ringBlocks);
    storage.settle();
    open(storage).store.writeActivityLog(0, [42], () => {});
    storage.crashProcess();
    expect(open(storage).volumes[0]?.hotExtents).to.deep.equal([42]);
    storage.losePower(() => false);
    expect(open(storage).volumes[0]?.hotExtents).to.deep.equal([42]);
  });

  it('does not let two torn writes of a bitmap page complete what was never durable', () => {
    const storage = new SimulatedStorage(metadataSizeBytes(sampleState.volumes, ringBlocks));
    createMetadata(storage, sampleState, () => {}, ringBlocks);
    storage.settle();
    const blocksPerSector = 512 * 8;
    const write = (blocks: readonly number[]) => {
      const { store, volumes } = open(storage);
      const { bitmap } = volumes[0]!;
      bitmap.clearAll();
      for (const block of blocks) bitmap.setBlock(block);
      store.writeBitmapPages(0, bitmap, [0], () => {});
    };
    const kept = (sectors: readonly number[]) => storage.losePower((sector) => sectors.includes(sector % 8));
    write([3 * blocksPerSector]);
    storage.settle();
    write([6 * blocksPerSector]);
    storage.settle();
    // Goes where the first one is; its own sector 3, without the bit, does not arrive.
    write([5 * blocksPerSector]);
    kept([0, 1, 2, 4, 5, 6, 7]);
    // Would bring sector 3 without the bit.
    write([6 * blocksPerSector, blocksPerSector]);
    kept([3]);
    const blocks: number[] = [];
    open(storage).volumes[0]!.bitmap.forEach((block) => blocks.push(block));
    expect(blocks).to.deep.equal([6 * blocksPerSector]);
  });
});
