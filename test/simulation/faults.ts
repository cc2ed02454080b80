/** What can go wrong in a simulated world, and what operators do, one named event each. Each ends by itself after a while. */
import type { Random } from './random.ts';
import type { SimulatedHost } from './simulated-host.ts';
import type { World } from './world.ts';

type Fault = (world: World, host: SimulatedHost, random: Random) => void;

/** After a time at the choice of the seed, unless everything was healed meanwhile. */
function later(world: World, fromMs: number, toMs: number, callback: () => void): void {
  const { era } = world;
  world.time.after(world.random.between(fromMs, toMs), () => {
    if (world.era === era) callback();
  });
}

/** Mostly soon, at times so late that every timer has run out. */
function bootLater(world: World, host: SimulatedHost): void {
  const [fromMs, toMs] = world.random.pick([
    [500, 3000],
    [2000, 10_000],
    [10_000, 40_000],
  ] as const);
  later(world, fromMs, toMs, () => host.boot());
}

function cutFor(world: World, fromFirst: boolean, fromSecond: boolean): void {
  world.log(`LINK CUT ${fromFirst ? 'A->B ' : ''}${fromSecond ? 'B->A' : ''}`);
  world.link.setCut(fromFirst, fromSecond);
  const [fromMs, toMs] = world.random.pick([
    [10, 1000],
    [1000, 8000],
    [8000, 25_000],
  ] as const);
  later(world, fromMs, toMs, () => {
    world.log('LINK HEALS');
    world.link.setCut(false, false);
  });
}

export const faults: Readonly<Record<string, Fault>> = {
  kill: (_world, host) => host.kill(),
  'kill-both': (world) => {
    for (const host of world.hosts) host.kill();
  },
  power: (world, host) => {
    host.losePower();
    bootLater(world, host);
  },
  'power-both': (world, host) => {
    host.losePower();
    bootLater(world, host);
    const other = world.otherThan(host);
    later(world, 0, world.random.pick([1, 500, 8000]), () => {
      other.losePower();
      bootLater(world, other);
    });
  },
  'kill-then-power': (world, host, random) => {
    host.kill();
    later(world, 1, random.pick([50, 1500]), () => {
      host.losePower();
      bootLater(world, host);
    });
  },
  blip: (world) => {
    world.log('LINK BLIP');
    world.link.blip();
  },
  cut: (world) => cutFor(world, true, true),
  'one-way-cut': (world, host) => cutFor(world, host.side === 0, host.side === 1),
  'blips-and-cut': (world) => {
    for (let turn = 0; turn < 4; turn += 1) {
      later(world, 0, 3000, () => {
        world.log('LINK BLIP');
        world.link.blip();
      });
    }
    later(world, 500, 3000, () => cutFor(world, true, true));
  },
  'slow-link': (world, _host, random) => {
    world.link.delayMs = random.pick([20, 80]);
    later(world, 1000, 8000, () => (world.link.delayMs = 1));
  },
  'arbiter-gone': (world) => {
    world.log('ARBITER GONE');
    world.arbiter.running = false;
    later(world, 500, 20_000, () => {
      world.log('ARBITER BACK');
      world.arbiter.running = true;
    });
  },
  'arbiter-unreachable': (world, host) => {
    world.log(`ARBITER UNREACHABLE from ${host.name}`);
    world.arbiter.unreachableFrom.add(host.name);
    later(world, 500, 20_000, () => world.arbiter.unreachableFrom.delete(host.name));
  },
  'arbiter-unreliable': (world) => {
    world.log('ARBITER UNRELIABLE');
    Object.assign(world.arbiter, { lostAnswers: 0.5, lateRequests: 0.3, repeatedRequests: 0.3 });
    later(world, 5000, 40_000, () =>
      Object.assign(world.arbiter, { lostAnswers: 0, lateRequests: 0, repeatedRequests: 0 }),
    );
  },
  'slow-disk': (world, host, random) => {
    const slowness = random.pick([5, 50, 300]);
    world.log(`${host.name}: DISK SLOW ${slowness}`);
    for (const disk of host.disks) disk.slowness = slowness;
    host.storage.slowness = slowness;
    later(world, 500, 10_000, () => {
      for (const disk of host.disks) disk.slowness = 1;
      host.storage.slowness = 1;
    });
  },
  swap: (_world, host) => host.command('swap'),
  stop: (world, host) => {
    host.command('stop');
    later(world, 1000, 20_000, () => startAgain(world, host));
  },
  'stop-both': (world) => {
    for (const host of world.hosts) {
      later(world, 0, world.random.pick([1, 100, 3000]), () => host.command('stop'));
      later(world, 3000, 20_000, () => startAgain(world, host));
    }
  },
  prim: (_world, host) => host.command('prim'),
  second: (_world, host) => host.command('second'),
};

/** Ends every fault that lasts. */
export function heal(world: World): void {
  world.log('EVERYTHING HEALS');
  world.era += 1;
  world.link.setCut(false, false);
  world.link.delayMs = 1;
  const { arbiter } = world;
  Object.assign(arbiter, { running: true, lostAnswers: 0, lateRequests: 0, repeatedRequests: 0 });
  arbiter.unreachableFrom.clear();
  for (const host of world.hosts) {
    for (const disk of host.disks) disk.slowness = 1;
    host.storage.slowness = 1;
    host.boot();
    startAgain(world, host);
  }
}

/** A start is refused while a stop is under way: an operator tries again. */
function startAgain(world: World, host: SimulatedHost): void {
  host.command('start', (error) => {
    if (error !== undefined) later(world, 500, 1000, () => startAgain(world, host));
  });
}
