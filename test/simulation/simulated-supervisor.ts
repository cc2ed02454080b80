/**
 * The supervisor of a simulated host: the shipped watch over hands that act on the host. It lives as long as the boot of its
 * host, and stands still with it. Not modelled: its own death.
 */
import { ModuleWatch } from '../../src/supervisor/module-watch.ts';
import { Random } from './random.ts';
import type { Life, SimulatedTime } from './simulated-time.ts';
import type { World } from './world.ts';

/** As in the default profile, ms. */
const watchdogMs = 4000;
/** What pausing a guest may take beyond its time, ms, as in the shipped supervisor. */
const awayMarginMs = 100;

/** What the supervisor does to its host. */
export interface SupervisedHost {
  /** The module process, while it runs; its events wait while it is frozen. */
  readonly processLife: Life | undefined;
  /** Answers a ping when its metadata are open: how long the VM may run without a further word. */
  readonly answer: (() => number | undefined) | undefined;
  startProcess(): void;
  killProcess(): void;
  /** Past the module; `done` when that was tried. */
  pauseVm(done: () => void): void;
}

export class SimulatedSupervisor {
  readonly #watch: ModuleWatch;
  readonly #host: SupervisedHost;
  readonly #time: SimulatedTime;
  readonly #random: Random;
  readonly #machine: Life;
  readonly #clockRate: number;
  /** The process that has not answered the last ping yet. */
  #asked: Life | undefined;
  #startAfterMs = 0;

  constructor(world: World, machine: Life, clockRate: number, host: SupervisedHost) {
    this.#time = world.time;
    // Of its own: how often modules are asked does not change what else a seed decides.
    this.#random = new Random(world.seed);
    this.#machine = machine;
    this.#clockRate = clockRate;
    this.#host = host;
    const { claimAfterMs, pauseAfterMs } = world.timers;
    const clock = world.time.clockOf(machine, clockRate);
    this.#watch = new ModuleWatch(clock, watchdogMs, claimAfterMs - pauseAfterMs - awayMarginMs, {
      launch: () => this.#launch(),
      ping: () => this.#ping(),
      pauseGuest: () => host.pauseVm(() => this.#watch.guestPaused()),
      kill: () => host.killProcess(),
      askToExit: () => undefined,
      decided: ({ action, rule, because }) => world.log(`supervisor: ${action} (${rule}): ${because}`),
    });
  }

  /** The host has booted: the module starts at once. */
  boot(): void {
    this.#watch.start();
  }

  /** The process died; the next one begins `startAfterMs` after its launch. */
  processEnded(startAfterMs: number): void {
    this.#startAfterMs = startAfterMs;
    this.#asked = undefined;
    const end = { code: undefined, signal: 'SIGKILL', lastWords: '' };
    this.#time.after(0, () => this.#watch.exited(end), this.#machine);
  }

  #launch(): void {
    const afterMs = this.#startAfterMs;
    if (afterMs === 0) this.#host.startProcess();
    else this.#time.after(afterMs, () => this.#host.startProcess(), this.#machine);
  }

  #ping(): void {
    const { processLife } = this.#host;
    if (processLife === undefined || this.#asked === processLife || this.#host.answer === undefined) return;
    this.#asked = processLife;
    const askedMs = this.#time.nowMs * this.#clockRate;
    const answer = (): void => {
      const limitMs = this.#host.answer?.();
      const pauseByMs = limitMs === undefined ? undefined : askedMs + limitMs;
      const arrive = (): void => {
        this.#asked = undefined;
        this.#watch.answered(pauseByMs);
      };
      this.#time.after(this.#random.between(0.1, 1), arrive, this.#machine);
    };
    this.#time.after(this.#random.between(0.1, 1), answer, processLife);
  }
}
