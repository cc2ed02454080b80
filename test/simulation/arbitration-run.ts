/**
 * One short run of the rules of arbitration alone: a pair with almost no data loses connections, nodes, processes and its arbiter in a few
 * ways that the seed picks, and then some majority of {A, B, arbiter} is left in peace. The same world and checkers as the whole
 * simulation (one writer, no VM twice, nothing acknowledged lost); and in the end: where the majority has a copy that
 * the record allows, its VM runs within the bound. What it does not show: anything about much data, slow or failing disks.
 */
import type { Random } from './random.ts';
import type { SimulatedHost } from './simulated-host.ts';
import { World } from './world.ts';

/** From the last disturbance to a running VM, ms of virtual time: three claim delays after a boot, and a resync. */
export const arbitrationBoundMs = 45_000;

const disturbancesMin = 2;
const disturbancesMax = 5;

type Topology = 'all' | 'A and arbiter' | 'B and arbiter' | 'A and B';
const topologies: readonly Topology[] = ['all', 'A and arbiter', 'B and arbiter', 'A and B'];

type Disturbance = (world: World, host: SimulatedHost, random: Random) => void;

const disturbances: Readonly<Record<string, Disturbance>> = {
  cut: (world) => world.link.setCut(true, true),
  'cut one way': (world, host) => world.link.setCut(host.side === 0, host.side === 1),
  blip: (world) => world.link.blip(),
  heal: (world) => world.link.setCut(false, false),
  'arbiter unreachable': (world, host) => world.arbiter.unreachableFrom.add(host.name),
  'arbiter reachable': (world) => world.arbiter.unreachableFrom.clear(),
  'arbiter gone': (world) => (world.arbiter.running = false),
  'arbiter back': (world) => (world.arbiter.running = true),
  'arbiter unreliable': ({ arbiter }, _host, random) => {
    const share = (): number => random.pick([0, 0.3, 0.8]);
    Object.assign(arbiter, { lostAnswers: share(), lateRequests: share(), repeatedRequests: share() });
  },
  isolate: (world, host) => {
    world.link.setCut(true, true);
    world.arbiter.unreachableFrom.add(host.name);
  },
  kill: (_world, host) => host.kill(),
  power: (_world, host) => host.losePower(),
  'power of both': (world) => {
    for (const host of world.hosts) host.losePower();
  },
  boot: (_world, host) => host.boot(),
  'freeze a process': (_world, host, random) => host.freezeProcess(random.between(1, 9000)),
  'freeze a host': (_world, host, random) => host.freezeHost(random.between(1, 15_000)),
  swap: (_world, host) => host.command('swap'),
  stop: (_world, host) => host.command('stop'),
  start: (_world, host) => host.command('start'),
  // An operator who says that the empty copy is the good one is believed: that is no fault of the pair.
  prim: (_world, host) => {
    if (host.mirror?.state.data !== 'fresh') host.command('prim');
  },
  // The only copy is secondary until its operator says `prim`: that is no fault of the pair.
  second: (world, host) => {
    if (world.checkers.hasHeldData(world.otherThan(host))) host.command('second');
  },
  'records lost': (world, _host, random) => {
    if (random.chance(0.2)) world.arbiter.loseStore();
  },
  'record made anew': (world, host) => {
    const peer = world.otherThan(host);
    // Nobody says that the peer is off while it has writes that this host lacks: the command tells what would be given up.
    const isRight = !peer.powered && world.checkers.hasLatestLineage(host);
    host.recreateRecord(isRight ? peer.name : undefined);
  },
};
const disturbanceNames = Object.keys(disturbances);

export interface ArbitrationReport {
  /** `undefined`: nothing was violated. */
  readonly violation: string | undefined;
  readonly transcript: readonly string[];
  /** The VM had to run in the end, and did. */
  readonly hadToRun: boolean;
}

