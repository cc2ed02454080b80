/** The adapter `simulated` with its real guest process over NBD. Needs nbdkit. */
import { expect } from 'chai';
import { truncateSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { silentLog } from '../../../src/base/log.ts';
import type { WorldError } from '../../../src/base/errors.ts';
import { simulatedVmSchema } from '../../../hypervisors/simulated/config.ts';
import { createSimulatedProcess } from '../../../hypervisors/simulated/simulated-process.ts';
import { encodeJournalRecord, journalRecordBytes } from '../../../hypervisors/simulated/journal.ts';
import { hypervisorConformance } from '../../conformance/hypervisor.ts';
import { processFixture } from '../process-fixture.ts';
import { VmBench } from '../vm-bench.ts';

const guestProgram = [
  '--import',
  'tsx',
  fileURLToPath(new URL('../../../hypervisors/simulated/guest-main.ts', import.meta.url)),
];
const wait = { timeoutMs: 15_000 };
const diskBytes = 4 * 1024 ** 2;

function makeBench(): VmBench {
  const bench = new VmBench();
  writeFileSync(bench.diskFile, '');
  truncateSync(bench.diskFile, diskBytes);
  return bench;
}

function makeAdapter(bench: VmBench) {
  return createSimulatedProcess({
    ...bench.place,
    config: simulatedVmSchema.parse({
      kind: 'simulated',
      serial: { file: 'serial.log' },
      recordsPerSecond: 100,
    }),
    attachments: bench.attachments,
    log: silentLog,
    guestProgram,
  });
}

const options = {
  name: 'simulated, as a process',
  callMs: 15_000,
  progressMs: 100,
  deafness: false,
  diskServer: true,
};

hypervisorConformance(options, async () => {
  const bench = makeBench();
  await bench.serveDisk();
  return processFixture(bench, () => makeAdapter(bench));
});

describe('simulated guest process', () => {
  let bench: VmBench;

  beforeEach(async () => {
    bench = makeBench();
    await bench.serveDisk();
  });

  afterEach(() => bench.dispose());

  it('finds everything that it had acknowledged before it was killed', async () => {
    const hypervisor = makeAdapter(bench);
    await hypervisor.adopt(wait);
    for (let boot = 1; boot <= 3; boot += 1) {
      const before = bench.acknowledged();
      await hypervisor.start(wait);
      const verified = await bench.report('verified', boot, wait.timeoutMs);
      expect(verified.last).to.be.at.least(before);
      await bench.report('acknowledged', boot, wait.timeoutMs);
      await hypervisor.destroy(wait);
    }
    hypervisor.close();
  });

  it('a record that is not what it should be is a failed verification, and nothing is appended', async () => {
    const damaged = encodeJournalRecord(2);
    damaged[100] = 0;
    const blocks = [encodeJournalRecord(1), damaged, encodeJournalRecord(3)];
    writeFileSync(bench.diskFile, Buffer.concat(blocks, diskBytes));
    const hypervisor = makeAdapter(bench);
    await hypervisor.adopt(wait);
    await hypervisor.start(wait);
    const failed = await bench.report('verify-failed', 1, wait.timeoutMs);
    expect(failed.because).to.equal('block 1 holds damaged instead of 2');
    await hypervisor.destroy(wait);
    hypervisor.close();
    expect(bench.acknowledged()).to.equal(0);
    expect(journalRecordBytes * 3).to.be.below(diskBytes);
  });

  it('a disk that nobody serves is a failed start that says so', async () => {
    await bench.killDiskServer();
    const hypervisor = makeAdapter(bench);
    await hypervisor.adopt(wait);
    const error = await hypervisor.start(wait).catch((problem: WorldError) => problem);
    expect(error).to.have.property('code', 'vm-start-failed');
    expect(error).to.have.property('found').that.includes('simulated guest');
    hypervisor.close();
  });
});
