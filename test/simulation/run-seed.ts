/**
 * One run of a simulated world, decided by its seed: a first synchronisation, a safety phase with faults, and a liveness phase in
 * which everything heals and the pair must come back by itself, within a bound of virtual time, with equal copies.
 */
import type { PairPhase } from '../../src/cluster/pairing.ts';
import { faults, heal } from './faults.ts';
import type { SimulatedHost } from './simulated-host.ts';
import { World, type WorldOptions } from './world.ts';

const mebibyte = 1024 * 1024;

/** After everything healed, the pair must be whole and the guest at work within this. */
export const livenessBoundMs = 90_000;
const faultsMax = 14;

export interface SeedReport {
  readonly seed: number;
  /** `undefined`: nothing was violated. */
  readonly violation: string | undefined;
  readonly transcript: readonly string[];
  readonly events: number;
  readonly acknowledged: number;
  /** Unflushed writes that the rules gave up, see GuestHistory. */
  readonly forfeited: number;
  readonly resyncs: ReadonlyMap<string, number>;
  /** Faults by the phase in which they fell: `kill in resync-target`. */
  readonly coverage: ReadonlyMap<string, number>;
}

export function runSeed(seed: number): SeedReport {
  const world = new World(seed, optionsOf(seed));
  const coverage = new Map<string, number>();
  let violation: string | undefined;
  try {
    live(world, coverage);
  } catch (error) {
    violation = error instanceof Error ? `${error.message}\n${error.stack ?? ''}` : String(error);
  }
  return {
    seed,
    violation,
    transcript: world.transcript,
    events: world.events,
    acknowledged: world.acknowledgedCount,
    forfeited: world.checkers.forfeited,
    resyncs: world.checkers.resyncs,
    coverage,
  };
}

/** Most worlds are small; some have several volumes, some more extents than the activity log holds. */
function optionsOf(seed: number): WorldOptions {
  if (seed % 20 === 7) {
    const volumeSizesBytes = [1200 * mebibyte];
    return { volumeSizesBytes, guestThinkMs: 15 };
  }
  if (seed % 4 === 2) return { volumeSizesBytes: [4 * mebibyte, 9 * mebibyte + 65_536] };
  return { volumeSizesBytes: [8 * mebibyte] };
}

function live(world: World, coverage: Map<string, number>): void {
  const { random } = world;
  world.firstStart();
  // Half of the worlds begin their faults during the first synchronisation.
  if (random.chance(0.5)) world.expect('the pair is in sync', () => world.inSync());
  for (let count = 3 + random.below(faultsMax); count > 0; count -= 1) {
    waitForMoment(world);
    const host = random.pick(world.hosts);
    const name = random.pick(Object.keys(faults));
    const key = `${name} in ${host.mirror?.pairing.phase ?? 'no process'}`;
    coverage.set(key, (coverage.get(key) ?? 0) + 1);
    faults[name]?.(world, host, random);
  }
  world.run(random.between(0, 15_000));
  heal(world);
  // The command of the first start may have been lost with its process.
  if (world.arbiter.record === undefined) {
    world.expect('A runs', () => world.a.mirror?.run === 'started');
    world.a.command('prim');
  }
  world.expect(
    'the pair is in sync and a VM runs',
    () => world.inSync() && world.primary() !== undefined,
    livenessBoundMs,
  );
  const before = world.acknowledgedCount;
  world.expect('the guest works', () => world.acknowledgedCount > before + 20, livenessBoundMs);
  world.checkAtRest();
}

const moments: readonly PairPhase[] = [
  'handshake',
  'resync-source',
  'resync-target',
  'compare-source',
  'compare-target',
  'finishing',
  'in-sync',
];

/** Some time, or the moment at which a node enters a certain phase, and a little later. */
function waitForMoment(world: World): void {
  const { random } = world;
  if (random.chance(0.4)) {
    world.run(random.between(0, random.pick([100, 3000, 12_000])));
    return;
  }
  const phase = random.pick(moments);
  const inPhase = ({ mirror }: SimulatedHost): boolean => mirror?.pairing.phase === phase;
  world.runUntil(() => world.hosts.some(inPhase), random.between(1000, 10_000));
  world.run(random.between(0, random.pick([1, 10, 40])));
}
