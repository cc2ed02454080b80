/**
 * The VM on one host, and the edge that works towards the wish of the module: level-triggered, with delays. It goes on when
 * the module process dies, and ends with its host. A guest lives in it from its start to its end. The supervisor can pause it past
 * the module; a module that learns of that does with it what it wants.
 */
import type { RestartManner } from '../../src/checks/module-checks.ts';
import type { VmState, VmWish } from '../../src/cluster/mirror-ports.ts';
import type { Random } from './random.ts';
import type { Life, SimulatedTime } from './simulated-time.ts';
import type { Timer } from '../../src/base/clock.ts';

export interface VmEvents {
  changed(state: VmState): void;
  /** A guest begins in a VM that was started now. */
  booted(): void;
  ended(): void;
  /** Before every start; `again`: it ended although it should run. A string says why it must not be started now. */
  mayStart(again: boolean): string | undefined;
}

/** From a start that was not allowed to the next question, ms. */
const retryMs = 500;

export class SimulatedVm {
  state: VmState = 'stopped';
  #wish: VmWish = 'as-is';
  /** Paused past the module, which has not learned of it yet. */
  #outside = false;
  #action: Timer | undefined;
  #doing: VmState | undefined;
  /** It ran under the present wish. */
  #ran = false;
  #restart: RestartManner | undefined;
  #retry: Timer | undefined;
  readonly #time: SimulatedTime;
  readonly #random: Random;
  readonly #events: VmEvents;
  /** The host as a whole: while it is frozen nothing happens to the VM. */
  readonly #machine: () => Life;

  constructor(time: SimulatedTime, random: Random, machine: () => Life, events: VmEvents) {
    this.#time = time;
    this.#random = random;
    this.#events = events;
    this.#machine = machine;
  }

  /** The guest executes: a VM that is being shut down does too. */
  get executes(): boolean {
    return this.state === 'running' || this.state === 'stopping';
  }

  want(wish: VmWish): void {
    this.#wish = wish;
    if (wish !== 'running') this.#forgetRun();
    this.#outside = false;
    this.#work();
  }

  /** Ends it and starts it again, as the driver of the module does. */
  restart(manner: RestartManner): void {
    if (this.#wish !== 'running') return;
    this.#restart = manner;
    this.#work();
  }

  #forgetRun(): void {
    this.#ran = false;
    this.#restart = undefined;
    this.#retry?.cancel();
  }

  pauseFromOutside(): void {
    this.#outside = true;
    this.#work();
  }

  moduleKnows(): void {
    if (!this.#outside) return;
    this.#outside = false;
    this.#work();
  }

  /** Nobody wants anything of it until the next process does; what was begun is ended. */
  moduleGone(): void {
    this.#wish = 'as-is';
    this.#forgetRun();
  }

  /** The hypervisor's process dies; what the VM should be is as before. */
  crash(): void {
    if (this.state === 'stopped') return;
    this.#action?.cancel();
    this.#action = undefined;
    this.#doing = undefined;
    this.#become('stopped');
    this.#work();
  }

  /** The host is gone. */
  powerLost(): void {
    this.#action?.cancel();
    this.#action = undefined;
    this.#doing = undefined;
    this.#wish = 'as-is';
    this.#forgetRun();
    this.#outside = false;
    if (this.state !== 'stopped') this.#events.ended();
    this.state = 'stopped';
  }

  /** The next step from the present state towards the wish. */
  #work(): void {
    const { state } = this;
    if (this.#action !== undefined) {
      // Only an orderly end can be overtaken.
      if (!(this.#doing === 'stopping' && this.#wish === 'destroyed')) return;
      this.#action.cancel();
    }
    const isPaused = this.#outside && this.#wish !== 'destroyed';
    switch (isPaused ? 'paused' : this.#wish) {
      case 'running':
        if (state === 'stopped') this.#start();
        else if (this.#restart === 'at-once') this.#step(undefined, 20, 150, 'stopped');
        else if (this.#restart === 'in-order' && state === 'running')
          this.#step('stopping', 300, 2000, 'stopped');
        else if (state === 'paused') this.#step(undefined, 2, 40, 'running');
        return;
      case 'paused':
        if (state === 'running') this.#step(undefined, 2, 40, 'paused');
        return;
      case 'stopped-gracefully':
        if (state === 'running') this.#step('stopping', 300, 2000, 'stopped');
        else if (state === 'paused') this.#step(undefined, 20, 100, 'stopped');
        return;
      case 'destroyed':
        if (state !== 'stopped') this.#step(undefined, 20, 150, 'stopped');
        return;
      case 'as-is':
        return;
    }
  }

  #start(): void {
    this.#restart = undefined;
    const obstacle = this.#events.mayStart(this.#ran);
    // What decides on starts may have ended the wish.
    if (this.#wish !== 'running' || this.#action !== undefined) return;
    if (obstacle === undefined) return this.#step('starting', 50, 500, 'running');
    this.#retry?.cancel();
    this.#retry = this.#time.after(retryMs, () => this.#work(), this.#machine());
  }

  #step(meanwhile: VmState | undefined, fromMs: number, toMs: number, end: VmState): void {
    if (meanwhile !== undefined) this.#become(meanwhile);
    this.#doing = meanwhile;
    const done = (): void => {
      this.#action = undefined;
      this.#doing = undefined;
      this.#become(end);
      this.#work();
    };
    this.#action = this.#time.after(this.#random.between(fromMs, toMs), done, this.#machine());
  }

  #become(state: VmState): void {
    const before = this.state;
    this.state = state;
    if (state === 'running' && this.#wish === 'running') this.#ran = true;
    if (state === 'stopped') this.#events.ended();
    if (state === 'running' && before === 'starting') this.#events.booted();
    this.#events.changed(state);
  }
}
