/**
 * Disks that others keep busy: the device works and a flush takes up to 20 s, as an fdatasync does that waits for what other
 * processes of the host write. It is no fault: nobody may give a copy up for it, and the host checks that. Beside the faults, with
 * a generator of its own, so that the history of a world without it is what it was.
 */
import { Random } from './random.ts';
import type { SimulatedHost } from './simulated-host.ts';
import type { World } from './world.ts';

/** One world in so many has them. */
const everyWorld = 4;
const flushMsMaxima = [2000, 8000, 20_000];
const seedOfItsOwn = 0x51_0e_d1_5c;

export function keepsDisksBusy(world: World): void {
  const random = new Random(world.seed ^ seedOfItsOwn);
  if (random.below(everyWorld) !== 0) return;
  const { era } = world;
  const nextTime = (): void => {
    world.time.after(random.between(0, 40_000), () => {
      if (world.era !== era) return;
      const host = random.pick(world.hosts);
      const flushMsMax = random.pick(flushMsMaxima);
      keepBusy(host, random, flushMsMax, random.chance(0.5));
      world.time.after(random.between(5000, 40_000), () => {
        if (world.era !== era) return;
        idle(host);
        nextTime();
      });
    });
  };
  nextTime();
}

export function keepBusy(
  host: SimulatedHost,
  random: Random,
  flushMsMax: number,
  metadataToo: boolean,
  flushMsMin = 0,
): void {
  host.world.log(`${host.name}: DISK BUSY, flushes take up to ${flushMsMax} ms`);
  const busy = { random, flushMsMin, flushMsMax };
  for (const disk of host.disks) disk.busy = busy;
  if (metadataToo) host.storage.busy = busy;
}

/** Nothing is added; what waits ends in its time. */
export function idle(host: SimulatedHost): void {
  if (host.disks.every(({ busy }) => busy === undefined)) return;
  host.world.log(`${host.name}: DISK IDLE`);
  for (const disk of host.disks) disk.busy = undefined;
  host.storage.busy = undefined;
}
