/** What the module wants of its VM, done through a hypervisor: the latest wish counts. */
import { expect } from 'chai';
import { SimulatedHypervisor } from '../../hypervisors/simulated/simulated-hypervisor.ts';
import { SimulatedMachine } from '../../hypervisors/simulated/simulated-machine.ts';
import { type StartTurn, VmDriver } from '../../modules/mirror/vm-driver.ts';
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

/** A turn that the test gives. */
class GivenTurn implements StartTurn {
  may = true;
  readonly calls: string[] = [];

  mayStart(): boolean {
    this.calls.push('asked');
    return this.may;
  }

  end(): void {
    if (this.calls.at(-1) !== 'ended') this.calls.push('ended');
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
  readonly turn: GivenTurn;
  /** Rules of its decisions. */
  readonly decisions: string[];
  /** Resolves when the VM is in this state. */
  readonly seen: (state: VmState) => Promise<void>;
}

async function stoppedVm(): Promise<Driven> {
  const machine = new DeafMachine(systemClock, { startMs: 1, callMs: 1 });
  const waiting = new Map<VmState, () => void>();
  const hypervisor = new SimulatedHypervisor(machine);
  const turn = new GivenTurn();
  const decisions: string[] = [];
  const answers: Answers = { mayStart: () => undefined };
  const events = {
    vmChanged: (state: VmState) => waiting.get(state)?.(),
    decided: (rule: string) => void decisions.push(rule),
    mayStart: (again: boolean) => answers.mayStart(again),
  };
  const driver = new VmDriver(hypervisor, systemClock, silentLog, events, turn);
  const seen = (state: VmState): Promise<void> =>
    new Promise((resolve) => {
      waiting.set(state, resolve);
    });
  await driver.adopt();
  return { answers, machine, driver, turn, decisions, seen };
}

async function runningVm(): Promise<Driven> {
  const driven = await stoppedVm();
  const running = driven.seen('running');
  driven.driver.want('running', 'this node is primary');
  await running;
  return driven;
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

describe('a VM that starts in its turn', () => {
  it('waits for its turn, starts when it has come, and ends its turn when it runs', async () => {
    const { machine, driver, turn, seen } = await stoppedVm();
    turn.may = false;
    driver.want('running', 'this node is primary');
    expect(turn.calls).to.deep.equal(['asked']);
    expect(machine.startCount).to.equal(0);
    turn.may = true;
    const running = seen('running');
    driver.turnCame();
    await running;
    expect(machine.startCount).to.equal(1);
    await until('its turn ends', () => turn.calls.at(-1) === 'ended');
    expect(turn.calls).to.deep.equal(['asked', 'asked', 'ended']);
    driver.close();
  });

  it('is not to run any more while it waits: it gives its turn back, and a late word starts nothing', async () => {
    const { machine, driver, turn } = await stoppedVm();
    turn.may = false;
    driver.want('running', 'this node is primary');
    driver.want('destroyed', 'the arbiter named the other node');
    expect(turn.calls).to.deep.equal(['asked', 'ended']);
    turn.may = true;
    driver.turnCame();
    await new Promise(setImmediate);
    expect(machine.startCount).to.equal(0);
    expect(turn.calls).to.deep.equal(['asked', 'ended']);
    driver.close();
  });

  it('ended and must not be started again: it asks for no turn', async () => {
    const { answers, machine, driver, turn } = await runningVm();
    const asked = turn.calls.filter((call) => call === 'asked').length;
    let told: () => void = () => {};
    const refused = new Promise<void>((resolve) => {
      told = resolve;
    });
    answers.mayStart = () => {
      told();
      return 'the rules say no';
    };
    machine.crash();
    await refused;
    await new Promise(setImmediate);
    expect(turn.calls.filter((call) => call === 'asked').length).to.equal(asked);
    expect(turn.calls.at(-1)).to.equal('ended');
    expect(machine.startCount).to.equal(1);
    driver.close();
  });

  it('runs already, when its module is started again: it asks for no turn', async () => {
    const { machine, driver } = await runningVm();
    driver.close();
    const next = new GivenTurn();
    let told: () => void = () => {};
    const reached = new Promise<void>((resolve) => {
      told = resolve;
    });
    const events = { vmChanged: () => told(), decided: () => {}, mayStart: () => undefined };
    const again = new VmDriver(new SimulatedHypervisor(machine), systemClock, silentLog, events, next);
    await again.adopt();
    again.want('running', 'this node is primary');
    await reached;
    expect(next.calls).to.not.include('asked');
    expect(machine.startCount).to.equal(1);
    again.close();
  });
});

describe('a VM that is restarted', () => {
  it('is shut down and started again, which is no VM that does not stay up', async () => {
    const { machine, driver, decisions, seen } = await runningVm();
    const stopped = seen('stopped');
    driver.startAnew('restart-with', 'db was started anew');
    await machine.pressed;
    const running = seen('running');
    machine.stop('guest-shutdown');
    await stopped;
    await running;
    expect(machine.startCount).to.equal(2);
    expect(decisions).to.deep.equal(['restart-with']);
    driver.close();
  });

  it('is to be paused meanwhile: it is, and is not started again', async () => {
    const { machine, driver, seen } = await runningVm();
    driver.startAnew('restart-with', 'db was started anew');
    await machine.pressed;
    const paused = seen('paused');
    driver.want('paused', 'the peer was lost');
    await paused;
    expect(machine.state).to.equal('paused');
    const running = seen('running');
    driver.want('running', 'this node is primary');
    await running;
    expect(machine.startCount).to.equal(1);
    driver.close();
  });
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
