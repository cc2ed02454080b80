/**
 * Worlds in which both nodes may go on alone, under random faults, with an operator who gives one copy up whenever he sees a split. In
 * these worlds two histories are allowed, so what guests were promised is not checked. Checked are: every block that the given-up
 * copy wrote is in its side file; a resync examines every difference and is never a full copy; and in the end both copies are equal.
 */
import { expect } from 'chai';
import { type FaultName, faultTable, heal } from './faults.ts';
import { Random } from './random.ts';
import type { SimulatedHost } from './simulated-host.ts';
import { World } from './world.ts';

const mebibyte = 1024 ** 2;
const seeds = 24;
const faultsPerSeed = 8;
const roundsMax = 12;

const faults: readonly FaultName[] = [
  'cut',
  'cut',
  'one-way-cut',
  'blip',
  'kill',
  'kill-both',
  'power',
  'power-both',
  'freeze-process',
  'vm-crash',
  'slow-disk',
  'stop',
];

class SplitRun {
  readonly world: World;
  readonly #random: Random;
  splits = 0;

  constructor(seed: number) {
    this.world = new World(seed, {
      hasArbiter: false,
      allowSplitBrain: true,
      volumeSizesBytes: [24 * mebibyte, 5 * mebibyte],
      guestThinkMs: 12,
      clockDrift: seed % 2 === 0 ? 0.02 : 0,
    });
    this.#random = new Random(seed + 7);
  }

  live(): void {
    const { world } = this;
    world.startPair();
    for (let turn = 0; turn < faultsPerSeed; turn += 1) {
      if (this.#random.chance(0.6)) this.#cutForLong();
      else this.#strike();
      world.run(this.#random.between(0, this.#random.pick([500, 8000])));
      // Whatever falls next may fall into the middle of it.
      if (this.#random.chance(0.7)) this.#resolve();
    }
    heal(world);
    for (let round = 0; round < roundsMax && !this.#isWhole(); round += 1) {
      world.runUntil(() => this.#isWhole() || this.#isSplit(), 60_000);
      if (!this.#isSplit()) continue;
      let answered = false;
      // What is under way may have to end first.
      world.run(5000);
      this.#resolve(() => (answered = true));
      world.runUntil(() => answered, 20_000);
    }
    world.expect('the pair is in sync and a VM runs', () => this.#isWhole(), 60_000);
    world.checkAtRest();
    expect(world.checkers.fullCopies, `seed ${world.seed}: full copies`).to.equal(1);
  }

  #strike(): void {
    const name = this.#random.pick(faults);
    faultTable[name].strike(this.world, this.#random.pick(this.world.hosts), this.#random);
  }

  /** Longer than both nodes wait before they go on alone; something else may happen meanwhile. */
  #cutForLong(): void {
    const { world } = this;
    world.log('LINK CUT FOR LONG');
    world.link.setCut(true, true);
    world.run(this.#random.between(5000, 10_000));
    if (this.#random.chance(0.4)) this.#strike();
    world.run(this.#random.between(1000, 6000));
    world.link.setCut(false, false);
    world.run(2000);
  }

  #isWhole(): boolean {
    return this.world.inSync() && this.world.primary() !== undefined;
  }

  #isSplit(): boolean {
    return this.world.hosts.every(({ mirror }) => mirror?.pairing.isSplit === true);
  }

  /** The operator keeps one copy or the other; `done` when that is answered. */
  #resolve(done: () => void = () => {}): void {
    if (!this.#isSplit()) return;
    const keeper = this.#random.pick(this.world.hosts);
    const loser = this.world.otherThan(keeper);
    const at = this.#random.pick(this.world.hosts);
    const state = loser.mirror?.state;
    const since = state?.aloneSince ?? state?.inSyncAt ?? 'the-beginning';
    const wrote = blocksOf(loser);
    const before = loser.sideFiles.complete.length;
    this.world.log(`${at.name}: operator: resolve --keep ${keeper.name} --lose-since ${since}`);
    at.mirror?.resolve.start(keeper.name, since, (error) => {
      this.world.log(`resolve ${error === undefined ? 'done' : `refused: ${error.message}`}`);
      if (error === undefined) {
        this.splits += 1;
        this.#checkSideFile(loser, wrote, before);
      }
      done();
    });
  }

  #checkSideFile(loser: SimulatedHost, wrote: readonly ReadonlySet<number>[], before: number): void {
    const file = loser.sideFiles.complete.at(-1);
    if (file === undefined || loser.sideFiles.complete.length === before)
      return this.world.violation(`${loser.name} was given up without a side file`);
    wrote.forEach((blocks, volume) => {
      for (const block of blocks)
        if (file.kept[volume]?.has(block * sectorsPerBlock) !== true)
          this.world.violation(`the side file of ${loser.name} lacks block ${block} of volume ${volume}`);
    });
  }
}

const sectorsPerBlock = 128;

function blocksOf({ mirror }: SimulatedHost): readonly ReadonlySet<number>[] {
  return (mirror?.replicas ?? []).map(({ bitmap }) => {
    const blocks = new Set<number>();
    bitmap.forEach((block) => blocks.add(block));
    return blocks;
  });
}

describe('simulated worlds that allow a split brain', function () {
  this.timeout(60_000);
  let splits = 0;

  for (let seed = 5001; seed <= 5000 + seeds; seed += 1) {
    it(`seed ${seed}: nothing of a copy that is given up is lost, and the pair comes back`, () => {
      const run = new SplitRun(seed);
      try {
        run.live();
      } catch (error) {
        if (error instanceof Error)
          error.message += `\n${run.world.transcript.slice(-80).join('\n')}\n${run.world.describe()}`;
        throw error;
      }
      splits += run.splits;
    });
  }

  it('they were split more than once each', () => expect(splits).to.be.above(seeds));
});
