/** The conformance fixture of adapters whose VM is a process with a monitor and a disk served by nbdkit. */
import { existsSync, renameSync } from 'node:fs';
import type { Hypervisor } from '../../hypervisors/port.ts';
import { pauseThroughMonitor } from '../../hypervisors/qemu/pause-through-monitor.ts';
import type { HypervisorFixture } from '../conformance/hypervisor.ts';
import { until } from '../until.ts';
import type { VmBench } from './vm-bench.ts';

const pauseDeadlineMs = 2000;
/** Requests of the guest pile up for this long before the disk server comes back, ms. */
const outageMs = 200;

export function processFixture(bench: VmBench, adapter: () => Hypervisor): HypervisorFixture {
  return {
    adapter,
    progress: () => bench.acknowledged(),
    crash: () => bench.killVm(),
    hang: async () => bench.signalVm('SIGSTOP'),
    breakStart: async () => {
      await bench.killDiskServer();
      renameSync(bench.nbdSocket, `${bench.nbdSocket}.away`);
      return () => bench.serveDisk();
    },
    pauseElsewhere: async () => {
      const { supervisorMonitor } = bench.files;
      await until('the monitor of the supervisor', () => existsSync(supervisorMonitor));
      await pauseThroughMonitor(supervisorMonitor, pauseDeadlineMs);
    },
    deaf: () => {},
    interruptDisk: async () => {
      await bench.killDiskServer();
      await new Promise((resolve) => setTimeout(resolve, outageMs));
      await bench.serveDisk();
    },
    ioErrors: () => bench.ioErrorCount(),
    dispose: () => bench.dispose(),
  };
}
