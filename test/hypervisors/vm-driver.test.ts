/** What the module wants of its VM, done through a hypervisor: the latest wish counts. */
import { expect } from 'chai';
import { SimulatedHypervisor } from '../../hypervisors/simulated/simulated-hypervisor.ts';
import { SimulatedMachine } from '../../hypervisors/simulated/simulated-machine.ts';
import { VmDriver } from '../../modules/mirror/vm-driver.ts';
import { silentLog } from '../../src/base/log.ts';
import type { VmState } from '../../src/cluster/mirror-ports.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { until } from '../until.ts';

/** Its guest does nothing when the power button is pressed. */
class DeafMachine extends SimulatedMachine {
  #press: () => void = () => {};
  readonly pressed = new Promise<void>((resolve) => {
    this.#press = resolve;
  });

  override pressPowerButton(): void {
    this.#press();
  }
}

/** What the rules around the driver say. */
interface Answers {
  mayStart: (again: boolean) => string | undefined;
}

interface Driven {
  readonly answers: Answers;
  readonly machine: DeafMachine;
  readonly driver: VmDriver;
  /** Resolves when the VM is in this state. */
  readonly seen: (state: VmState) => Promise<void>;
}

async function runningVm(): Promise<Driven> {
  const answers: Answers = { mayStart: () => undefined };
  const machine = new DeafMachine(systemClock, { startMs: 1, callMs: 1 });
  const waiting = new Map<VmState, () => void>();
  const hypervisor = new SimulatedHypervisor(machine);
  const driver = new VmDriver(hypervisor, systemClock, silentLog, {
    vmChanged: (state) => waiting.get(state)?.(),
    decided: () => {},
    mayStart: (again) => answers.mayStart(again),
  });
  const seen = (state: VmState): Promise<void> =>
    new Promise((resolve) => {
      waiting.set(state, resolve);
    });
  await driver.adopt();
  const running = seen('running');
  driver.want('running', 'this node is primary');
  await running;
  return { answers, machine, driver, seen };
}

describe('a VM whose guest takes its time to shut down', () => {
  for (const [wish, state] of [
    ['destroyed', 'stopped'],
    ['paused', 'paused'],
  ] as const) {
    it(`is ${wish} at once when that is wanted meanwhile`, async () => {
      const { machine, driver, seen } = await runningVm();
      driver.want('stopped-gracefully', 'the operator asked for it');
      await machine.pressed;
      const reached = seen(state);
      driver.want(wish, 'its disk failed');
      await reached;
      expect(machine.state).to.equal(state);
      driver.close();
      machine.stop('destroyed');
    });
  }
});

describe('a VM that is to be started again', () => {
  const started = (machine: SimulatedMachine, count: number): Promise<true> =>
    until(`start number ${count}`, () => machine.startCount === count && machine.state === 'running');

  it('ends in order first; one that hangs is destroyed', async () => {
    const { machine, driver } = await runningVm();
    driver.restart('in-order');
    await machine.pressed;
    machine.stop('guest-shutdown');
    await started(machine, 2);
    driver.restart('at-once');
    await started(machine, 3);
    driver.close();
    machine.stop('destroyed');
  });

  it('after it ended by itself is started when the rules say so, and not before', async () => {
    const { answers, machine, driver } = await runningVm();
    const asked: boolean[] = [];
    answers.mayStart = (again) => {
      asked.push(again);
      return asked.length < 2 ? 'the rules say no' : undefined;
    };
    machine.crash();
    await started(machine, 2);
    expect(asked).to.deep.equal([true, true]);
    driver.close();
    machine.stop('destroyed');
  });

  it('is left alone when it is not to run any more', async () => {
    const { machine, driver, seen } = await runningVm();
    const paused = seen('paused');
    driver.want('paused', 'the peer was lost');
    await paused;
    driver.restart('at-once');
    const running = seen('running');
    driver.want('running', 'this node is primary');
    await running;
    expect(machine.startCount).to.equal(1);
    driver.close();
    machine.stop('destroyed');
  });
});
