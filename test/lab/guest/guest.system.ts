/**
 * The lab guest in a real QEMU under TCG: what it acknowledges, verifies and reports. Needs QEMU, nbdkit, e2fsprogs (with
 * debugfs), a kernel of the distribution and a static busybox.
 */
import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { qemuVmSchema } from '../../../hypervisors/qemu/config.ts';
import { createQemuHypervisor } from '../../../hypervisors/qemu/qemu-hypervisor.ts';
import type { Hypervisor } from '../../../hypervisors/port.ts';
import { silentLog } from '../../../src/base/log.ts';
import { buildGuest, type Guest, guestAppend, guestMemory } from '../../../src/lab/guest/build-guest.ts';
import { createGuestDisk, qcow2VolumeBytes } from '../../../src/lab/guest/guest-disk-image.ts';
import { recordBytes } from '../../../src/lab/guest/init-script.ts';
import { guestCache } from './guest-cache.ts';
import { benchVolume, VmBench } from '../../hypervisors/vm-bench.ts';
import { until } from '../../until.ts';

const wait = { timeoutMs: 30_000 };
const diskBytes = 64 * 1024 ** 2;
/** Figures that the guest is made for, with room for a busy machine. */
const firstRecordMsMax = 6000;
const recordsPerSecondMin = 15;
const verifyMsMax = 2000;

/** A record as the guest writes it; arithmetic as in its script. */
function journalLine(number: number): string {
  const modulus = 2147483629n;
  let sum = BigInt(number);
  let value = (BigInt(number) * 7919n) % modulus;
  const values: bigint[] = [];
  for (let index = 1n; index <= 9n; index += 1n) {
    value = (value * 65599n + index) % modulus;
    sum = (sum * 65599n + value) % modulus;
    values.push(value);
  }
  const fields = [...values, sum].map((one) => String(one).padStart(10));
  return `R ${String(number).padStart(11)} ${fields.join(' ')} 000\n`;
}

function journalOf(count: number): string {
  return Array.from({ length: count }, (_, index) => journalLine(index + 1)).join('');
}

