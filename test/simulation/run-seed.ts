/**
 * One run of a simulated world, decided by its seed: a first synchronisation, a safety phase with faults, and a liveness phase in
 * which everything heals and the pair must come back by itself, within a bound of virtual time, with equal copies.
 */
import { reach } from './aim.ts';
import { keepsDisksBusy } from './busy-disks.ts';
import { type Coverage, countFault, possibleCells } from './coverage.ts';
import { acceptsDoubtfulDisks, canStrike, type FaultName, faultNames, faultTable, heal } from './faults.ts';
import type { SimulatedHost } from './simulated-host.ts';
import { Random } from './random.ts';
import { World, type WorldOptions } from './world.ts';

const mebibyte = 1024 * 1024;

/** After everything healed, the pair must be whole and the guest at work within this. */
export const livenessBoundMs = 90_000;
/** A run with less says little. */
const faultsMin = 10;
/** A cell that the world did not come to is tried again this often. */
const aimAttempts = 3;
const writesMin = 2000;
/** After which an operator gives a command again that was refused, ms. */
const operatorPauseMs = 5000;
/** Faults that are aimed at one cell of the coverage table; the others fall anywhere. */
const aimedMin = 7;

export interface SeedReport {
  readonly seed: number;
  /** `undefined`: nothing was violated. */
  readonly violation: string | undefined;
  readonly transcript: readonly string[];
  readonly events: number;
  readonly acknowledged: number;
  readonly faults: number;
  /** Unflushed writes that the rules gave up, see GuestHistory. */
  readonly forfeited: number;
  readonly resyncs: ReadonlyMap<string, number>;
  /** Faults by the phases in which they fell: `kill in resync-target`. */
  readonly coverage: ReadonlyMap<string, number>;
}

export function runSeed(seed: number): SeedReport {
  const world = new World(seed, optionsOf(seed));
  const run = new Run(world);
  let violation: string | undefined;
  try {
    run.live();
  } catch (error) {
    violation = error instanceof Error ? `${error.message}\n${error.stack ?? ''}` : String(error);
  }
  return {
    seed,
    violation,
    transcript: world.transcript,
    events: world.events,
    acknowledged: world.acknowledgedCount,
    faults: run.faults,
    forfeited: world.checkers.forfeited,
    resyncs: world.checkers.resyncs,
    coverage: run.coverage,
  };
}

/** The cells of the table in turn, over seeds, so that each is tried as often as any other. */
function aimsOf(seed: number): readonly (typeof possibleCells)[number][] {
  return Array.from({ length: aimedMin }, (_none, turn) => {
    const at = (seed * aimedMin + turn) % possibleCells.length;
    return possibleCells[at] as (typeof possibleCells)[number];
  });
}

/** From a generator of its own, so that nothing else of a seed depends on it; a network can change only where there are two. */
function networksOf(seed: number): number {
  const drawn = new Random(seed).pick([1, 2, 2, 2]);
  return aimsOf(seed).some(({ phase }) => phase === 'changing-network') ? 2 : drawn;
}

/** Most worlds are small; some have several volumes, some more extents than the activity log holds. */
function optionsOf(seed: number): WorldOptions {
  const options: WorldOptions = {
    volumeSizesBytes: seed % 4 === 2 ? [4 * mebibyte, 9 * mebibyte + 65_536] : [24 * mebibyte],
    guestThinkMs: 12,
    clockDrift: seed % 3 === 0 ? 0.02 : seed % 3 === 1 ? -0.02 : 0,
    hasArbiter: seed % 10 !== 3,
    hasVm: seed % 10 !== 6,
    ...fenceOf(seed),
    networks: networksOf(seed),
  };
  if (seed % 10 !== 7) return options;
  return { ...options, volumeSizesBytes: [1100 * mebibyte], guestSweeps: true, guestThinkMs: 3 };
}

/** Some worlds have a fence: alone, or beside the arbiter. */
function fenceOf(seed: number): Pick<WorldOptions, 'fence'> {
  if (seed % 60 === 45) return { fence: 'not-required' };
  return seed % 20 === 13 || seed % 20 === 5 ? { fence: 'required' } : {};
}

class Run {
  readonly #world: World;
  readonly coverage: Coverage = new Map();
  faults = 0;

  constructor(world: World) {
    this.#world = world;
  }

  live(): void {
    const world = this.#world;
    const { random } = world;
    acceptsDoubtfulDisks(world);
    keepsDisksBusy(world);
    world.firstStart();
    // Half of the worlds begin their faults during the first synchronisation.
    if (random.chance(0.5)) world.expect('the pair is in sync', () => world.inSync());
    for (const aim of aimsOf(world.seed)) {
      this.#aim(aim);
      if (random.chance(0.6)) this.#strikeAnywhere();
    }
    while (this.faults < faultsMin) this.#strikeAnywhere();
    world.run(random.between(0, 15_000));
    heal(world);
    this.#comeBack();
    if (this.faults < faultsMin || world.acknowledgedCount < writesMin)
      world.violation(
        `only ${this.faults} faults and ${world.acknowledgedCount} writes: this run shows little`,
      );
  }

  #comeBack(): void {
    const world = this.#world;
    world.runUntil(() => world.hosts.every(({ mirror }) => mirror !== undefined), livenessBoundMs);
    // The command of the first start may have been lost with its process.
    if (
      world.a.mirror?.state.data === 'fresh' &&
      world.b.mirror?.state.data === 'fresh' &&
      world.arbiter.record === undefined
    ) {
      world.expect('A runs', () => world.a.mirror?.run === 'started' && !world.a.processFrozen);
      // Refused as long as its disk is in doubt.
      const choose = (): void =>
        world.a.command('prim', (error) => {
          if (error !== undefined) world.time.after(operatorPauseMs, choose);
        });
      choose();
    }
    const whole = (): boolean => world.inSync() && world.primary() !== undefined;
    world.expect('the pair is in sync and a VM runs', whole, livenessBoundMs);
    const before = world.acknowledgedCount;
    world.expect('the guest works', () => world.acknowledgedCount > before + 20, livenessBoundMs);
    world.runUntil(() => world.acknowledgedCount >= writesMin, livenessBoundMs);
    world.checkAtRest();
  }

  #aim({ fault, phase }: (typeof possibleCells)[number]): void {
    const world = this.#world;
    for (let attempt = 0; attempt < aimAttempts && canStrike(world, fault); attempt += 1) {
      const host = reach(world, phase, (name, led) => this.#count(name, led));
      if (host !== undefined) return this.#strike(fault, host);
    }
    this.#strikeAnywhere();
  }

  #strikeAnywhere(): void {
    const world = this.#world;
    const { random } = world;
    world.run(random.between(0, random.pick([100, 2000, 8000])));
    this.#strike(random.pick(faultNames.filter((name) => canStrike(world, name))), random.pick(world.hosts));
  }

  #strike(name: FaultName, host: SimulatedHost): void {
    this.#count(name, host);
    faultTable[name].strike(this.#world, host, this.#world.random);
  }

  #count(name: FaultName, host: SimulatedHost): void {
    this.faults += 1;
    countFault(this.coverage, this.#world, name, host);
  }
}
