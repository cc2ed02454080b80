/**
 * Brings a world into a phase, so that a fault can fall in the middle of it: each phase has something that leads to it, which
 * is itself a fault or a command. What leads there is drawn by the seed like everything else.
 */
import { type FaultName, faultTable } from './faults.ts';
import { type Phase, phasesOf } from './phases.ts';
import type { Random } from './random.ts';
import type { SimulatedHost } from './simulated-host.ts';
import type { World } from './world.ts';

/** How long a phase is waited for. */
const waitMsMax = 15_000;
/** Most phases last some ms, which is some events. */
const eventsInsideMax = 12;

const away: readonly FaultName[] = ['power', 'cut', 'freeze-host'];

/** What leads to a phase; nothing for those that come by themselves. */
const leadsTo: Readonly<Record<Phase, readonly FaultName[]>> = {
  'no-process': ['kill', 'kill-both'],
  starting: ['kill', 'kill-both', 'power'],
  handshake: ['blip', 'kill'],
  'resync-source': away,
  'resync-target': away,
  'compare-source': ['kill-both'],
  'compare-target': ['kill-both'],
  finishing: away,
  idle: [],
  writing: [],
  flushing: [],
  'al-transaction': ['kill-both', 'kill'],
  'generation-change': ['kill', 'cut'],
  'bitmap-write': away,
  claim: ['cut', 'power', 'one-way-cut'],
  'swap-vm': ['swap'],
  'swap-handing': ['swap'],
  leaving: ['stop', 'stop-both'],
  'changing-network': ['network-cut', 'network-one-way-cut', 'networks-flap'],
  lost: ['cut', 'power'],
  alone: ['power', 'cut'],
};

const isPrimary = ({ mirror }: SimulatedHost): boolean => mirror?.serving === true;

/** The host that is in the phase now; `undefined`: the world did not come to it. `led` hears of each fault on the way. */
export function reach(
  world: World,
  phase: Phase,
  led: (name: FaultName, host: SimulatedHost) => void,
): SimulatedHost | undefined {
  const { random } = world;
  const find = (): SimulatedHost | undefined => {
    const found = world.hosts.filter((host) => phasesOf(host).includes(phase));
    return found.length > 1 ? random.pick(found) : found[0];
  };
  if (find() === undefined && leadsTo[phase].length > 0) {
    // From a pair that is whole, most of the time: otherwise little leads anywhere.
    if (random.chance(0.9)) world.runUntil(() => world.inSync() && world.primary() !== undefined, waitMsMax);
    const name = random.pick(leadsTo[phase]);
    const host = hostFor(world, name, random);
    led(name, host);
    faultTable[name].strike(world, host, random);
  }
  if (!world.runUntil(() => find() !== undefined, waitMsMax)) return undefined;
  if (random.chance(0.5)) {
    // A little further, as long as it lasts.
    let events = random.below(eventsInsideMax);
    world.runUntil(() => {
      events -= 1;
      return events < 0 || find() === undefined;
    }, 50);
  }
  return find();
}

function hostFor(world: World, name: FaultName, random: Random): SimulatedHost {
  const primary = world.hosts.find(isPrimary);
  if ((name === 'swap' || name === 'stall-then-kill') && primary !== undefined) return primary;
  return random.pick(world.hosts);
}
