/**
 * Disks of a real pair that work and are slow: each device moves 1.5 MB/s, so that a flush takes longer than a disk that hangs is
 * waited for. Nobody leaves, and people are told. Needs root, nbdkit and nbdfuse.
 */
import { expect } from 'chai';
import type { LabNode } from '../../src/lab/lab-layout.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';
import { RealPair, report } from './real-pair.ts';
import { SmallFileSystem } from './small-file-system.ts';
import { monotonicMs } from './write-journal.ts';

/** The guest writes half of it all over: more than the disk takes in the longest wait that is let pass. */
const volumeBytes = 64 * 1024 ** 2;
const slowBytesPerSecond = 1_500_000;
const fastBytesPerSecond = 1_000_000_000;
/** A silent disk counts as hung after 7 s; one request must have waited longer than that, s. */
const waitedSecondsMin = 8;
/** How long the guest may need to write that much between two flushes, ms. */
const slowDeadlineMs = 100_000;

describe('a real pair with a slow disk', function () {
  this.timeout(240_000);
  let temp: TempDirectory;
  let disks: Record<LabNode, SmallFileSystem>;
  let pair: RealPair;

  function setSpeed(bytesPerSecond: number): void {
    for (const disk of Object.values(disks ?? {})) disk.bytesPerSecond = bytesPerSecond;
  }

  before(async () => {
    temp = makeTempDirectory();
    const size = 3 * volumeBytes;
    disks = {
      A: await SmallFileSystem.make(temp.file('A'), size),
      B: await SmallFileSystem.make(temp.file('B'), size),
    };
    pair = await RealPair.start({
      sizeBytes: volumeBytes,
      prepare: (lab) => {
        for (const node of ['A', 'B'] as const) disks[node].hold(lab, node, volumeBytes, true);
      },
    });
  });
  afterEach(() => setSpeed(fastBytesPerSecond));
  after(async () => {
    await pair?.end();
    for (const disk of Object.values(disks ?? {})) await disk.remove();
    temp.remove();
  });

  async function staysWhole(node: LabNode): Promise<void> {
    await pair.recover();
    const guest = await pair.load('A');
    const pids = [(await pair.status('A')).pid, (await pair.status('B')).pid];
    const fromMs = monotonicMs();
    disks[node].bytesPerSecond = slowBytesPerSecond;
    const told = await until(
      'a long wait that is told',
      async () => {
        const { readiness, because, decisions } = await pair.status(node);
        expect(decisions.map(({ rule }) => rule)).to.not.include('disk-hung');
        const waited = Number(/ is slow since .* waited for (\d+) s/.exec(because)?.[1] ?? 0);
        return readiness === 'transient' && waited >= waitedSecondsMin ? because : undefined;
      },
      slowDeadlineMs,
    );
    report(`${told}; stall ${pair.journal.longestGapMs(fromMs, monotonicMs()).toFixed(0)} ms`);
    expect(await pair.primary()).to.equal('A');
    disks[node].bytesPerSecond = fastBytesPerSecond;
    await pair.inSync();
    await guest.end();
    expect([(await pair.status('A')).pid, (await pair.status('B')).pid]).to.deep.equal(pids);
    expect([pair.journal.lost, pair.journal.errors]).to.deep.equal([[], []]);
    await pair.expectBothHold();
  }

  it('of the secondary: it says so while requests wait longer than a hung disk is waited for, and the pair stays whole', () =>
    staysWhole('B'));

  it('of the primary: it says so while requests wait longer than a hung disk is waited for, and the pair stays whole', () =>
    staysWhole('A'));
});