describe('lab guest', () => {
  let bench: VmBench;
  let guest: Guest;
  let hypervisor: Hypervisor;

  beforeEach(async () => {
    guest = await buildGuest({ directory: guestCache });
    bench = new VmBench();
  });

  afterEach(async () => {
    hypervisor.close();
    await bench.dispose();
  });

  /** Puts a journal into an ext4 of its own; nothing is mounted. */
  function makeDiskWith(journal: string): void {
    const raw = bench.directory.file('disk.raw');
    writeFileSync(bench.directory.file('journal'), journal);
    execFileSync('qemu-img', ['convert', '-O', 'raw', guest.diskTemplate, raw]);
    execFileSync('debugfs', ['-w', '-R', `write ${bench.directory.file('journal')} journal`, raw], {
      stdio: 'ignore',
    });
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, bench.diskFile]);
    execFileSync('truncate', ['-s', String(statSync(guest.diskTemplate).size), bench.diskFile]);
  }

  async function start(append = guestAppend): Promise<void> {
    await bench.serveDisk();
    const config = qemuVmSchema.parse({
      kind: 'qemu',
      memory: guestMemory,
      accelerator: 'tcg',
      kernel: guest.kernel,
      initrd: guest.initrd,
      append,
      disks: [{ volume: benchVolume, format: 'qcow2' }],
      serial: { file: 'serial.log' },
    });
    hypervisor = createQemuHypervisor({
      ...bench.place,
      config,
      attachments: bench.attachments,
      log: silentLog,
    });
    await hypervisor.adopt(wait);
    await hypervisor.start(wait);
  }

  it('boots soon, acknowledges steadily, each record after a flush, and finds all of it after a kill', async () => {
    await createGuestDisk(bench.diskFile, diskBytes);
    expect(statSync(bench.diskFile).size).to.equal(await qcow2VolumeBytes(diskBytes));
    const startedMs = performance.now();
    await start();
    await bench.report('acknowledged', 1, wait.timeoutMs);
    expect(performance.now() - startedMs).to.be.below(firstRecordMsMax);
    await until('60 records', () => bench.acknowledged() >= 60, wait.timeoutMs);
    const records = bench.reports().filter(({ type }) => type === 'acknowledged');
    const [first, last] = [records[0], records.at(-1)];
    const seconds = ((last?.atMs ?? 0) - (first?.atMs ?? 0)) / 1000;
    expect((records.length - 1) / seconds).to.be.above(recordsPerSecondMin);
    const flushes = readFileSync(bench.nbdLog, 'utf8')
      .split('\n')
      .filter((line) => line.includes('...Flush'));
    expect(flushes.length).to.be.at.least(60);

    await hypervisor.destroy(wait);
    const acknowledged = bench.acknowledged();
    await hypervisor.start(wait);
    const verified = await bench.report('verified', 2, wait.timeoutMs);
    expect(verified.last).to.be.within(acknowledged, acknowledged + 1);
    expect(verified.records).to.equal(verified.last);
    const boot = bench.lastBoot();
    expect(boot.map(({ type }) => type).slice(0, 2)).to.deep.equal(['boot', 'verified']);
  });

  it('thousands of records are verified in two seconds, and a torn record at the end is cut away', async () => {
    const count = 5000;
    makeDiskWith(journalOf(count) + journalLine(count + 1).slice(0, recordBytes / 2));
    await start();
    const verified = await bench.report('verified', 1, wait.timeoutMs);
    expect(verified).to.include({ last: count, records: count, tailBytes: recordBytes / 2 });
    const [boot] = bench.lastBoot();
    expect(verified.atMs - (boot?.atMs ?? 0)).to.be.below(verifyMsMax);
    const next = await bench.report('acknowledged', 1, wait.timeoutMs);
    expect(next.record).to.equal(count + 1);
    await hypervisor.shutdown(wait);
    await hypervisor.start(wait);
    const again = await bench.report('verified', 2, wait.timeoutMs);
    expect(again).to.include({ last: bench.acknowledged(), tailBytes: 0 });
  });

  const damages: readonly (readonly [string, (lines: string[]) => void, string])[] = [
    [
      'a number is changed',
      (lines) => void (lines[41] = lines[41]?.replace(/\d /, '7 ') ?? ''),
      'checksum at record 42',
    ],
    ['a record is missing', (lines) => void lines.splice(41, 1), 'sequence at record 42'],
    [
      'a record is half there',
      (lines) => void (lines[41] = `${lines[41]?.slice(0, 50)}\n`),
      'shape at record 42',
    ],
  ];
  for (const [situation, damage, because] of damages) {
    it(`a journal in which ${situation} is a failed verification, and nothing is appended`, async () => {
      const lines = journalOf(100).split(/(?<=\n)/);
      damage(lines);
      makeDiskWith(lines.join(''));
      await start();
      const failed = await bench.report('verify-failed', 1, wait.timeoutMs);
      expect(failed.because).to.equal(because);
      await hypervisor.destroy(wait);
      expect(bench.acknowledged()).to.equal(0);
    });
  }

  it('the power button leads to an unmounted file system', async () => {
    await createGuestDisk(bench.diskFile, diskBytes);
    await start(`${guestAppend} JOURNAL_PAUSE=0.2`);
    await bench.report('acknowledged', 1, wait.timeoutMs);
    expect(await hypervisor.shutdown(wait)).to.equal('stopped');
    const [stopping, powerOff] = bench.reports().slice(-2);
    expect(stopping).to.include({ type: 'stopping', record: bench.acknowledged() });
    expect(powerOff).to.include({ type: 'poweroff' });
    await bench.killDiskServer();
    const raw = bench.directory.file('disk.raw');
    execFileSync('qemu-img', ['convert', '-O', 'raw', bench.diskFile, raw]);
    // Exit status 0: nothing had to be corrected, no journal had to be replayed.
    execFileSync('e2fsck', ['-f', '-n', raw], { stdio: 'ignore' });
    expect(
      execFileSync('dumpe2fs', ['-h', raw], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
    ).to.match(/Filesystem state:\s+clean/);
  });
});
