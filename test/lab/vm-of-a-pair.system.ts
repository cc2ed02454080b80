/**
 * A pair with a VM (the simulated guest: a real process that keeps a journal over NBD): what its module, supervisor and
 * hypervisor adapter do when one of them fails. The demo runs the same with QEMU.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { vmFiles } from '../../hypervisors/qemu/qemu-hypervisor.ts';
import { findVmProcess } from '../../hypervisors/vm-process.ts';
import { SerialWatch } from '../../src/lab/demo/serial-watch.ts';
import { createLabIssuer } from '../../src/lab/lab-identities.ts';
import { labModule, type LabNode } from '../../src/lab/lab-layout.ts';
import { LabCluster } from '../../src/lab/pair.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';

const waitMs = 20_000;

describe('the VM of a pair', function () {
  this.timeout(120_000);
  let directory: TempDirectory;
  let lab: LabCluster;
  let serial: Record<LabNode, SerialWatch>;

  const vm = (node: LabNode) =>
    findVmProcess(vmFiles({ module: labModule, runtimeDirectory: lab.nodes[node].runtimeDir }));
  const records = (node: LabNode): number => serial[node].lastAcknowledged;
  /** The guest goes on: more records than now, none of them reported as failed. */
  const goesOn = async (node: LabNode): Promise<void> => {
    const before = records(node);
    await until(`more records than ${before} on ${node}`, () => records(node) > before + 5, waitMs);
    expect(
      serial[node].reports.filter(({ type }) => type === 'io-error' || type === 'verify-failed'),
    ).to.deep.equal([]);
  };
  const isPrimary = async (node: LabNode): Promise<boolean> => {
    const status = await lab.moduleStatus(node);
    return status?.state === 'PRIM' && status.readiness === 'ready' && status.axes.vm === 'running';
  };

  before(async () => {
    directory = makeTempDirectory();
    lab = await LabCluster.create({
      directory: join(directory.path, 'lab'),
      sizeBytes: 64 * 1024 * 1024,
      issuer: createLabIssuer,
      vm: { kind: 'simulated', recordsPerSecond: 50, serial: { file: 'serial.log' } },
    });
    serial = {
      A: new SerialWatch(join(lab.nodes.A.runtimeDir, 'serial.log'), systemClock),
      B: new SerialWatch(join(lab.nodes.B.runtimeDir, 'serial.log'), systemClock),
    };
    await lab.start();
    await until('the VM runs on A', () => isPrimary('A'), waitMs);
    await goesOn('A');
  });

  after(async () => {
    serial.A.stop();
    serial.B.stop();
    await lab.stop();
    directory.remove();
  });

  it('the module is killed: the VM process stays, and goes on when the module is back', async () => {
    const pid = vm('A')?.pid;
    lab.killModule('A');
    await goesOn('A');
    expect(vm('A')?.pid).to.equal(pid);
    await until('PRIM again', () => isPrimary('A'), waitMs);
  });

  it('the module hangs: the supervisor pauses the VM, ends the module, and the VM goes on under the next one', async () => {
    const before = await lab.moduleStatus('A');
    process.kill(before?.pid ?? 0, 'SIGSTOP');
    const paused = () => readFileSync(lab.nodes.A.supervisorLog, 'utf8').includes('"guest-paused"');
    await until('the supervisor pauses the VM', paused, waitMs);
    await until(
      'another module process',
      async () => {
        const status = await lab.moduleStatus('A');
        return status !== undefined && status.instance !== before?.instance;
      },
      waitMs,
    );
    // Whoever may run the VM now has decided it with the arbiter or the peer; exactly one does.
    const where = await until(
      'the VM runs on one node',
      async () => ((await isPrimary('A')) ? 'A' : (await isPrimary('B')) ? 'B' : undefined),
      waitMs * 2,
    );
    await goesOn(where);
    expect(vm(where === 'A' ? 'B' : 'A')).to.equal(undefined);
    if (where === 'B') {
      await lab.waitInSync(waitMs);
      await lab.call('B', 'swap', {}, waitMs);
      await until('the VM runs on A', () => isPrimary('A'), waitMs);
    }
  });

  it('the VM process is killed: it is started again in place, by a named rule', async () => {
    const pid = vm('A')?.pid ?? 0;
    process.kill(pid, 'SIGKILL');
    await until('another VM process', () => vm('A') !== undefined && vm('A')?.pid !== pid, waitMs);
    await goesOn('A');
    const rules = (await lab.moduleStatus('A'))?.decisions.map(({ rule }) => rule);
    expect(rules).to.include('vm');
    expect(serial.A.reports.filter(({ type }) => type === 'verify-failed')).to.deep.equal([]);
  });

  it('swap moves the VM to the other node: it is stopped here before it runs there, with its whole journal', async () => {
    const last = records('A');
    await lab.call('A', 'swap', {}, waitMs);
    await until('the VM runs on B', () => isPrimary('B'), waitMs);
    await goesOn('B');
    expect(vm('A')).to.equal(undefined);
    const verified = serial.B.reports.findLast(({ type }) => type === 'verified');
    expect(verified?.type === 'verified' && verified.last >= last).to.equal(true);
  });
});
