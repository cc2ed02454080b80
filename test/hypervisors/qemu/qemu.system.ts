/** The adapter `qemu` with a real QEMU under TCG and the lab guest. Needs QEMU, nbdkit and what the guest is made of. */
import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { chooseAccelerator, probeAccelerator } from '../../../hypervisors/qemu/accelerator.ts';
import { qemuVmSchema } from '../../../hypervisors/qemu/config.ts';
import { pauseThroughMonitor } from '../../../hypervisors/qemu/pause-through-monitor.ts';
import { createQemuHypervisor } from '../../../hypervisors/qemu/qemu-hypervisor.ts';
import type { Clock } from '../../../src/base/clock.ts';
import type { WorldError } from '../../../src/base/errors.ts';
import { silentLog } from '../../../src/base/log.ts';
import { systemClock } from '../../../src/platform/system-clock.ts';
import { buildGuest, guestAppend, guestMemory } from '../../../src/lab/guest/build-guest.ts';
import { hypervisorConformance } from '../../conformance/hypervisor.ts';
import { until } from '../../until.ts';
import { processFixture } from '../process-fixture.ts';
import { guestCache } from '../../lab/guest/guest-cache.ts';
import { benchVolume, VmBench } from '../vm-bench.ts';

const wait = { timeoutMs: 30_000 };
/** How early the timers of one test fire, ms. */
const earlyMs = 100;

async function makeBench(): Promise<VmBench> {
  const { diskTemplate } = await buildGuest({ directory: guestCache });
  const bench = new VmBench();
  execFileSync('cp', ['--sparse=always', diskTemplate, bench.diskFile]);
  await bench.serveDisk();
  return bench;
}

async function makeConfig(changes: object = {}) {
  const { kernel, initrd } = await buildGuest({ directory: guestCache });
  return qemuVmSchema.parse({
    kind: 'qemu',
    memory: guestMemory,
    accelerator: 'tcg',
    kernel,
    initrd,
    append: guestAppend,
    disks: [{ volume: benchVolume, format: 'qcow2' }],
    serial: { file: 'serial.log' },
    ...changes,
  });
}

async function makeAdapter(bench: VmBench, changes: object = {}) {
  const config = await makeConfig(changes);
  return createQemuHypervisor({ ...bench.place, config, attachments: bench.attachments, log: silentLog });
}

const options = { name: 'qemu', callMs: 30_000, progressMs: 200, deafness: true, diskServer: true };

hypervisorConformance(options, async () => {
  const bench = await makeBench();
  const config = await makeConfig();
  return processFixture(bench, () =>
    createQemuHypervisor({ ...bench.place, config, attachments: bench.attachments, log: silentLog }),
  );
});

describe('qemu', () => {
  let bench: VmBench;

  beforeEach(async () => {
    bench = await makeBench();
  });

  afterEach(() => bench.dispose());

  it('is paused through the monitor of the supervisor while its disk server hangs', async () => {
    const hypervisor = await makeAdapter(bench);
    await hypervisor.adopt(wait);
    await hypervisor.start(wait);
    await bench.report('acknowledged', 1, wait.timeoutMs);
    bench.signalDiskServer('SIGSTOP');
    await pauseThroughMonitor(bench.files.supervisorMonitor, 2000);
    await until('the pause is seen', () => hypervisor.state() === 'paused');
    bench.signalDiskServer('SIGCONT');
    await until('the VM answers again', async () => (await hypervisor.inspect(wait)).state === 'paused');
    const before = bench.acknowledged();
    await hypervisor.resume(wait);
    await until('the guest goes on', () => bench.acknowledged() > before, wait.timeoutMs);
    hypervisor.close();
  });

  it('is not paused through a monitor that does not answer, and nobody at the monitor is as good as paused', async () => {
    const hypervisor = await makeAdapter(bench);
    await hypervisor.adopt(wait);
    await pauseThroughMonitor(bench.files.supervisorMonitor, 500);
    await hypervisor.start(wait);
    bench.signalVm('SIGSTOP');
    const error = await pauseThroughMonitor(bench.files.supervisorMonitor, 500).catch(
      (problem: WorldError) => problem,
    );
    expect(error).to.have.property('code', 'vm-action-failed');
    hypervisor.close();
  });

  it('a last press of the power button that has no time left for its reply is no failure', async () => {
    let truncates = false;
    const never = { cancel: () => undefined };
    // Timers fire early, as those that are cut to whole milliseconds do, and a short one before any reply can come.
    const clock: Clock = {
      nowMs: () => systemClock.nowMs(),
      after: (delayMs, callback) => {
        if (!truncates) return systemClock.after(delayMs, callback);
        if (delayMs > earlyMs) return systemClock.after(delayMs - earlyMs, callback);
        queueMicrotask(callback);
        return never;
      },
    };
    const config = await makeConfig();
    const { place, attachments } = bench;
    const hypervisor = createQemuHypervisor({ ...place, config, attachments, log: silentLog, clock });
    await hypervisor.adopt(wait);
    await hypervisor.start(wait);
    truncates = true;
    expect(await hypervisor.shutdown({ timeoutMs: 5 * earlyMs })).to.equal('still-running');
    expect(hypervisor.state()).to.equal('running');
    truncates = false;
    await hypervisor.destroy(wait);
    hypervisor.close();
  });

  it('a guest without an agent on its channel gives no sign of life, while the VM runs', async () => {
    const hypervisor = await makeAdapter(bench, { guestAgent: 'on' });
    await hypervisor.adopt(wait);
    await hypervisor.start(wait);
    const pulse = await hypervisor.capabilities.guestPulse?.({ timeoutMs: 300 });
    expect(pulse).to.deep.equal({
      alive: false,
      because: 'the guest agent does not answer within 300 ms',
    });
    expect(hypervisor.state()).to.equal('running');
    hypervisor.close();
  });

  it('a program that is missing is a failed start, and the health says so', async () => {
    const hypervisor = await makeAdapter(bench, { binary: 'qemu-system-missing' });
    await hypervisor.adopt(wait);
    const error = await hypervisor.start(wait).catch((problem: WorldError) => problem);
    expect(error).to.have.property('code', 'vm-start-failed');
    expect(await hypervisor.health(wait)).to.have.property('usable', false);
    expect(hypervisor.state()).to.equal('stopped');
    hypervisor.close();
  });

  it('a wrong argument is a failed start that quotes QEMU', async () => {
    const hypervisor = await makeAdapter(bench, { extraArgs: ['-device', 'no-such-device'] });
    await hypervisor.adopt(wait);
    const error = await hypervisor.start(wait).catch((problem: WorldError) => problem);
    expect(error).to.have.property('found').that.includes('no-such-device');
    hypervisor.close();
  });

  it('runs code under TCG, and "auto" takes KVM only if that runs code too', async () => {
    const config = await makeConfig({ accelerator: 'auto' });
    expect(await probeAccelerator(config, 'tcg', wait)).to.deep.equal({
      works: true,
      because: 'tcg runs code',
    });
    const { works } = await probeAccelerator(config, 'kvm', wait);
    expect(await chooseAccelerator(config, wait)).to.equal(works ? 'kvm' : 'tcg');
  });
});
