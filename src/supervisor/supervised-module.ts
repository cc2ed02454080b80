/** One module under supervision: ties the deciding watch to the process, and tells people how it is. */
import type { Clock } from '../base/clock.ts';
import type { Decision } from '../base/decision.ts';
import { WorldError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type KeyChange, moduleChanges } from '../config/module-change.ts';
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
  /** Reads a file of a module. Throws `config-invalid` or `file-missing`. */
  readonly read: (file: string) => ModuleConfig;
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
  /** What an operator should know beside the state: that the file says something else than what runs. */
  readonly note?: string | undefined;
}

/** What pausing a guest may take beyond its time, ms. */
const awayMarginMs = 100;

/** How long a guest may run without a module, ms: less than what lies between the pause of a lost primary and the claim of its peer. */
function awayMs({ timers }: ModuleConfig): number {
  return timers.claimAfterMs - timers.pauseAfterMs - awayMarginMs;
}

function changedNote(changes: readonly KeyChange[]): string {
  const keysOf = (wanted: (change: KeyChange) => boolean): string =>
    changes
      .filter(wanted)
      .map(({ key }) => key)
      .join(', ');
  const live = keysOf((change) => change.class === 'live');
  const later = keysOf((change) => change.class !== 'live');
  if (later === '') return `configuration changed (${live}): counts from the next reconfigure`;
  return `configuration changed (${later}): counts from the next restart`;
}

export class SupervisedModule {
  readonly name: string;
  readonly #options: SupervisedModuleOptions;
  readonly #watch: ModuleWatch;
  readonly #process: ModuleProcess;
  readonly #restWaiters = new Set<() => void>();
  /** With which the process that runs was launched, as far as this supervisor knows. */
  #config: ModuleConfig;
  #file: string;
  #note: string | undefined;

  constructor(options: SupervisedModuleOptions) {
    const { config, clock, log } = options;
    this.name = config.name;
    this.#options = options;
    this.#config = config;
    this.#file = options.file;
    this.#watch = new ModuleWatch(clock, config.timers.watchdogMs, awayMs(config), {
      launch: () => {
        this.#process.launch();
        // Not before: a guest waits for the process.
        this.#readAgain();
      },
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
      args: () => [
        ...moduleNodeFlags,
        options.moduleProgram,
        '--config',
        this.#file,
        '--node',
        options.nodeFile,
      ],
      pingDeadlineMs: () => this.#config.timers.watchdogMs,
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

  /** Where the file of the module is from now on; a process that runs is not touched. */
  moveTo(file: string): void {
    this.#file = file;
  }

  /** Compares the file with what runs, and notes what does not count yet. */
  compareFile(): readonly KeyChange[] {
    try {
      const changes = moduleChanges(this.#config, this.#options.read(this.#file));
      this.#note = changes.length === 0 ? undefined : changedNote(changes);
      return changes;
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      this.#note = `the file cannot be used, and what runs goes on: ${error.message}`;
      return [];
    }
  }

  /** What an operator is told until the next comparison. */
  setNote(note: string): void {
    this.#note = note;
  }

  status(): SupervisedStatus {
    return {
      module: this.name,
      file: this.#file,
      state: this.#watch.state,
      because: this.#watch.because,
      pid: this.#process.pid,
      restarts: this.#watch.restarts,
      control: this.#process.paths.control,
      ...(this.#note === undefined ? {} : { note: this.#note }),
    };
  }

  /** The process that was just launched reads its file: what it finds counts here too. One that cannot be used, the process tells. */
  #readAgain(): void {
    let found: ModuleConfig;
    try {
      found = this.#options.read(this.#file);
    } catch (error) {
      if (error instanceof WorldError) return;
      throw error;
    }
    if (found.name !== this.name) return;
    this.#config = found;
    this.#note = undefined;
    this.#watch.setTimers(found.timers.watchdogMs, awayMs(found));
  }

  /** Lets go of the process without touching it. */
  close(): void {
    this.#watch.dispose();
    this.#process.close();
  }

  async #pauseGuest(): Promise<void> {
    const { pauser, log } = this.#options;
    try {
      await pauser.pause(this.#config.vm, this.#process.paths, pauseDeadlineMs);
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
