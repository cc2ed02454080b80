/** What the module wants of its VM, done through a hypervisor: the latest wish counts. */
import { expect } from 'chai';
import { SimulatedHypervisor } from '../../hypervisors/simulated/simulated-hypervisor.ts';
import { SimulatedMachine } from '../../hypervisors/simulated/simulated-machine.ts';
import { VmDriver } from '../../modules/mirror/vm-driver.ts';
import { silentLog } from '../../src/base/log.ts';
import type { VmState } from '../../src/cluster/mirror-ports.ts';
import { systemClock } from '../../src/platform/system-clock.ts';

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

interface Driven {
  readonly machine: DeafMachine;
  readonly driver: VmDriver;
  /** Resolves when the VM is in this state. */
  readonly seen: (state: VmState) => Promise<void>;
}

async function runningVm(): Promise<Driven> {
  const machine = new DeafMachine(systemClock, { startMs: 1, callMs: 1 });
  const waiting = new Map<VmState, () => void>();
  const hypervisor = new SimulatedHypervisor(machine);
  const driver = new VmDriver(hypervisor, systemClock, silentLog, {
    vmChanged: (state) => waiting.get(state)?.(),
    decided: () => {},
    mayStart: () => undefined,
  });
  const seen = (state: VmState): Promise<void> =>
    new Promise((resolve) => {
      waiting.set(state, resolve);
    });
  await driver.adopt();
  const running = seen('running');
  driver.want('running', 'this node is primary');
  await running;
  return { machine, driver, seen };
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
