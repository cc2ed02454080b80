/**
 * Works towards what the cluster rules want of the VM: one action at a time, always for the latest wish, tried again until it
 * is reached. It reports every state that the hypervisor tells.
 *
 * Whether a VM that ended although it should run is started again, whether any VM may be started, and when it is its turn, it asks before
 * every start.
 */
import type { Hypervisor, Wait } from '../../hypervisors/port.ts';
import type { Clock, Timer } from '../../src/base/clock.ts';
import type { Log } from '../../src/base/log.ts';
import type { RestartManner } from '../../src/checks/module-checks.ts';
import type { VmPort, VmState, VmWish } from '../../src/cluster/mirror-ports.ts';

/** How long the guest may take to shut down before its VM is destroyed. */
export const shutdownTimeoutMs = 60_000;
const actionTimeoutMs = 15_000;
const retryDelayMs = 500;
/** From one attempt to resume a paused VM to the next. */
const resumeIntervalMs = 1000;

export interface VmDriverEvents {
  vmChanged(state: VmState): void;
  decided(rule: string, action: string, because: string): void;
  /** Before every start of the VM; `again`: it ended although it should run. A string says why it must not be started now. */
  mayStart(again: boolean): string | undefined;
}

/** Lets a VM start in its turn. */
export interface StartTurn {
  /** Whether the VM may start now; asks for its turn if not. */
  mayStart(): boolean;
  /** The VM runs, or is not to start any more. Idempotent. */
  end(): void;
}

interface Restart {
  readonly manner: RestartManner;
  /** The VM did not run as it should; otherwise somebody only wants it anew. */
  readonly isFailure: boolean;
}

export class VmDriver implements VmPort {
  readonly #hypervisor: Hypervisor;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #events: VmDriverEvents;
  readonly #turn: StartTurn;
  #wish: VmWish = 'as-is';
  #working = false;
  /** Ends the wait for a guest that shuts down. */
  #shutdown: AbortController | undefined;
  #again: Timer | undefined;
  #startedOnce = false;
  /** Something new is to be done when the action that runs has ended. */
  #askedAgain = false;
  /** The VM is to end and to be started again. */
  #restart: Restart | undefined;
  #lastProblem = '';
  #resumedMs = Number.NEGATIVE_INFINITY;

  constructor(hypervisor: Hypervisor, clock: Clock, log: Log, events: VmDriverEvents, turn: StartTurn) {
    this.#hypervisor = hypervisor;
    this.#clock = clock;
    this.#log = log;
    this.#events = events;
    this.#turn = turn;
  }

