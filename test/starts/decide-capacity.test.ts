/** Whether a node could run the VMs that a failover would bring. */
import { expect } from 'chai';
import { capacityProblem } from '../../src/starts/decide-capacity.ts';
import type { StartNotice } from '../../src/starts/start-notice.ts';
import { withStart } from '../../src/starts/show-start.ts';
import { notice } from './notices.ts';

const gib = 1024 ** 3;
const host = { memoryBytes: 16 * gib, availableBytes: 12 * gib, cpus: 2 };
const limits = { cpuOvercommit: 4, memoryReserveBytes: gib };
const vm = (module: string, memoryGib: number, changes: Partial<StartNotice> = {}, cpus = 1) =>
  notice(module, { vm: 'at-peer', needs: { memoryBytes: memoryGib * gib, cpus }, ...changes });

describe('the capacity of a node', () => {
  it('fits: there is nothing to say', () => {
    expect(capacityProblem('vm1', [vm('vm1', 8)], host, limits)).to.equal(undefined);
  });

  it('memory that the kernel calls available, without the reserve of the host, is what counts', () => {
    expect(capacityProblem('vm1', [vm('vm1', 11)], host, limits)).to.equal(undefined);
    expect(capacityProblem('vm1', [vm('vm1', 12)], host, limits)).to.equal('12 GiB wanted, 11 GiB free');
  });

  it('what the VMs that run here were promised is not free, although they have not touched it yet', () => {
    const claimants = [vm('vm1', 8), vm('vm2', 8, { vm: 'here' })];
    expect(capacityProblem('vm1', claimants, host, limits)).to.equal('8 GiB wanted, 7 GiB free');
  });

  it('VMs take what is free in the order in which they would start; only those without room are named', () => {
    const claimants = [
      vm('vm1', 4, { priority: 10 }),
      vm('vm2', 8, { priority: 90 }),
      vm('vm3', 2, { priority: 5 }),
    ];
    const problems = claimants.map(({ module }) => capacityProblem(module, claimants, host, limits));
    expect(problems).to.deep.equal([
      '4 GiB wanted, 3 GiB free beside the other VMs that a failover would start',
      undefined,
      undefined,
    ]);
  });

  it('virtual CPUs may be more than the CPUs of the host, up to the factor', () => {
    expect(capacityProblem('vm1', [vm('vm1', 1, {}, 8)], host, limits)).to.equal(undefined);
    const claimants = [vm('vm1', 1, {}, 4), vm('vm2', 1, { vm: 'here' }, 5)];
    expect(capacityProblem('vm1', claimants, host, limits)).to.equal(
      '4 virtual CPUs wanted, 3 left (2 CPUs, 4 for each)',
    );
  });

  it('a module that is stopped, or whose VM runs here, or says no needs, takes nothing', () => {
    const claimants = [
      vm('vm1', 11),
      vm('vm2', 99, { wouldRun: false, priority: 99 }),
      notice('vm3', { priority: 99 }),
    ];
    expect(capacityProblem('vm1', claimants, host, limits)).to.equal(undefined);
    expect(capacityProblem('vm2', [vm('vm2', 99, { vm: 'here' })], host, limits)).to.equal(undefined);
  });

  it('shortage makes what is ready orange, and does not hide what is red', () => {
    const short = { waits: undefined, capacity: 'B could not start vm1: 8 GiB wanted, 3 GiB free' };
    expect(withStart({ readiness: 'ready', because: 'both copies hold every write' }, short)).to.deep.equal({
      readiness: 'transient',
      because: 'both copies hold every write; B could not start vm1: 8 GiB wanted, 3 GiB free',
    });
    const red = { readiness: 'not-ready', because: 'a disk failed' } as const;
    expect(withStart(red, short)).to.equal(red);
  });
});
