/**
 * What can go wrong in a simulated world, and what operators do, one named event each. Each ends by itself after a while, at
 * the latest when everything heals.
 */
import { idle } from './busy-disks.ts';
import type { DiskFailure } from './simulated-disk.ts';
import type { Random } from './random.ts';
import type { SimulatedHost } from './simulated-host.ts';
import type { SimulatedLink } from './simulated-link.ts';
import type { World } from './world.ts';

export interface Fault {
  /** Whom it strikes: one host, or both and what is between them. */
  readonly scope: 'host' | 'world';
  strike(world: World, host: SimulatedHost, random: Random): void;
}

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

/** One network, mostly the one in use; the only one, where there is no other. */
function cutNetwork(
  world: World,
  random: Random,
  [fromFirst, fromSecond]: readonly [boolean, boolean],
  range?: readonly [number, number],
): void {
  const paths = world.a.mirror?.session.paths ?? [];
  const used = paths.findIndex(({ state }) => state === 'active');
  const index = used !== -1 && random.chance(0.7) ? used : random.below(world.link.each.length);
  const network = world.link.each[index] as SimulatedLink;
  world.log(`NETWORK ${index + 1} CUT ${fromFirst ? 'A->B ' : ''}${fromSecond ? 'B->A' : ''}`);
  network.setCut(fromFirst, fromSecond);
  const [fromMs, toMs] =
    range ??
    random.pick([
      [10, 1500],
      [1500, 8000],
      [8000, 25_000],
    ] as const);
  later(world, fromMs, toMs, () => {
    world.log(`NETWORK ${index + 1} HEALS`);
    network.setCut(false, false);
  });
}

/** Some time that is short or long beside the timers of the pair. */
function freezeMs(random: Random): number {
  const [fromMs, toMs] = random.pick([
    [5, 500],
    [500, 4000],
    [4000, 15_000],
  ] as const);
  return random.between(fromMs, toMs);
}

/**
 * The disk works, or has room, again; a module that gave it up is started anew by its operator. After a flush that failed the
 * host may be restarted as well: its page cache takes for clean what the disk never got.
 */
function mend(host: SimulatedHost): void {
  const startAnew =
    host.mirror?.disk.isFinal === true ||
    host.storage.failedThisProcess ||
    host.disks.some((disk) => disk.flushFailed);
  const flushFailed = host.disks.some((disk) => disk.flushFailed);
  const restart = flushFailed && host.world.random.chance(0.5);
  for (const disk of host.disks) {
    disk.failing = undefined;
    disk.hung = false;
    disk.slowness = 1;
  }
  host.storage.stopFailing();
  host.storage.hung = false;
  host.storage.slowness = 1;
  if (restart && host.powered) {
    host.losePower();
    host.boot();
  } else if (startAnew) host.kill();
}

/**
 * An operator who sees for a while that a node in doubt has the only good copy has checked its disk, and says so. Not before: a
 * peer that is up to date repairs the copy by itself.
 */
export function acceptsDoubtfulDisks(world: World): void {
  const lookIntervalMs = 5000;
  const patienceMs = 20_000;
  const sinceMs = new Map<SimulatedHost, number>();
  const look = (): void => {
    for (const host of world.hosts) {
      const nowMs = world.time.nowMs;
      const isDoubtful = host.mirror !== undefined && host.mirror.disk.doubt !== 'none';
      if (!isDoubtful) sinceMs.delete(host);
      else if (!sinceMs.has(host)) sinceMs.set(host, nowMs);
      else if (nowMs - (sinceMs.get(host) ?? nowMs) >= patienceMs) host.command('acceptDisk');
    }
    world.time.after(lookIntervalMs, look);
  };
  look();
}

function diskIsInTrouble({ disks, mirror }: SimulatedHost): boolean {
  return (
    mirror?.disk.present === true ||
    (mirror !== undefined && mirror.disk.doubt !== 'none') ||
    disks.some(({ failing, flushFailed }) => failing !== undefined || flushFailed)
  );
}

function diskFault(failing: DiskFailure): Fault {
  return {
    scope: 'host',
    strike: (world, host, random) => {
      // Two copies that are given up at once are more than one failure: an operator has to say which one is worth more.
      if (diskIsInTrouble(world.otherThan(host))) return;
      const disk = random.pick(host.disks);
      world.log(`${host.name}: DISK FAILS: ${failing}`);
      disk.failing = failing;
      // A guest that is reset does not ask again for what found no room.
      if (failing === 'no-space' && world.hasVm && random.chance(0.5))
        later(world, 1, 100, () => {
          if (!host.machineFrozen) host.vm.crash();
        });
      later(world, 50, random.pick([500, 5000, 15_000]), () => {
        world.log(`${host.name}: DISK MENDED`);
        mend(host);
      });
    },
  };
}