export function runArbitration(seed: number): ArbitrationReport {
  const world = new World(seed, {
    volumeSizesBytes: [128 * 1024],
    filledBytes: 64 * 1024,
    guestThinkMs: 300,
    clockDrift: seed % 3 === 0 ? 0.02 : seed % 3 === 1 ? -0.02 : 0,
  });
  let hadToRun = false;
  try {
    disturb(world);
    hadToRun = endsWell(world);
  } catch (error) {
    const violation = error instanceof Error ? `${error.message}\n${error.stack ?? ''}` : String(error);
    return { violation, transcript: world.transcript, hadToRun };
  }
  return { violation: undefined, transcript: [], hadToRun };
}

function disturb(world: World): void {
  const { random } = world;
  world.firstStart();
  if (random.chance(0.9)) world.expect('the pair is in sync', () => world.inSync());
  const count = disturbancesMin + random.below(disturbancesMax - disturbancesMin + 1);
  for (let turn = 0; turn < count; turn += 1) {
    world.run(random.between(0, random.pick([1, 50, 1000, 8000])));
    const name = random.pick(disturbanceNames);
    const host = random.pick(world.hosts);
    world.log(`* ${name} (${host.name})`);
    disturbances[name]?.(world, host, random);
  }
  world.run(random.between(0, random.pick([1, 50, 1000, 8000])));
}

/** Leaves one majority in peace; whether its VM had to run. */
function endsWell(world: World): boolean {
  const { arbiter, link, hosts, random } = world;
  const topology = random.pick(topologies);
  world.log(`* only ${topology} from here on`);
  const apart = topology === 'A and arbiter' || topology === 'B and arbiter';
  link.setCut(apart, apart);
  arbiter.running = topology !== 'A and B';
  Object.assign(arbiter, { lostAnswers: 0, lateRequests: 0, repeatedRequests: 0 });
  arbiter.unreachableFrom.clear();
  const members = hosts.filter(({ name }) => !apart || topology.startsWith(name));
  for (const host of hosts) {
    if (!members.includes(host)) arbiter.unreachableFrom.add(host.name);
    else host.boot();
  }
  const ready = (): boolean =>
    members.every(({ mirror, processFrozen }) => mirror !== undefined && !processFrozen && !mirror.leaving);
  world.expect('the modules run', ready, arbitrationBoundMs);
  for (const host of members) if (host.mirror?.run === 'stopped') host.command('start');
  // What was on its way to the arbiter when it went, or came from the other node, arrives.
  world.run(16_000);
  if (!mustRun(world, topology, members)) return false;
  const runs = (): boolean => members.some((host) => world.primary() === host);
  world.expect(`the VM runs with ${topology}`, runs, arbitrationBoundMs);
  return true;
}

function mustRun(world: World, topology: Topology, members: readonly SimulatedHost[]): boolean {
  const { record, store } = world.arbiter;
  const states = members.flatMap(({ mirror }) => (mirror === undefined ? [] : [mirror]));
  if (states.some(({ run }) => run === 'stopped')) return false;
  const isKnown = states.some(
    ({ state }) => state.data === 'up-to-date' && world.checkers.hasLatestLineage(hostOf(world, state.self)),
  );
  if (!isKnown) return false;
  // Beside an empty peer nobody but the arbiter can say that a copy is the latest, and none that has lost its records.
  const isEmpty = ({ state }: (typeof states)[number]): boolean => state.data === 'fresh';
  const knowsArbiter = states.some((mirror) => !isEmpty(mirror) && mirror.state.arbiterStore === store);
  if (topology === 'all') return knowsArbiter || !states.some(isEmpty);
  // Nobody but the arbiter can say what became of a claim that may have reached it.
  if (topology === 'A and B') return states.every((mirror) => !mirror.operationOpen && !isEmpty(mirror));
  return states.some(
    ({ state, claims }) =>
      state.data === 'up-to-date' &&
      claims.obstacle === undefined &&
      state.arbiterStore === store &&
      record?.operationId === state.path.at(-1) &&
      (record?.holder === 'both' || record?.holder === state.self),
  );
}

function hostOf(world: World, name: string): SimulatedHost {
  return name === 'A' ? world.a : world.b;
}
