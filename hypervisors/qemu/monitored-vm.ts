/**
 * A VM that is one process with a QMP monitor: the adapter behind `qemu`, and behind the simulated guest process, which
 * speaks the same protocol. How the process is started is a `LaunchPlan`; everything else is here.
 *
 * Invariants: the guest runs no instruction before this object has identified the process, connected to it and recorded
 * it (the process starts halted; `cont` is the last step of a start). `stopped` is said only after the process, with all
 * its threads, is gone. Signals go to verified processes only.
 */
import { existsSync } from 'node:fs';
import type { Clock } from '../../src/base/clock.ts';
import { WorldError } from '../../src/base/errors.ts';
import type { Log } from '../../src/base/log.ts';
import { isAlive, killVerified, type ProcessIdentity } from '../../src/platform/process-identity.ts';
import { actionFailed, causeText, Deadline } from '../deadline.ts';
import { EventStream } from '../event-stream.ts';
import type {
  GuestPulse,
  Hypervisor,
  HypervisorCapabilities,
  HypervisorEvent,
  HypervisorHealth,
  PauseReason,
  StopReason,
  VmDefinition,
  VmInspection,
  VmNeeds,
  VmState,
  Wait,
} from '../port.ts';
import {
  findVmProcess,
  quoteLog,
  removeVmRecord,
  spawnVmProcess,
  type VmProcessFiles,
} from '../vm-process.ts';
import { askGuestAgent } from './guest-agent.ts';
import { connectQmp, type QmpClient } from './qmp-client.ts';
import type { QmpEvent } from './qmp-session.ts';
import { decideRunStatus, type RunStatus, statusOf } from './run-status.ts';

/** Between two attempts to reach a monitor, and two looks whether a process is gone, ms. */
const retryIntervalMs = 20;
/** Between two attempts once the VM is known not to answer, ms. */
const lostRetryIntervalMs = 500;
/** A monitor that does not come back for this long, while its process lives, is lost, ms. */
const lostAfterMs = 2000;
/** One attempt to connect to a monitor, ms. */
const connectTimeoutMs = 1000;
/** Between two presses of the power button: a guest that still boots does not feel the first, ms. */
const powerButtonIntervalMs = 3000;
/** How long a process may take to be gone after a failed start, ms. */
const cleanupDeadlineMs = 5000;

export interface Launch {
  readonly program: string;
  readonly arguments: readonly string[];
}

/** How one kind of VM process is started. Arguments carry the mark and the monitor; the VM starts halted. */
export interface LaunchPlan {
  readonly kind: string;
  readonly reconnectsDisks: boolean;
  /** The VM has a channel to a guest agent: of the next start. */
  hasAgent(): boolean;
  define(definition: VmDefinition): void;
  needs(): VmNeeds | undefined;
  /** Errors: `hypervisor-unavailable`. */
  prepare(wait: Wait): Promise<Launch>;
  health(wait: Wait): Promise<HypervisorHealth>;
}

export interface MonitoredVmOptions {
  readonly files: VmProcessFiles;
  /** Channel of the guest agent. */
  readonly agentSocket: string;
  /** Monitor that only this object uses. */
  readonly monitorSocket: string;
  readonly plan: LaunchPlan;
  readonly clock: Clock;
  readonly log: Log;
}

export class MonitoredVm implements Hypervisor {
  readonly kind: string;
  readonly capabilities: HypervisorCapabilities;
  readonly #options: MonitoredVmOptions;
  readonly #clock: Clock;
  readonly #events = new EventStream();
  #state: VmState = 'unknown';
  #pauseReason: PauseReason | undefined;
  #process: ProcessIdentity | undefined;
  #monitor: QmpClient | undefined;
  /** Why the process is about to end, as far as somebody said. */
  #stopReason: StopReason | undefined;
  /** Of the last I/O error that stopped the VM, until it resumes. */
  #errorReason: PauseReason | undefined;
  /** Its kernel said that it crashed, and neither it nor the VM was restarted since. */
  #guestPanicked = false;
  #suspending = false;
  #closed = false;

  constructor(options: MonitoredVmOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.kind = options.plan.kind;
    this.capabilities = {
      saveRestore: undefined,
      liveMigration: undefined,
      guestPulse: (wait) => this.#guestPulse(wait),
      reconnectsDisks: options.plan.reconnectsDisks,
    };
  }

  state(): VmState {
    return this.#state;
  }

  subscribe(listener: (event: HypervisorEvent) => void): () => void {
    return this.#events.subscribe(listener);
  }

  health(wait: Wait): Promise<HypervisorHealth> {
    return this.#options.plan.health(wait);
  }

