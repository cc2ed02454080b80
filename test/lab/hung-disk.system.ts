/**
 * Disks of a real pair that hang. The device answers nothing: flushes of the module stay in the kernel until it does, and everything
 * else of the module goes on: heartbeats, control socket, the answers to the watchdog. A frozen file system also stops writes
 * that run in the event loop, and with them the module: then its supervisor and the peer act. Needs root.
 */
import { expect } from 'chai';
import type { LabNode } from '../../src/lab/lab-layout.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';
import { RealPair, report } from './real-pair.ts';
import { SmallFileSystem } from './small-file-system.ts';
import { monotonicMs } from './write-journal.ts';

const volumeBytes = 64 * 1024 ** 2;
/** Longest stall of the guest, and until the other node serves, ms. */
const stallHungMs = 10_000;
/** How long the disk hangs after that, longer than the watchdog of the supervisor, ms. */
const hungOnMs = 6000;

describe('a real pair with a disk that hangs', function () {
  this.timeout(180_000);
  let temp: TempDirectory;
  let disks: Record<LabNode, SmallFileSystem>;
  let pair: RealPair;

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
        disks.A.hold(lab, 'A', volumeBytes, true);
        disks.B.hold(lab, 'B', volumeBytes, false);
      },
    });
  });
  afterEach(() => {
    for (const disk of Object.values(disks)) {
      disk.hanging = false;
      disk.thaw();
    }
  });
  after(async () => {
    await pair?.end();
    for (const disk of Object.values(disks ?? {})) await disk.remove();
    temp.remove();
  });

  /** The same process answers at once for longer than the supervisor would wait for it. */
  async function staysAwake(node: LabNode, pid: number): Promise<void> {
    const untilMs = monotonicMs() + hungOnMs;
    let slowestMs = 0;
    await until(
      'the time to be over',
      async () => {
        const askedMs = monotonicMs();
        const status = await pair.status(node);
        slowestMs = Math.max(slowestMs, monotonicMs() - askedMs);
        expect([status.pid, status.readiness]).to.deep.equal([pid, 'not-ready']);
        return monotonicMs() > untilMs;
      },
      2 * hungOnMs,
    );
    report(`slowest answer of the module with the hung disk ${slowestMs.toFixed(0)} ms`);
    expect(slowestMs, 'slowest answer').to.be.below(1500);
  }

  it('of the secondary: the guest waits at most 10 s, and the node comes back by itself when the disk answers', async () => {
    await pair.recover();
    const guest = await pair.load('A');
    const { pid } = await pair.status('B');
    const frozenMs = monotonicMs();
    disks.B.hanging = true;
    await pair.waitFor('A', 'ALONE', 'ready');
    await guest.progress(200);
    const stallMs = pair.journal.longestGapMs(frozenMs, monotonicMs());
    report(`stall ${stallMs.toFixed(0)} ms`);
    expect(stallMs, 'stall').to.be.at.most(stallHungMs);
    expect((await pair.waitFor('B', 'WAIT', 'not-ready')).because).to.include('has not answered for');
    await until('A knows why', async () => (await pair.status('A')).because.includes('has not answered for'));
    await staysAwake('B', pid);
    disks.B.hanging = false;
    await pair.inSync();
    expect((await pair.status('B')).pid).to.equal(pid);
    await guest.end();
    expect(pair.journal.errors).to.deep.equal([]);
    await pair.expectBothHold();
  });

  it('of the primary, with its metadata: the other node serves within 10 s, and the node comes back when the disk answers', async () => {
    await pair.recover();
    const guest = await pair.load('A');
    const { pid } = await pair.status('A');
    const frozenMs = monotonicMs();
    disks.A.hanging = true;
    await pair.waitFor('B', 'ALONE', 'ready');
    const servedMs = monotonicMs() - frozenMs;
    report(`served by the other node after ${servedMs.toFixed(0)} ms`);
    expect(servedMs, 'until the other node serves').to.be.at.most(stallHungMs);
    expect((await pair.lostInExport('B')).slice(0, 5)).to.deep.equal([]);
    expect((await pair.waitFor('A', 'WAIT', 'not-ready')).because).to.include('has not answered for');
    await staysAwake('A', pid);
    disks.A.hanging = false;
    await pair.inSync();
    await guest.kill();
    expect(await pair.primary()).to.equal('B');
    expect((await pair.status('A')).pid).to.equal(pid);
    await pair.expectBothHold();
  });

  it('of the secondary, whose file system is frozen: the guest waits at most 10 s, and the pair is whole after the thaw', async () => {
    await pair.recover();
    const primary = await pair.primary();
    const secondary = primary === 'A' ? 'B' : 'A';
    const guest = await pair.load(primary);
    const frozenMs = monotonicMs();
    disks[secondary].freeze();
    await pair.waitFor(primary, 'ALONE', 'ready');
    await guest.progress(200);
    const stallMs = pair.journal.longestGapMs(frozenMs, monotonicMs());
    report(`stall ${stallMs.toFixed(0)} ms`);
    expect(stallMs, 'stall').to.be.at.most(stallHungMs);
    disks[secondary].thaw();
    await pair.inSync();
    await guest.end();
    expect(pair.journal.errors).to.deep.equal([]);
    await pair.expectBothHold();
  });
});
