/**
 * The fences of a simulated world: each switches a host off for real, after a while, and then looks at its power. They are slow, at
 * times silent, and at times they switch off and do not say so. What they never do is to prove what is not so. A host that was switched
 * off is switched on again later. Draws from a generator of its own, so that worlds without fences are what they were.
 */
import type { Fence, FenceAnswer } from '../../src/arbiter/fence.ts';
import { Random } from './random.ts';
import type { SimulatedHost } from './simulated-host.ts';
import type { Life } from './simulated-time.ts';
import type { World } from './world.ts';

/** What an attempt comes to: `mute` switches nothing, `deaf` switches off and says that it does not know. */
export type FenceMood = 'works' | 'slow' | 'mute' | 'deaf';

export const fenceDeadlineMs = 5000;
/** Makes the seed of the fences another one than that of the world. */
const seedTwist = 0x46454e43;

export class SimulatedFences {
  /** `undefined`: the seed decides at each attempt. */
  mood: FenceMood | undefined;
  /** How long after it was switched off a host boots, ms; `undefined`: never by itself. */
  bootAfterMs: readonly [number, number] | undefined = [2000, 40_000];
  /** Hosts that were switched off, in their order. */
  readonly switchedOff: string[] = [];
  attempts = 0;
  readonly #world: World;
  readonly #random: Random;

  constructor(world: World) {
    this.#world = world;
    this.#random = new Random(world.seed ^ seedTwist);
  }

  /** Switches `target` off, as long as the process `life` of its peer lives. */
  of(target: SimulatedHost, life: Life): Fence {
    const { time } = this.#world;
    return {
      deadlineMs: fenceDeadlineMs,
      proveOff: (answered) => {
        this.attempts += 1;
        const mood = this.mood ?? this.#drawMood();
        let ended = false;
        const answer = (kind: FenceAnswer['kind'], because: string): void => {
          if (ended) return;
          ended = true;
          answered({ kind, because });
        };
        time.after(fenceDeadlineMs, () => answer('no-proof', 'no answer in time'), life);
        // The order has left: it arrives whatever becomes of the process that gave it.
        const reach = time.after(this.#random.between(20, mood === 'slow' ? 4000 : 800), () => {
          if (mood === 'mute') return;
          this.#switchOff(target);
          const look = (): void => {
            if (mood === 'deaf') answer('no-proof', 'the order was accepted, and nothing is known');
            else if (target.powered) answer('no-proof', 'the power is on');
            else answer('off', 'the power is off');
          };
          time.after(this.#random.between(10, 500), look, life);
        });
        return {
          abandon: () => {
            reach.cancel();
            time.after(0, () => answer('no-proof', 'given up'), life);
          },
        };
      },
      test: (answered) => {
        const kind = this.mood === 'mute' ? 'no-answer' : 'answers';
        time.after(1, () => answered({ kind, because: 'simulated' }), life);
      },
    };
  }

  #drawMood(): FenceMood {
    return this.#random.pick(['works', 'works', 'works', 'works', 'slow', 'mute', 'deaf']);
  }

  #switchOff(target: SimulatedHost): void {
    if (!target.powered) return;
    this.#world.log(`${target.name}: FENCED`);
    this.switchedOff.push(target.name);
    target.losePower();
    if (this.bootAfterMs !== undefined)
      this.#world.time.after(this.#random.between(...this.bootAfterMs), () => target.boot());
  }
}
