/**
 * Total blackout: both nodes and the arbiter are without power, and come back in every order and combination. The right copy starts,
 * without anybody's help, as soon as it can be known which one that is; a wrong one never does.
 */
import { expect } from 'chai';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

type Machine = 'A' | 'B' | 'arbiter';

const machines: readonly Machine[] = ['A', 'B', 'arbiter'];
/** Between two returns, ms: nearly at once, and longer than every timer. */
const gapsMs = [150, 40_000] as const;
/** Within this a right copy starts: three times the claim delay after a boot, the handshake, the VM. */
const startsWithinMs = 45_000;

/** Every order in which some of them may come back, all of them at the most. */
function orders(left: readonly Machine[] = machines): (readonly Machine[])[] {
  return left.flatMap((first) => [
    [first],
    ...orders(left.filter((each) => each !== first)).map((rest) => [first, ...rest]),
  ]);
}

interface Before {
  readonly name: string;
  /** Who may start its VM afterwards. */
  readonly right: readonly Machine[];
  come(world: World): void;
}

function loseB(world: World): void {
  world.startPair();
  world.b.losePower();
  world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
  world.run(1500);
}

const situations: readonly Before[] = [
  { name: 'the pair was in sync', right: ['A', 'B'], come: (world) => world.startPair() },
  { name: 'A was alone', right: ['A'], come: loseB },
  {
    name: 'B was half resynchronised',
    right: ['A'],
    come: (world) => {
      loseB(world);
      world.b.boot();
      world.expect('B is resync target', () => world.b.mirror?.state.data === 'inconsistent');
    },
  },
  {
    name: 'B had taken over from A',
    right: ['B'],
    come: (world) => {
      world.startPair();
      world.a.losePower();
      world.expect('the VM runs on B', () => world.primary() === world.b, 15_000);
      world.run(1500);
    },
  },
];

const hostOf = (world: World, name: Machine): SimulatedHost => (name === 'A' ? world.a : world.b);

function comeBack(world: World, machine: Machine): void {
  if (machine === 'arbiter') world.arbiter.running = true;
  else hostOf(world, machine).boot();
}

/**
 * What must come of it. Without the arbiter two nodes that hear each other may go on, unless one of them has asked the arbiter
 * before: it may have been heard.
 */
function outcomeOf(back: readonly Machine[], right: readonly Machine[]): 'starts' | 'nobody' | 'may start' {
  const nodes = back.filter((machine) => machine !== 'arbiter');
  if (!nodes.some((node) => right.includes(node))) return 'nobody';
  if (back.includes('arbiter')) return 'starts';
  return nodes.length === 2 ? 'may start' : 'nobody';
}

function blackout(seed: number, { come, right }: Before, order: readonly Machine[], gapMs: number): void {
  story(seed, (world) => {
    come(world);
    world.arbiter.running = false;
    for (const host of world.hosts) host.losePower();
    const told = `${order.join(', ')} come back`;
    const rightRuns = (): boolean => {
      const primary = world.primary();
      if (primary === undefined) return false;
      expect(right, `${told}: who runs the VM`).to.include(primary.name);
      return true;
    };
    order.forEach((machine, index) => {
      if (index > 0) world.runUntil(rightRuns, gapMs);
      comeBack(world, machine);
    });
    const outcome = outcomeOf(order, right);
    const runs = world.runUntil(rightRuns, startsWithinMs);
    if (outcome !== 'may start') expect(runs ? 'starts' : 'nobody', told).to.equal(outcome);
    for (const machine of machines) if (!order.includes(machine)) comeBack(world, machine);
    world.expect('the pair is in sync', () => world.inSync() && world.primary() !== undefined, 60_000);
    world.checkAtRest();
  });
}

describe('after a total blackout', () => {
  let seed = 900;
  for (const before of situations) {
    for (const gapMs of gapsMs) {
      // A single one has nobody to be apart from.
      const cases = orders().filter((order) => order.length > 1 || gapMs === gapsMs[0]);
      for (const first of machines) {
        it(`${before.name}: ${first} is back first, the others ${gapMs} ms apart`, function () {
          this.timeout(60_000);
          for (const order of cases.filter((each) => each[0] === first))
            blackout((seed += 1), before, order, gapMs);
        });
      }
    }
  }

  it('every order of every combination is tried', () => {
    expect(orders().length).to.equal(3 + 6 + 6);
  });
});
