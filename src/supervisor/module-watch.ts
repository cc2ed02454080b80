/**
 * Decides when one module process is started, restarted and killed. Pure: it takes its clock and its hands as ports, and
 * is told what happened; it never looks itself.
 *
 * Invariants: at most one process is launched at a time: `launch` only after the one before was reported as exited.
 * A module that hangs is killed only after its guest was paused, or after the deadline for that.
 * A guest does not run longer than its module last said that it may: the peer may start it then. That alone does not
 * kill the module, which may be about to answer; a module that goes on lets its guest go on.
 * It knows nothing of what the module does, and never decides about data or takeover.
 */
import { assertInvariant, assertNever } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Decision } from '../base/decision.ts';

/** A module is asked for a sign of life this often, ms. */
export const pingIntervalMs = 500;
/** A new process is asked this often until it answers for the first time, and any before its guest has to be paused, ms. */
export const startPingIntervalMs = 100;
/** How long a new process may take until its first sign of life, ms: it opens and checks files before. */
export const startDeadlineMs = 30_000;
/** A process that lived this long did not die young, ms. */
export const stableAfterMs = 10_000;
/** Pause before the second restart of a process that dies young, ms; it doubles with each further one. */
export const backoffFirstMs = 250;
export const backoffMaxMs = 5000;
/** How long pausing the guest may take before the hung module is killed anyway, ms. */
export const pauseDeadlineMs = 1000;
/** How long a module may take to exit when asked, ms; then it is killed. */
export const exitDeadlineMs = 10_000;
/** When the supervisor itself was frozen, a module gets this long to answer before it counts as hung, ms. */
export const ownFreezeGraceMs = 500;
/** Exit code of a process that restarting cannot help: configuration or files are unusable. */
export const exitUnusable = 78;

export type WatchState =
  | 'stopped'
  | 'starting'
  | 'running'
  | 'pausing-guest'
  | 'killing'
  | 'stopping'
  | 'waiting'
  | 'failed';

export type WatchAction = 'launch' | 'wait' | 'give-up' | 'rest' | 'pause-guest' | 'kill' | 'ask-to-exit';

/** How a process ended; both `undefined` when it was not our child, or could not be started. */
export interface ProcessEnd {
  readonly code: number | undefined;
  readonly signal: string | undefined;
  /** What the process said last on standard error, or why it could not be started. */
  readonly lastWords: string;
}

export interface WatchHands {
  /** Start the process; `exited` is reported when it ended or could not be started. */
  launch(): void;
  /** Ask for a sign of life; `answered` is reported when it comes. */
  ping(): void;
  /** Pause the VM; `guestPaused` is reported at the end, whether it worked or not. */
  pauseGuest(): void;
  kill(): void;
  askToExit(): void;
  decided(decision: Decision<WatchAction>): void;
}

export class ModuleWatch {
  readonly #clock: Clock;
  readonly #watchdogMs: number;
  readonly #awayMs: number;
  readonly #hands: WatchHands;
  #state: WatchState = 'stopped';
  #wanted = false;
  #startedMs = 0;
  #lastAnswerMs = 0;
  #graceUntilMs = 0;
  #youngDeaths = 0;
  #restarts = 0;
  #because = 'it was not started yet';
  /** The one timer of the present state. */
  #timer: Timer | undefined;
  /** Runs from the end of a process, or its adoption, to the first answer of the next: nobody looks after the guest meanwhile. */
  #awayTimer: Timer | undefined;
  /** Runs until the guest has to be paused by the last word of the module, also of one that has ended meanwhile. */
  #limitTimer: Timer | undefined;
  #pauseByMs: number | undefined;
  /** The guest was paused at its limit, and the module has not allowed more since. */
  #limitReached = false;

  /**
   * `awayMs`: a guest without a module is paused after this time. The peer may claim `claimAfterMs` after the module died, and a
   * new module pauses the guest by itself `pauseAfterMs` after its start; so it is less than the difference.
   */
  constructor(clock: Clock, watchdogMs: number, awayMs: number, hands: WatchHands) {
    this.#clock = clock;
    this.#watchdogMs = watchdogMs;
    this.#awayMs = awayMs;
    this.#hands = hands;
  }

  get state(): WatchState {
    return this.#state;
  }

  /** One sentence why the state is what it is. */
  get because(): string {
    return this.#because;
  }

  /** Processes launched after one that died or was killed. */
  get restarts(): number {
    return this.#restarts;
  }

