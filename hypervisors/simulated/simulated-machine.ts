/**
 * A VM that exists only in memory, with the hypervisor around it: deterministic, for the simulator and for tests. It
 * outlives the adapter objects that look at it, as a real VM does, and does what a test tells it to do wrong.
 */
import type { Clock, Timer } from '../../src/base/clock.ts';
import type { HypervisorEvent, PauseReason, StopReason, VmNeeds, VmState } from '../port.ts';

/** How long things take, ms. */
export interface SimulatedDelays {
  readonly startMs: number;
  readonly shutdownMs: number;
  /** Every other call. */
  readonly callMs: number;
}

const defaultDelays: SimulatedDelays = { startMs: 300, shutdownMs: 500, callMs: 2 };

/** What goes wrong until it is set right. */
export interface SimulatedFaults {
  /** `hangs`: no answer until the deadline, and the VM does not run afterwards. */
  start: 'works' | 'fails' | 'hangs';
  shutdown: 'works' | 'ignored';
  /** The VM survives it. */
  destroy: 'works' | 'hangs';
  /** `hangs`: it gives no sign of life while the VM runs, until the VM is started anew. */
  guest: 'works' | 'hangs';
  /** The hypervisor answers nothing but `destroy`. */
  monitor: 'works' | 'hangs';
}

export class SimulatedMachine {
  readonly clock: Clock;
  readonly delays: SimulatedDelays;
  readonly faults: SimulatedFaults = {
    start: 'works',
    shutdown: 'works',
    destroy: 'works',
    guest: 'works',
    monitor: 'works',
  };
  /** What it takes of its host. */
  needs: VmNeeds | undefined;
  readonly #watchers = new Set<(event: HypervisorEvent) => void>();
  #state: VmState = 'stopped';
  #pauseReason: PauseReason | undefined;
  #starts = 0;
  #ranMs = 0;
  #runsSinceMs: number | undefined;
  #shutdown: Timer | undefined;

  constructor(clock: Clock, delays: Partial<SimulatedDelays> = {}) {
    this.clock = clock;
    this.delays = { ...defaultDelays, ...delays };
  }

  get state(): VmState {
    return this.#state;
  }

  get pauseReason(): PauseReason | undefined {
    return this.#pauseReason;
  }

  /** Starts since the machine was made. */
  get startCount(): number {
    return this.#starts;
  }

  /** For how long the guest has run in all, ms: stands still when no virtual CPU runs. */
  ranMs(): number {
    return this.#ranMs + (this.#runsSinceMs === undefined ? 0 : this.clock.nowMs() - this.#runsSinceMs);
  }

  watch(watcher: (event: HypervisorEvent) => void): () => void {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }

  // What adapters do.

  beginStart(): void {
    this.#state = 'starting';
  }

  endStart(works: boolean): void {
    if (!works) return this.#become('stopped');
    this.#starts += 1;
    this.faults.guest = 'works';
    this.#become('running', { type: 'started' });
  }

  pause(reason: PauseReason): void {
    if (this.#state === 'running' || this.#state === 'stopping') {
      this.#become('paused', { type: 'paused', reason });
      this.#pauseReason = reason;
    }
  }

  resume(): void {
    if (this.#state === 'paused') this.#become('running', { type: 'resumed' });
  }

  /** The guest feels the power button and takes its time. */
  pressPowerButton(): void {
    if (this.#state !== 'running' || this.faults.shutdown === 'ignored') return;
    this.#shutdown ??= this.clock.after(this.delays.shutdownMs, () => {
      this.#shutdown = undefined;
      this.stop('guest-shutdown');
    });
  }

  stop(reason: StopReason): void {
    this.#shutdown?.cancel();
    this.#shutdown = undefined;
    if (this.#state !== 'stopped') this.#become('stopped', { type: 'stopped', reason });
  }

  // What happens to it.

  failDisk(reason: 'io-error' | 'no-space'): void {
    this.pause(reason);
  }

  crash(): void {
    this.stop('crashed');
  }

  panic(): void {
    this.#tell({ type: 'guest-panicked' });
  }

  reset(): void {
    this.#tell({ type: 'guest-reset' });
  }

  #become(state: VmState, event?: HypervisorEvent): void {
    this.#ranMs = this.ranMs();
    this.#runsSinceMs = state === 'running' ? this.clock.nowMs() : undefined;
    this.#state = state;
    this.#pauseReason = undefined;
    if (event !== undefined) this.#tell(event);
  }

  #tell(event: HypervisorEvent): void {
    const watchers = [...this.#watchers];
    for (const watcher of watchers) watcher(event);
  }
}
