/** The adapter of a `SimulatedMachine`: the port in memory, on any clock. Keeps every promise of the port, faults included. */
import { WorldError } from '../../src/base/errors.ts';
import { actionFailed, Deadline } from '../deadline.ts';
import { EventStream } from '../event-stream.ts';
import type {
  GuestPulse,
  Hypervisor,
  HypervisorCapabilities,
  HypervisorEvent,
  HypervisorHealth,
  VmDefinition,
  VmInspection,
  VmNeeds,
  VmState,
  Wait,
} from '../port.ts';
import type { SimulatedMachine } from './simulated-machine.ts';

const never = new Promise<never>(() => {});

export class SimulatedHypervisor implements Hypervisor {
  readonly kind = 'simulated';
  readonly capabilities: HypervisorCapabilities = {
    saveRestore: undefined,
    liveMigration: undefined,
    guestPulse: (wait) => this.#guestPulse(wait),
    reconnectsDisks: true,
  };
  readonly #machine: SimulatedMachine;
  readonly #events = new EventStream();
  readonly #unwatch: () => void;
  #adopted = false;
  #definition: string | undefined;

  constructor(machine: SimulatedMachine) {
    this.#machine = machine;
    this.#unwatch = machine.watch((event) => {
      this.#adopted = true;
      this.#events.emit(event);
    });
  }

  /** Text of the last `define`. */
  get definition(): string | undefined {
    return this.#definition;
  }

  state(): VmState {
    return this.#adopted ? this.#machine.state : 'unknown';
  }

  subscribe(listener: (event: HypervisorEvent) => void): () => void {
    return this.#events.subscribe(listener);
  }

  async health(wait: Wait): Promise<HypervisorHealth> {
    const works = this.#machine.faults.start !== 'fails';
    await this.#answer('to look at the hypervisor', wait);
    return { usable: works, because: works ? 'simulated' : 'starts fail, as the test wants' };
  }

  needs(): VmNeeds | undefined {
    return this.#machine.needs;
  }

  async #guestPulse({ timeoutMs }: Wait): Promise<GuestPulse> {
    const { delays, faults } = this.#machine;
    const isSilent = faults.guest === 'hangs';
    await this.#delay(isSilent ? timeoutMs : delays.callMs);
    return isSilent
      ? { alive: false, because: `the guest does not answer within ${timeoutMs} ms` }
      : { alive: true, because: 'the guest answers' };
  }

  async define(definition: VmDefinition): Promise<void> {
    this.#definition = definition.text;
  }

  async inspect(wait: Wait): Promise<VmInspection> {
    const answers = await this.#answer('to inspect the VM', wait).then(
      () => true,
      () => false,
    );
    const { state, pauseReason } = this.#machine;
    if (!answers) return { exists: true, state: 'unknown', pauseReason: undefined, pid: undefined };
    return { exists: true, state, pauseReason, pid: undefined };
  }

  async adopt(wait: Wait): Promise<VmInspection> {
    const inspection = await this.inspect(wait);
    this.#adopted = true;
    return inspection;
  }

  async start(wait: Wait): Promise<void> {
    const machine = this.#machine;
    if (machine.state !== 'stopped') {
      throw new WorldError('vm-already-running', {
        wanted: 'to start the VM',
        found: `a VM that is ${machine.state}`,
        next: 'Adopt the running VM, or destroy it first.',
      });
    }
    this.#adopted = true;
    machine.beginStart();
    const deadline = new Deadline(machine.clock, wait);
    const { start } = machine.faults;
    const end = start === 'hangs' ? never : this.#delay(machine.delays.startMs);
    const inTime = (await deadline.within(end)) !== undefined;
    // Destroyed meanwhile, or by somebody else.
    const interrupted = this.state() !== 'starting';
    const works = start === 'works' && inTime && !interrupted;
    if (!interrupted) machine.endStart(works);
    if (works) return;
    throw new WorldError('vm-start-failed', {
      wanted: 'the VM to start',
      found: inTime ? 'a simulated failure' : `no end within ${wait.timeoutMs} ms`,
      next: 'Set the fault right, then start again.',
    });
  }

  async shutdown(wait: Wait): Promise<'stopped' | 'still-running'> {
    const machine = this.#machine;
    if (machine.state === 'stopped') return 'stopped';
    const deadline = new Deadline(machine.clock, wait);
    if (machine.state !== 'running') {
      const next = 'Resume it first, or destroy it.';
      throw actionFailed('to shut the guest down', `a VM that is ${machine.state}`, next);
    }
    await this.#answer('to shut the guest down', wait);
    let unwatch = () => {};
    const stopped = new Promise<true>((resolve) => {
      unwatch = machine.watch((event) => {
        if (event.type === 'stopped') resolve(true);
      });
    });
    machine.pressPowerButton();
    const seen = await deadline.within(stopped);
    unwatch();
    return seen === undefined ? 'still-running' : 'stopped';
  }

  async destroy(wait: Wait): Promise<void> {
    const machine = this.#machine;
    const end = machine.faults.destroy === 'hangs' ? never : this.#delay(machine.delays.callMs);
    if ((await new Deadline(machine.clock, wait).within(end)) === undefined) {
      const next = 'Set the fault right; the VM may still write.';
      throw actionFailed('to end the VM', `it is still there after ${wait.timeoutMs} ms`, next);
    }
    this.#adopted = true;
    machine.stop('destroyed');
  }

  async suspend(wait: Wait): Promise<void> {
    await this.#answer('to suspend the VM', wait);
    this.#refuseStopped('to suspend the VM');
    this.#machine.pause('operator');
  }

  async resume(wait: Wait): Promise<void> {
    await this.#answer('to resume the VM', wait);
    this.#refuseStopped('to resume the VM');
    this.#machine.resume();
  }

  close(): void {
    this.#unwatch();
    this.#events.clear();
  }

  #delay(delayMs: number): Promise<true> {
    return new Promise((resolve) => {
      this.#machine.clock.after(delayMs, () => resolve(true));
    });
  }

  #refuseStopped(wanted: string): void {
    if (this.#machine.state === 'stopped') throw actionFailed(wanted, 'a VM that is stopped', 'Start it.');
  }

  async #answer(wanted: string, wait: Wait): Promise<void> {
    const { clock, delays, faults } = this.#machine;
    const answer = faults.monitor === 'hangs' ? never : this.#delay(delays.callMs);
    if ((await new Deadline(clock, wait).within(answer)) !== undefined) return;
    throw actionFailed(wanted, `no answer within ${wait.timeoutMs} ms`, 'Set the fault right.');
  }
}