  /** The operator wants the module to run. */
  start(): void {
    this.#wanted = true;
    this.#youngDeaths = 0;
    switch (this.#state) {
      case 'stopped':
      case 'waiting':
      case 'failed':
        return this.#launch('started', 'it is wanted');
      case 'starting':
      case 'running':
      case 'pausing-guest':
      case 'killing':
      case 'stopping':
        return;
      default:
        return assertNever(this.#state, 'watch state');
    }
  }

  /** A process of an earlier supervisor was found running. */
  adopt(): void {
    assertInvariant(this.#state === 'stopped', `adopt in state ${this.#state}`);
    this.#wanted = true;
    this.#enter('starting', 'a running process was found and adopted');
    this.#watchNewProcess();
  }

  /** The operator wants the module not to run. */
  stop(): void {
    this.#wanted = false;
    this.#end('the operator stopped it');
  }

  /** Ends the process that runs, if any, and starts a new one. */
  restart(): void {
    if (this.#hasProcess()) {
      this.#wanted = true;
      this.#youngDeaths = 0;
      this.#end('the operator restarts it');
    } else {
      this.start();
    }
  }

  /** A sign of life. `pauseByMs`: when the guest is to be paused unless the module says more; `undefined`: no such time. */
  answered(pauseByMs?: number): void {
    if (this.#state !== 'starting' && this.#state !== 'running') return;
    this.#lastAnswerMs = this.#clock.nowMs();
    this.#limitGuest(pauseByMs);
    this.#awayTimer?.cancel();
    this.#awayTimer = undefined;
    if (this.#state === 'starting') this.#enter('running', 'it answers');
    else if (!this.#isUrgent()) return;
    this.#scheduleLook();
  }

  guestPaused(): void {
    if (this.#state !== 'pausing-guest') return;
    this.#kill(this.#because);
  }

  exited(end: ProcessEnd): void {
    if (!this.#hasProcess()) return;
    this.#watchGuest();
    const asked = this.#state === 'stopping';
    const lived = this.#clock.nowMs() - this.#startedMs;
    if (!this.#wanted) return this.#rest('stopped', 'exited-as-asked', `it ended: ${describeEnd(end)}`);
    if (asked) return this.#launch('restarted-as-asked', 'the operator restarts it');
    if (end.code === exitUnusable) {
      const words = end.lastWords === '' ? '' : `: ${end.lastWords}`;
      return this.#rest('failed', 'exit-unusable', `it cannot use its configuration or files${words}`);
    }
    if (end.code === 0)
      return this.#rest('stopped', 'exit-by-itself', 'it was asked to exit by somebody else');
    const youngBefore = this.#youngDeaths;
    this.#youngDeaths = lived >= stableAfterMs ? 0 : youngBefore + 1;
    this.#restarts += 1;
    if (lived >= stableAfterMs || youngBefore === 0) {
      return this.#launch('restart-at-once', `it died: ${describeEnd(end)}`);
    }
    const delayMs = Math.min(backoffMaxMs, backoffFirstMs * 2 ** (youngBefore - 1));
    const because = `it died young ${this.#youngDeaths} times, last: ${describeEnd(end)}; next start in ${delayMs} ms`;
    this.#decide('wait', 'restart-later', because);
    this.#enter('waiting', because);
    this.#after(delayMs, () => this.#launch('restart-later', 'the wait after a young death is over'));
  }

  /** No further timers; the process stays as it is. */
  dispose(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#awayTimer?.cancel();
    this.#awayTimer = undefined;
    this.#limitGuest(undefined);
  }

  #limitGuest(pauseByMs: number | undefined): void {
    this.#limitTimer?.cancel();
    this.#limitTimer = undefined;
    this.#pauseByMs = pauseByMs;
    const leftMs = pauseByMs === undefined ? undefined : Math.max(0, pauseByMs - this.#clock.nowMs());
    if (leftMs !== 0) this.#limitReached = false;
    if (leftMs !== undefined && !this.#limitReached)
      this.#limitTimer = this.#clock.after(leftMs, () => this.#limitOver());
  }

  #limitOver(): void {
    this.#limitGuest(undefined);
    this.#limitReached = true;
    // Otherwise it is paused already, or was just now.
    if (this.#state === 'pausing-guest' || this.#state === 'killing') return;
    const silentMs = Math.round(this.#clock.nowMs() - this.#lastAnswerMs);
    const because = `its module, silent for ${silentMs} ms, let the guest run no longer than until now`;
    this.#decide('pause-guest', 'run-limit', because);
    this.#hands.pauseGuest();
  }

  /** Pauses the guest, if there is one, when no module has answered in time. */
  #watchGuest(): void {
    this.#awayTimer ??= this.#clock.after(this.#awayMs, () => {
      this.#awayTimer = undefined;
      this.#decide('pause-guest', 'module-away', `its guest has had no module for ${this.#awayMs} ms`);
      this.#hands.pauseGuest();
    });
  }

  #hasProcess(): boolean {
    return this.#state !== 'stopped' && this.#state !== 'waiting' && this.#state !== 'failed';
  }

  #end(because: string): void {
    switch (this.#state) {
      case 'starting':
      case 'running':
        this.#decide('ask-to-exit', 'operator', because);
        this.#enter('stopping', because);
        this.#after(exitDeadlineMs, () => this.#kill(`it did not exit within ${exitDeadlineMs} ms`));
        return this.#hands.askToExit();
      case 'waiting':
      case 'failed':
        return this.#rest('stopped', 'operator', because);
      case 'stopped':
      case 'stopping':
      case 'pausing-guest':
      case 'killing':
        return;
      default:
        return assertNever(this.#state, 'watch state');
    }
  }

  #launch(rule: string, because: string): void {
    this.#decide('launch', rule, because);
    this.#enter('starting', because);
    this.#watchNewProcess();
    this.#hands.launch();
  }

  #watchNewProcess(): void {
    const nowMs = this.#clock.nowMs();
    this.#startedMs = nowMs;
    this.#lastAnswerMs = nowMs;
    this.#graceUntilMs = nowMs;
    // It may start its guest and hang before its first answer; one that was adopted may hang since before.
    this.#watchGuest();
    this.#scheduleLook();
  }

  #deadlineMs(): number {
    const patienceMs = this.#state === 'starting' ? startDeadlineMs : this.#watchdogMs;
    return Math.max(this.#lastAnswerMs + patienceMs, this.#graceUntilMs);
  }

  /** The next word of the module is wanted soon: its first one, or one before its guest has to be paused. */
  #isUrgent(): boolean {
    const limitMs = this.#pauseByMs ?? Number.POSITIVE_INFINITY;
    return this.#state === 'starting' || limitMs <= this.#clock.nowMs() + pingIntervalMs;
  }

  /** The next look is at the next ping or at the deadline, whichever is first. */
  #scheduleLook(): void {
    const nowMs = this.#clock.nowMs();
    const intervalMs = this.#isUrgent() ? startPingIntervalMs : pingIntervalMs;
    const dueMs = Math.max(nowMs + 1, Math.min(nowMs + intervalMs, this.#deadlineMs()));
    this.#after(dueMs - nowMs, () => this.#look(dueMs));
  }

  #look(dueMs: number): void {
    const nowMs = this.#clock.nowMs();
    // A look that comes much too late: this process was frozen itself, and the answers may wait unread. One grace
    // only until the next answer, so that a slow host delays the pause of a hung module by a bounded time.
    if (nowMs - dueMs > pingIntervalMs && this.#graceUntilMs <= this.#lastAnswerMs) {
      this.#graceUntilMs = nowMs + ownFreezeGraceMs;
    }
    if (nowMs >= this.#deadlineMs()) return this.#hung(nowMs - this.#lastAnswerMs);
    this.#hands.ping();
    this.#scheduleLook();
  }

  #hung(silentMs: number): void {
    const because = `it has not answered for ${Math.round(silentMs)} ms`;
    this.#decide('pause-guest', 'watchdog', because);
    this.#enter('pausing-guest', because);
    this.#after(pauseDeadlineMs, () => this.#kill(`${because}, and its guest was not paused in time`));
    this.#hands.pauseGuest();
  }

  #kill(because: string): void {
    this.#decide('kill', this.#state === 'stopping' ? 'exit-deadline' : 'watchdog', because);
    this.#enter('killing', because);
    this.#hands.kill();
  }

  #rest(state: 'stopped' | 'failed', rule: string, because: string): void {
    this.#decide(state === 'failed' ? 'give-up' : 'rest', rule, because);
    this.#enter(state, because);
  }

  #decide(action: WatchAction, rule: string, because: string): void {
    this.#hands.decided({ action, rule, because });
  }

  /** Entering a state ends the timer of the one before. */
  #enter(state: WatchState, because: string): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#state = state;
    this.#because = because;
  }

  #after(delayMs: number, callback: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.after(delayMs, callback);
  }
}

function describeEnd(end: ProcessEnd): string {
  const how =
    end.signal !== undefined
      ? `ended by ${end.signal}`
      : end.code !== undefined
        ? `exit code ${end.code}`
        : 'its end was not seen';
  return end.lastWords === '' ? how : `${how} (${end.lastWords})`;
}