  needs(): VmNeeds | undefined {
    return this.#options.plan.needs();
  }

  async #guestPulse(wait: Wait): Promise<GuestPulse> {
    if (this.#guestPanicked) return { alive: false, because: "the guest's kernel crashed" };
    const { plan, agentSocket } = this.#options;
    // A VM that runs may have been started without a channel.
    if (!plan.hasAgent() || !existsSync(agentSocket))
      return {
        alive: true,
        because: "it has no channel to a guest agent; the guest's kernel has reported no crash",
      };
    const problem = await askGuestAgent(agentSocket, this.#clock, wait);
    return { alive: problem === undefined, because: problem ?? 'the guest agent answers' };
  }

  async define(definition: VmDefinition): Promise<void> {
    this.#options.plan.define(definition);
  }

  async inspect(wait: Wait): Promise<VmInspection> {
    if (this.#monitor !== undefined && this.#process !== undefined && isAlive(this.#process)) {
      const { state, pauseReason } = await this.#queryStatus(this.#monitor, wait);
      return { exists: true, state, pauseReason, pid: this.#process.pid };
    }
    const found = findVmProcess(this.#options.files);
    return {
      exists: true,
      state: found === undefined ? 'stopped' : 'unknown',
      pauseReason: undefined,
      pid: found?.pid,
    };
  }

  async adopt(wait: Wait): Promise<VmInspection> {
    const deadline = new Deadline(this.#clock, wait);
    this.#process = findVmProcess(this.#options.files);
    if (this.#process === undefined) {
      this.#state = 'stopped';
      removeVmRecord(this.#options.files);
      return this.#inspection();
    }
    const process = this.#process;
    while (!deadline.hasPassed() && isAlive(process)) {
      const error = await this.#connect(process, deadline);
      if (error === undefined) break;
      await deadline.pause(retryIntervalMs);
    }
    if (this.#monitor === undefined) void this.#followLostMonitor(process);
    else this.#take(await this.#queryStatus(this.#monitor, deadline.part(connectTimeoutMs)));
    return this.#inspection();
  }

  async start(wait: Wait): Promise<void> {
    const deadline = new Deadline(this.#clock, wait);
    const running = this.#state === 'stopped' || this.#state === 'unknown' ? this.#find() : this.#process;
    if (running !== undefined || this.#state === 'starting') {
      throw new WorldError('vm-already-running', {
        wanted: 'to start the VM',
        found: running === undefined ? 'a start that is under way' : `its process ${running.pid}`,
        next: 'Adopt the running VM, or destroy it first.',
      });
    }
    this.#state = 'starting';
    this.#stopReason = undefined;
    this.#errorReason = undefined;
    try {
      await this.#startHalted(deadline);
      await this.#execute('cont', deadline.part(wait.timeoutMs));
    } catch (error) {
      await this.#undoStart();
      throw error;
    }
    // The event may have told already, and more may have happened since.
    if (this.state() === 'starting') this.#setState('running', { type: 'started' });
  }

  async shutdown(wait: Wait): Promise<'stopped' | 'still-running'> {
    if (this.#state === 'stopped') return 'stopped';
    if (this.#state !== 'running' && this.#state !== 'stopping') {
      const next = 'Resume it first, or destroy it.';
      throw actionFailed('to shut the guest down', `a VM that is ${this.#state}`, next);
    }
    const deadline = new Deadline(this.#clock, wait);
    this.#state = 'stopping';
    const stopped = this.#nextEvent((event) => event.type === 'stopped');
    let wasPressed = false;
    try {
      while (!deadline.hasPassed()) {
        await this.#execute('system_powerdown', deadline.part(powerButtonIntervalMs));
        wasPressed = true;
        const press = new Deadline(this.#clock, deadline.part(powerButtonIntervalMs));
        if ((await press.within(stopped.seen)) !== undefined) return 'stopped';
      }
      return 'still-running';
    } catch (error) {
      // The reply to the last press may be lost because the guest was faster.
      if ((await deadline.within(stopped.seen)) !== undefined) return 'stopped';
      // A press that began just before the deadline had no time for its reply.
      if (wasPressed && this.state() === 'stopping') return 'still-running';
      throw error;
    } finally {
      stopped.cancel();
      if (this.state() === 'stopping') this.#state = 'running';
    }
  }

  async destroy(wait: Wait): Promise<void> {
    const deadline = new Deadline(this.#clock, wait);
    const process = this.#find();
    if (process !== undefined) {
      this.#stopReason = 'destroyed';
      killVerified(process, 'SIGKILL');
      while (isAlive(process)) {
        if (deadline.hasPassed()) {
          this.#state = 'unknown';
          throw actionFailed(
            `to end process ${process.pid} of the VM`,
            `it is still there after ${wait.timeoutMs} ms`,
            'Look what the process hangs in (usually a disk of the host); the VM may still write.',
          );
        }
        await deadline.pause(retryIntervalMs);
      }
    }
    this.#finish();
  }

  async suspend(wait: Wait): Promise<void> {
    if (this.#state === 'paused') return;
    this.#suspending = true;
    await this.#executeUntil('stop', wait, (event) => event.type === 'paused');
  }

  async resume(wait: Wait): Promise<void> {
    if (this.#state === 'running') return;
    await this.#executeUntil('cont', wait, (event) => event.type === 'resumed');
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events.clear();
    this.#monitor?.destroy();
    this.#monitor = undefined;
  }

  #inspection(): VmInspection {
    const pid = this.#process?.pid;
    return { exists: true, state: this.#state, pauseReason: this.#pauseReason, pid };
  }

  /** The process of the VM, also when this object has not met it yet. */
  #find(): ProcessIdentity | undefined {
    if (this.#process !== undefined && isAlive(this.#process)) return this.#process;
    return findVmProcess(this.#options.files);
  }

  async #startHalted(deadline: Deadline): Promise<void> {
    const { files, plan, log } = this.#options;
    const launch = await plan.prepare(deadline.part(Number.MAX_SAFE_INTEGER));
    if (deadline.hasPassed()) throw startFailed('no end of the preparation before the deadline', files);
    const { identity, child } = await spawnVmProcess(files, launch.program, launch.arguments);
    // Without a listener a late failure to signal the child would end this process.
    child.on('error', () => {});
    this.#process = identity;
    log.info('vm-process-started', { pid: identity.pid, program: launch.program });
    for (;;) {
      const error = await this.#connect(identity, deadline);
      if (error === undefined) return;
      if (!isAlive(identity)) throw startFailed(quoteLog(files.logFile), files);
      if (deadline.hasPassed()) throw startFailed(`no monitor before the deadline: ${error}`, files);
      await deadline.pause(retryIntervalMs);
    }
  }

  async #undoStart(): Promise<void> {
    this.#stopReason = 'destroyed';
    const process = this.#find();
    if (process !== undefined) killVerified(process, 'SIGKILL');
    const deadline = new Deadline(this.#clock, { timeoutMs: cleanupDeadlineMs });
    while (process !== undefined && isAlive(process)) {
      if (deadline.hasPassed()) {
        this.#state = 'unknown';
        return;
      }
      await deadline.pause(retryIntervalMs);
    }
    this.#forget();
  }

  /** Returns why it did not work. */
  async #connect(process: ProcessIdentity, deadline: Deadline): Promise<string | undefined> {
    try {
      const monitor = await connectQmp(
        this.#options.monitorSocket,
        this.#clock,
        deadline.part(connectTimeoutMs),
        {
          event: (event) => this.#observe(event),
          closed: (because) => this.#monitorClosed(process, because),
        },
      );
      if (this.#closed) {
        monitor.destroy();
        return 'this object was closed';
      }
      this.#monitor = monitor;
      return undefined;
    } catch (error) {
      return causeText(error);
    }
  }

  async #queryStatus(monitor: QmpClient, wait: Wait): Promise<RunStatus> {
    try {
      return decideRunStatus(statusOf(await monitor.execute('query-status', undefined, wait)));
    } catch {
      return decideRunStatus(undefined);
    }
  }

  #take(status: RunStatus): void {
    this.#state = status.state;
    this.#pauseReason = status.pauseReason;
  }

  #execute(name: string, wait: Wait): Promise<unknown> {
    if (this.#monitor === undefined) {
      const next = 'Wait until the hypervisor answers again, or destroy the VM.';
      return Promise.reject(actionFailed(`to do "${name}"`, `a VM that is ${this.#state}`, next));
    }
    return this.#monitor.execute(name, undefined, wait);
  }

  /**
   * Done when the event was seen or the command was answered: `stop` answers only after the disk requests in flight,
   * which a hung disk server holds up, but the event comes as soon as the virtual CPUs are halted.
   */
  async #executeUntil(name: string, wait: Wait, wanted: (event: HypervisorEvent) => boolean): Promise<void> {
    const event = this.#nextEvent(wanted);
    const reply = this.#execute(name, wait);
    reply.catch(() => {});
    try {
      await Promise.race([event.seen, reply]);
    } finally {
      event.cancel();
      this.#suspending = false;
    }
  }

  #nextEvent(wanted: (event: HypervisorEvent) => boolean): { seen: Promise<true>; cancel: () => void } {
    let cancel = () => {};
    const seen = new Promise<true>((resolve) => {
      cancel = this.#events.subscribe((event) => {
        if (wanted(event)) resolve(true);
      });
    });
    return { seen, cancel: () => cancel() };
  }

  #setState(state: VmState, event: HypervisorEvent): void {
    this.#state = state;
    this.#pauseReason = event.type === 'paused' ? event.reason : undefined;
    this.#emit(event);
  }

  #emit(event: HypervisorEvent): void {
    if (!this.#closed) this.#events.emit(event);
  }

  /** Events of QEMU (qapi/run-state.json, qapi/block-core.json). */
  #observe({ name, data }: QmpEvent): void {
    switch (name) {
      case 'BLOCK_IO_ERROR':
        if (data['action'] === 'stop') this.#errorReason = data['nospace'] === true ? 'no-space' : 'io-error';
        return;
      case 'STOP':
        return this.#observeStop();
      case 'RESUME':
        this.#errorReason = undefined;
        return this.#setState('running', { type: this.#state === 'starting' ? 'started' : 'resumed' });
      case 'SHUTDOWN':
        this.#stopReason ??= data['guest'] === true ? 'guest-shutdown' : 'host-request';
        return;
      case 'GUEST_PANICKED':
        this.#guestPanicked = true;
        return this.#emit({ type: 'guest-panicked' });
      case 'RESET':
        this.#guestPanicked = false;
        if (data['guest'] === true) this.#emit({ type: 'guest-reset' });
        return;
      default:
    }
  }

  #observeStop(): void {
    if (this.#stopReason !== undefined) return;
    const reason = this.#errorReason ?? (this.#suspending ? 'operator' : 'elsewhere');
    this.#setState('paused', { type: 'paused', reason });
  }

  #monitorClosed(process: ProcessIdentity, because: string): void {
    this.#monitor = undefined;
    this.#options.log.info('vm-monitor-closed', { pid: process.pid, because });
    void this.#followLostMonitor(process);
  }

  /** Until the process is gone, or its monitor answers again, or somebody else took over. */
  async #followLostMonitor(process: ProcessIdentity): Promise<void> {
    const patience = new Deadline(this.#clock, { timeoutMs: lostAfterMs });
    const endless = new Deadline(this.#clock, { timeoutMs: Number.MAX_SAFE_INTEGER });
    let lost = this.#state === 'unknown';
    while (!this.#closed && this.#process === process && this.#monitor === undefined) {
      if (!isAlive(process)) {
        // A start that fails, or a destroy, says for itself what became of the process.
        if (this.#state !== 'starting') this.#finish();
        return;
      }
      const error = this.#state === 'starting' ? 'starting' : await this.#connect(process, endless);
      if (error === undefined) return this.#monitorFound(lost);
      if (!lost && patience.hasPassed() && isAlive(process)) {
        lost = true;
        this.#setState('unknown', { type: 'hypervisor-lost', because: error });
      }
      await new Promise<void>((resolve) => {
        this.#clock.after(lost ? lostRetryIntervalMs : retryIntervalMs, resolve);
      });
    }
  }

  async #monitorFound(wasLost: boolean): Promise<void> {
    const monitor = this.#monitor;
    if (monitor === undefined) return;
    const before = this.#state;
    const status = await this.#queryStatus(monitor, { timeoutMs: connectTimeoutMs });
    if (this.#monitor !== monitor) return;
    this.#take(status);
    if (wasLost || status.state !== before) this.#emit({ type: 'hypervisor-found', state: status.state });
  }

  /** The process is gone. */
  #finish(): void {
    const reason = this.#stopReason ?? 'crashed';
    const wasStopped = this.#state === 'stopped';
    this.#forget();
    if (!wasStopped) this.#setState('stopped', { type: 'stopped', reason });
  }

  #forget(): void {
    this.#monitor?.destroy();
    this.#monitor = undefined;
    this.#process = undefined;
    this.#stopReason = undefined;
    this.#errorReason = undefined;
    this.#guestPanicked = false;
    this.#state = 'stopped';
    this.#pauseReason = undefined;
    removeVmRecord(this.#options.files);
  }
}

function startFailed(found: string, files: VmProcessFiles): WorldError {
  return new WorldError('vm-start-failed', {
    wanted: 'the VM to start',
    found,
    next: `Read ${files.logFile}; correct the configuration of the VM or of the host, then start again.`,
  });
}