  /** Finds a VM that an earlier process left running. Before the rules begin. */
  async adopt(): Promise<VmState> {
    const found = await this.#hypervisor.adopt(wait(actionTimeoutMs));
    this.#startedOnce = found.state === 'running' || found.state === 'paused';
    this.#hypervisor.subscribe((event) => {
      this.#log.info('vm-event', { type: event.type, state: this.#hypervisor.state() });
      this.#events.vmChanged(this.#hypervisor.state());
      this.#kick();
    });
    return found.state;
  }

  /** A VM that runs keeps its own definition until its next start. Throws `config-invalid`, `hypervisor-unavailable`. */
  define(text: string): Promise<void> {
    return this.#hypervisor.define({ text }, wait(actionTimeoutMs));
  }

  want(wish: VmWish, because: string): void {
    if (this.#wish === wish) return;
    this.#log.info('vm-wish', { wish, because });
    this.#wish = wish;
    if (wish !== 'running') {
      this.#startedOnce = false;
      this.#restart = undefined;
      this.#turn.end();
    }
    // These may not wait for a guest that takes its time: the peer may be waiting for the VM to be off.
    if (wish === 'destroyed' || wish === 'paused') this.#shutdown?.abort();
    this.#kick();
  }

  /** The VM that was refused a start may start now. */
  turnCame(): void {
    this.#lookAgain();
  }

  /** It does not run as it should: ends it, unless it has ended, and starts it again; nothing happens when it is not to run. */
  restart(manner: RestartManner): void {
    if (this.#wish !== 'running') return;
    this.#restart = { manner, isFailure: true };
    this.#lookAgain();
  }

  /** Shuts the VM down and starts it again, if it runs and is to run. */
  startAnew(rule: string, because: string): void {
    if (this.#wish !== 'running' || this.#restart !== undefined || this.#hypervisor.state() !== 'running')
      return;
    this.#events.decided(rule, 'restart the VM', because);
    this.#restart = { manner: 'in-order', isFailure: false };
    this.#lookAgain();
  }

  close(): void {
    this.#again?.cancel();
    this.#turn.end();
    this.#wish = 'as-is';
    this.#hypervisor.close();
  }

  /** There is something new to do that no event of the hypervisor will tell of: also when an action is just ending. */
  #lookAgain(): void {
    if (this.#working) this.#askedAgain = true;
    else this.#kick();
  }

  #kick(): void {
    if (this.#working) return;
    this.#working = true;
    this.#again?.cancel();
    this.#askedAgain = false;
    const wish = this.#wish;
    this.#work(wish).then(
      (done) => {
        this.#working = false;
        if (this.#wish !== wish || this.#askedAgain) this.#kick();
        else if (!done) this.#again = this.#clock.after(retryDelayMs, () => this.#kick());
      },
      (error: unknown) => {
        this.#working = false;
        const because = error instanceof Error ? error.message : String(error);
        if (because !== this.#lastProblem) this.#log.warn('vm-action-failed', { wish, because });
        this.#lastProblem = because;
        const isNew = this.#wish !== wish || this.#askedAgain;
        this.#again = this.#clock.after(isNew ? 0 : retryDelayMs, () => this.#kick());
      },
    );
  }

  /** One step towards the wish; true when it is reached. */
  async #work(wish: VmWish): Promise<boolean> {
    let state = this.#hypervisor.state();
    if (wish === 'as-is') return true;
    if (state === 'unknown') state = (await this.#hypervisor.inspect(wait(actionTimeoutMs))).state;
    switch (wish) {
      case 'running':
        if (this.#restart !== undefined && state !== 'stopped')
          return this.#endToRestart(this.#restart, state);
        this.#restart = undefined;
        if (state === 'running') return this.#reached();
        if (state === 'paused') {
          // A disk that still has no room pauses it again at once.
          if (this.#clock.nowMs() - this.#resumedMs < resumeIntervalMs) return false;
          this.#resumedMs = this.#clock.nowMs();
          await this.#hypervisor.resume(wait(actionTimeoutMs));
        } else if (state === 'stopped') {
          this.#refuseObstacle();
          // Whoever gives the turn says when it has come. What decided may have ended the wish.
          if (this.#wish !== 'running' || !this.#turn.mayStart()) return true;
          await this.#start();
        }
        break;
      case 'paused':
        if (state === 'paused' || state === 'stopped') return this.#reached();
        await this.#hypervisor.suspend(wait(actionTimeoutMs));
        break;
      case 'stopped-gracefully':
        if (state === 'stopped') return this.#reached();
        if (state === 'paused') await this.#hypervisor.resume(wait(actionTimeoutMs));
        await this.#shutDownOrDestroy(wish);
        break;
      case 'destroyed':
        if (state === 'stopped') return this.#reached();
        await this.#hypervisor.destroy(wait(actionTimeoutMs));
        break;
    }
    return this.#wish === wish && this.#isReached(wish) ? this.#reached() : false;
  }

  /** One that does not run as it should would not hear the request. */
  async #endToRestart({ manner, isFailure }: Restart, state: VmState): Promise<false> {
    if (manner === 'at-once' || state !== 'running') await this.#hypervisor.destroy(wait(actionTimeoutMs));
    else await this.#shutDownOrDestroy('running');
    // What ends because it was asked to is no VM that does not stay up.
    if (!isFailure) this.#startedOnce = false;
    this.#askedAgain ||= this.#hypervisor.state() === 'stopped';
    return false;
  }

  async #shutDownOrDestroy(wish: VmWish): Promise<void> {
    if ((await this.#shutDown()) !== 'still-running' || this.#wish !== wish) return;
    this.#events.decided(
      'shutdown-timeout',
      'destroy the VM',
      `the guest did not shut down in ${shutdownTimeoutMs} ms`,
    );
    await this.#hypervisor.destroy(wait(actionTimeoutMs));
  }

  async #shutDown(): Promise<'stopped' | 'still-running'> {
    const { signal } = (this.#shutdown = new AbortController());
    try {
      return await this.#hypervisor.shutdown({ timeoutMs: shutdownTimeoutMs, signal });
    } finally {
      this.#shutdown = undefined;
    }
  }

  #isReached(wish: VmWish): boolean {
    const state = this.#hypervisor.state();
    if (wish === 'running') return state === 'running';
    if (wish === 'paused') return state === 'paused' || state === 'stopped';
    return state === 'stopped';
  }

  #reached(): boolean {
    this.#lastProblem = '';
    // Also a VM that was adopted: when it ends from now on, that is a restart.
    if (this.#wish === 'running') {
      this.#startedOnce = true;
      this.#turn.end();
    }
    this.#events.vmChanged(this.#hypervisor.state());
    return true;
  }

  #refuseObstacle(): void {
    const obstacle = this.#events.mayStart(this.#startedOnce);
    if (obstacle === undefined) return;
    // What is not started must not keep others waiting.
    this.#turn.end();
    throw new Error(`the VM is not started: ${obstacle}`);
  }

  async #start(): Promise<void> {
    this.#startedOnce = true;
    this.#events.vmChanged('starting');
    await this.#hypervisor.start(wait(actionTimeoutMs));
  }
}

function wait(timeoutMs: number): Wait {
  return { timeoutMs };
}