function metadataFault(failing: 'write' | 'sync'): Fault {
  return {
    scope: 'host',
    strike: (world, host, random) => {
      world.log(`${host.name}: METADATA FAIL: ${failing}`);
      host.storage.startFailing(failing);
      later(world, 50, random.pick([500, 5000, 15_000]), () => {
        world.log(`${host.name}: METADATA MENDED`);
        mend(host);
      });
    },
  };
}

function commandOf(verb: 'swap' | 'second'): Fault {
  return {
    scope: 'host',
    strike: (world, host) => {
      // The only copy is secondary until its operator says `prim`: that is no fault of the pair.
      if (verb === 'swap' || world.checkers.hasHeldData(world.otherThan(host))) host.command(verb);
    },
  };
}

export const faultTable = {
  kill: { scope: 'host', strike: (_world, host) => host.kill() },
  'kill-both': {
    scope: 'world',
    strike: (world) => {
      for (const host of world.hosts) host.kill();
    },
  },
  power: {
    scope: 'host',
    strike: (world, host) => {
      host.losePower();
      bootLater(world, host);
    },
  },
  'power-both': {
    scope: 'world',
    strike: (world, host) => {
      host.losePower();
      bootLater(world, host);
      const other = world.otherThan(host);
      later(world, 0, world.random.pick([1, 500, 8000]), () => {
        other.losePower();
        bootLater(world, other);
      });
    },
  },
  'kill-then-power': {
    scope: 'host',
    strike: (world, host, random) => {
      host.kill();
      later(world, 1, random.pick([50, 1500]), () => {
        host.losePower();
        bootLater(world, host);
      });
    },
  },
  'freeze-process': { scope: 'host', strike: (_world, host, random) => host.freezeProcess(freezeMs(random)) },
  'freeze-host': { scope: 'host', strike: (_world, host, random) => host.freezeHost(freezeMs(random)) },
  'vm-crash': {
    scope: 'host',
    strike: (world, host) => {
      if (!world.hasVm || host.machineFrozen) return;
      world.log(`${host.name}: VM CRASHES`);
      host.vm.crash();
    },
  },
  'stall-then-kill': {
    scope: 'world',
    // What one module had asked its peer for is still under way there when the next one of it is back.
    strike: (world, host, random) => {
      world.log(`DISKS STALL, ${host.name} will be killed`);
      for (const { disks } of world.hosts) for (const disk of disks) disk.hung = true;
      later(world, 20, random.pick([50, 300]), () => {
        host.kill();
        // A guest that lives asks again, which hides what became of the first attempt.
        if (world.hasVm && !host.machineFrozen && random.chance(0.7)) host.vm.crash();
        mend(host);
      });
      later(world, 600, 2500, () => mend(world.otherThan(host)));
    },
  },
  blip: {
    scope: 'world',
    strike: (world) => {
      world.log('LINK BLIP');
      world.link.blip();
    },
  },
  cut: { scope: 'world', strike: (world) => cutFor(world, true, true) },
  'one-way-cut': {
    scope: 'world',
    strike: (world, host) => cutFor(world, host.side === 0, host.side === 1),
  },
  'blips-and-cut': {
    scope: 'world',
    strike: (world) => {
      for (let turn = 0; turn < 4; turn += 1) {
        later(world, 0, 3000, () => {
          world.log('LINK BLIP');
          world.link.blip();
        });
      }
      later(world, 500, 3000, () => cutFor(world, true, true));
    },
  },
  'network-cut': {
    scope: 'world',
    strike: (world, _host, random) => cutNetwork(world, random, [true, true]),
  },
  'network-one-way-cut': {
    scope: 'world',
    strike: (world, host, random) => cutNetwork(world, random, [host.side === 0, host.side === 1]),
  },
  'networks-flap': {
    scope: 'world',
    strike: (world, _host, random) => {
      for (let turn = 0; turn < 6; turn += 1) {
        later(world, 0, 12_000, () => {
          const direction = random.pick([
            [true, true],
            [true, false],
            [false, true],
          ] as const);
          if (random.chance(0.5)) return cutNetwork(world, random, direction, [50, 3000]);
          world.log('NETWORK BLIP');
          random.pick(world.link.each).blip();
        });
      }
    },
  },
  'slow-network': {
    scope: 'world',
    strike: (world, _host, random) => {
      const network = random.pick(world.link.each);
      network.delayMs = random.pick([80, 1500]);
      later(world, 1000, 8000, () => (network.delayMs = 1));
    },
  },
  'slow-link': {
    scope: 'world',
    strike: (world, _host, random) => {
      world.link.delayMs = random.pick([20, 80]);
      later(world, 1000, 8000, () => (world.link.delayMs = 1));
    },
  },
  'arbiter-gone': {
    scope: 'world',
    strike: (world) => {
      world.log('ARBITER GONE');
      world.arbiter.running = false;
      later(world, 500, 20_000, () => {
        world.log('ARBITER BACK');
        world.arbiter.running = true;
      });
    },
  },
  'arbiter-unreachable': {
    scope: 'host',
    strike: (world, host) => {
      world.log(`ARBITER UNREACHABLE from ${host.name}`);
      world.arbiter.unreachableFrom.add(host.name);
      later(world, 500, 20_000, () => world.arbiter.unreachableFrom.delete(host.name));
    },
  },
  'arbiter-unreliable': {
    scope: 'world',
    strike: (world) => {
      world.log('ARBITER UNRELIABLE');
      Object.assign(world.arbiter, { lostAnswers: 0.5, lateRequests: 0.3, repeatedRequests: 0.3 });
      later(world, 5000, 40_000, () =>
        Object.assign(world.arbiter, { lostAnswers: 0, lateRequests: 0, repeatedRequests: 0 }),
      );
    },
  },
  'slow-disk': {
    scope: 'host',
    strike: (world, host, random) => {
      const slowness = random.pick([5, 50, 300]);
      world.log(`${host.name}: DISK SLOW ${slowness}`);
      for (const disk of host.disks) disk.slowness = slowness;
      host.storage.slowness = slowness;
      later(world, 500, 10_000, () => mend(host));
    },
  },
  'hung-disk': {
    scope: 'host',
    strike: (world, host, random) => {
      world.log(`${host.name}: DISK HANGS`);
      for (const disk of host.disks) disk.hung = true;
      host.storage.hung = random.chance(0.5);
      later(world, 100, random.pick([2000, 12_000]), () => {
        world.log(`${host.name}: DISK ANSWERS AGAIN`);
        mend(host);
      });
    },
  },
  'disk-write-error': diskFault('write'),
  'disk-read-error': diskFault('read'),
  'disk-flush-error': diskFault('flush'),
  'disk-full': diskFault('no-space'),
  'metadata-write-error': metadataFault('write'),
  'metadata-sync-error': metadataFault('sync'),
  swap: commandOf('swap'),
  stop: {
    scope: 'host',
    strike: (world, host) => {
      host.command('stop');
      later(world, 1000, 20_000, () => startAgain(world, host));
    },
  },
  'stop-both': {
    scope: 'world',
    strike: (world) => {
      for (const host of world.hosts) {
        later(world, 0, world.random.pick([1, 100, 3000]), () => host.command('stop'));
        later(world, 3000, 20_000, () => startAgain(world, host));
      }
    },
  },
  prim: {
    scope: 'host',
    // An operator who says that the empty copy is the good one is believed: that is no fault of the pair.
    strike: (world, host) => {
      if (host === world.a || host.mirror?.state.data !== 'fresh') host.command('prim');
    },
  },
  second: commandOf('second'),
} as const satisfies Record<string, Fault>;

export type FaultName = keyof typeof faultTable;

export const faultNames = Object.keys(faultTable) as readonly FaultName[];

/** Without a record an operator's `prim` may split the pair, as the command says; and there is nobody to be unreachable. */
const needArbiter: ReadonlySet<FaultName> = new Set([
  'prim',
  'arbiter-gone',
  'arbiter-unreachable',
  'arbiter-unreliable',
]);

export function canStrike(world: World, name: FaultName): boolean {
  return world.hasArbiter || !needArbiter.has(name);
}

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
    mend(host);
    idle(host);
    host.boot();
    startAgain(world, host);
  }
}

/** A start is refused while a stop is under way: an operator tries again. */
function startAgain(world: World, host: SimulatedHost): void {
  const { era } = world;
  const again = (): void => {
    world.time.after(world.random.between(500, 1000), () => {
      if (world.era === era) startAgain(world, host);
    });
  };
  if (host.processFrozen) return again();
  host.command('start', (error) => {
    if (error !== undefined) again();
  });
}
