import { expect } from 'chai';
import type { WorldError } from '../../../src/base/errors.ts';
import { systemClock } from '../../../src/platform/system-clock.ts';
import type { HypervisorEvent } from '../../../hypervisors/port.ts';
import { SimulatedHypervisor } from '../../../hypervisors/simulated/simulated-hypervisor.ts';
import { SimulatedMachine } from '../../../hypervisors/simulated/simulated-machine.ts';
import { VirtualClock } from '../../base/virtual-clock.ts';
import { hypervisorConformance } from '../../conformance/hypervisor.ts';

const options = {
  name: 'simulated, in memory',
  callMs: 1000,
  progressMs: 5,
  deafness: true,
  diskServer: false,
};

hypervisorConformance(options, async () => {
  const machine = new SimulatedMachine(systemClock, { startMs: 5, shutdownMs: 5, callMs: 1 });
  return {
    adapter: () => new SimulatedHypervisor(machine),
    progress: () => machine.ranMs(),
    crash: async () => machine.crash(),
    hang: async () => {
      machine.faults.monitor = 'hangs';
    },
    breakStart: async () => {
      machine.faults.start = 'fails';
      return async () => {
        machine.faults.start = 'works';
      };
    },
    pauseElsewhere: async () => machine.pause('elsewhere'),
    deaf: () => {
      machine.faults.shutdown = 'ignored';
    },
    ioErrors: () => 0,
    dispose: async () => machine.stop('destroyed'),
  };
});

describe('simulated machine', () => {
  it('goes wrong as told, in virtual time', async () => {
    const clock = new VirtualClock();
    const machine = new SimulatedMachine(clock);
    const hypervisor = new SimulatedHypervisor(machine);
    const events: HypervisorEvent[] = [];
    hypervisor.subscribe((event) => events.push(event));
    machine.faults.start = 'hangs';
    const hanging = hypervisor.start({ timeoutMs: 10_000 });
    clock.advance(10_000);
    expect(await hanging.catch((error: WorldError) => error.code)).to.equal('vm-start-failed');
    expect(hypervisor.state()).to.equal('stopped');
    machine.faults.start = 'works';
    const starting = hypervisor.start({ timeoutMs: 10_000 });
    expect(hypervisor.state()).to.equal('starting');
    clock.advance(300);
    await starting;
    clock.advance(700);
    machine.failDisk('no-space');
    clock.advance(5000);
    expect(machine.ranMs()).to.equal(700);
    machine.faults.destroy = 'hangs';
    const destroying = hypervisor.destroy({ timeoutMs: 1000 });
    clock.advance(1000);
    expect(await destroying.catch((error: WorldError) => error.code)).to.equal('vm-action-failed');
    expect(hypervisor.state()).to.equal('paused');
    expect(events).to.deep.equal([{ type: 'started' }, { type: 'paused', reason: 'no-space' }]);
  });
});
