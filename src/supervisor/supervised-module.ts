/** One module under supervision: ties the deciding watch to the process, and tells people how it is. */
import type { Clock } from '../base/clock.ts';
import type { Decision } from '../base/decision.ts';
import { WorldError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { ModuleConfig } from '../config/module-config.ts';
import type { GuestPauser } from './guest-pauser.ts';
import { ModuleProcess } from './module-process.ts';
import { ModuleWatch, pauseDeadlineMs, type WatchAction, type WatchState } from './module-watch.ts';

/**
 * Settings of V8 for a process whose garbage is short-lived objects and the buffers that sockets deliver. A small young
 * generation frees those buffers early. V8 counts their bytes as part of the old generation, and with its own first
 * limit for that, of about 10 MiB, made up to fifty full collections a second under a stream of large writes, a third of the
 * processor time. A module collects by itself when it is idle (idle-memory.ts).
 */
const moduleNodeFlags = ['--max-semi-space-size=1', '--initial-old-space-size=64', '--expose-gc'];

export interface SupervisedModuleOptions {
  readonly config: ModuleConfig;
  readonly file: string;
  readonly nodeFile: string;
  readonly runtimeDir: string;
  readonly moduleProgram: string;
  readonly pauser: GuestPauser;
  readonly clock: Clock;
  readonly log: Log;
  readonly decided: (module: string, decision: Decision<WatchAction>) => void;
}

/** What `list` and `status` answer for each module. */
export interface SupervisedStatus {
  readonly module: string;
  readonly file: string;
  readonly state: WatchState;
  readonly because: string;
  readonly pid: number | undefined;
  readonly restarts: number;
  readonly control: string | undefined;
}

/** What pausing a guest may take beyond its time, ms. */
const awayMarginMs = 100;

export class SupervisedModule {
  readonly name: string;
  readonly #options: SupervisedModuleOptions;
  readonly #watch: ModuleWatch;
  readonly #process: ModuleProcess;
  readonly #restWaiters = new Set<() => void>();

  constructor(options: SupervisedModuleOptions) {
    const { config, clock, log } = options;
    this.name = config.name;
    this.#options = options;
    const { watchdogMs, claimAfterMs, pauseAfterMs } = config.timers;
    this.#watch = new ModuleWatch(clock, watchdogMs, claimAfterMs - pauseAfterMs - awayMarginMs, {
      launch: () => this.#process.launch(),
      ping: () => this.#process.ping((pauseByMs) => this.#watch.answered(pauseByMs)),
      pauseGuest: () => void this.#pauseGuest(),
      kill: () => this.#process.kill(),
      askToExit: () => this.#process.askToExit(),
      decided: (decision) => this.#decided(decision),
    });
    this.#process = new ModuleProcess({
      name: config.name,
      volumes: config.volumes.map((volume) => volume.name),
      runtimeDir: options.runtimeDir,
      command: process.execPath,
      args: [...moduleNodeFlags, options.moduleProgram, '--config', options.file, '--node', options.nodeFile],
      pingDeadlineMs: config.timers.watchdogMs,
      clock,
      log,
      ended: (end) => this.#watch.exited(end),
    });
  }

  /** Goes on with a process that runs already, or starts one. */
  async begin(): Promise<void> {
    if (await this.#process.adopt()) {
      this.#options.log.info('module-adopted', { module: this.name, childPid: this.#process.pid });
      this.#watch.adopt();
      // A process that died between being found and being watched is noticed by the first ping that fails.
    } else {
      this.#watch.start();
    }
  }

  start(): void {
    this.#watch.start();
  }

  restart(): void {
    this.#watch.restart();
  }

  /** Resolves when the process has ended; throws `module-not-running` when that is not so within `deadlineMs`. */
  async stop(deadlineMs: number): Promise<void> {
    const rested = new Promise<boolean>((resolve) => {
      const timer = this.#options.clock.after(deadlineMs, () => resolve(false));
      this.#restWaiters.add(() => {
        timer.cancel();
        resolve(true);
      });
    });
    this.#watch.stop();
    this.#wakeIfResting();
    if (await rested) return;
    throw new WorldError('module-not-running', {
      wanted: `the process of module ${this.name} to end within ${deadlineMs} ms`,
      found: `state ${this.#watch.state}: ${this.#watch.because}`,
      next: `Look at the process${this.#process.pid === undefined ? '' : ` ${this.#process.pid}`} and at its log.`,
    });
  }

  status(): SupervisedStatus {
    return {
      module: this.name,
      file: this.#options.file,
      state: this.#watch.state,
      because: this.#watch.because,
      pid: this.#process.pid,
      restarts: this.#watch.restarts,
      control: this.#process.paths.control,
    };
  }

  /** Lets go of the process without touching it. */
  close(): void {
    this.#watch.dispose();
    this.#process.close();
  }

  async #pauseGuest(): Promise<void> {
    const { pauser, config, log } = this.#options;
    try {
      await pauser.pause(config.vm, this.#process.paths, pauseDeadlineMs);
      log.warn('guest-paused', { module: this.name });
    } catch (error) {
      const because = error instanceof Error ? error.message : String(error);
      log.error('guest-not-paused', { module: this.name, because });
    }
    this.#watch.guestPaused();
  }

  #decided(decision: Decision<WatchAction>): void {
    this.#options.log.info('decided', { module: this.name, ...decision });
    this.#options.decided(this.name, decision);
    // The state changes right after the decision is told.
    queueMicrotask(() => this.#wakeIfResting());
  }

  #wakeIfResting(): void {
    if (this.#watch.state !== 'stopped' && this.#watch.state !== 'failed') return;
    const waiters = [...this.#restWaiters];
    this.#restWaiters.clear();
    for (const wake of waiters) wake();
  }
}
