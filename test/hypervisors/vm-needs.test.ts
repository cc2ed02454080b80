/** What a VM takes of its host, as its adapter says it. Nothing is started. */
import { expect } from 'chai';
import { qemuVmSchema } from '../../hypervisors/qemu/config.ts';
import { createQemuHypervisor } from '../../hypervisors/qemu/qemu-hypervisor.ts';
import { simulatedVmSchema } from '../../hypervisors/simulated/config.ts';
import { createSimulatedProcess } from '../../hypervisors/simulated/simulated-process.ts';
import { silentLog } from '../../src/base/log.ts';

const place = { module: 'vm1', runtimeDirectory: '/nowhere', attachments: [], log: silentLog };
const disks = [{ volume: 'disk0' }];

describe('what a VM needs', () => {
  it('is in its definition, also when that is replaced', async () => {
    const config = qemuVmSchema.parse({ kind: 'qemu', memory: '4GiB', cpus: 2, disks });
    const hypervisor = createQemuHypervisor({ ...place, config });
    expect(hypervisor.needs()).to.deep.equal({ memoryBytes: 4 * 1024 ** 3, cpus: 2 });
    await hypervisor.define(
      { text: 'kind: qemu\nmemory: 512MiB\ndisks: [{ volume: disk0 }]\n' },
      { timeoutMs: 1000 },
    );
    expect(hypervisor.needs()).to.deep.equal({ memoryBytes: 512 * 1024 ** 2, cpus: 1 });
  });

  it('is not known of a simulated guest that does not say it', () => {
    const simulated = (changes: object) =>
      createSimulatedProcess({
        ...place,
        config: simulatedVmSchema.parse({ kind: 'simulated', ...changes }),
      }).needs();
    expect(simulated({})).to.equal(undefined);
    expect(simulated({ memory: '1GiB', cpus: 3 })).to.deep.equal({ memoryBytes: 1024 ** 3, cpus: 3 });
  });
});
