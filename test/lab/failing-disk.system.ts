/**
 * A disk of a real pair whose writes fail, as the kernel tells it: the write is taken into the page cache, one fdatasync fails,
 * and from then on the kernel takes the page for clean and shows what the disk does not hold. What is compared at the end is
 * read from the device, not from the cache. Needs root.
 */
import { expect } from 'chai';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';
import { RealPair, report, runTool } from './real-pair.ts';
import { SmallFileSystem } from './small-file-system.ts';
import { monotonicMs } from './write-journal.ts';

const volumeBytes = 64 * 1024 ** 2;
/** Until the other node serves, ms: the engine flushes every 2 s. */
const takeoverMs = 10_000;
/** Longer than a node would need to go on by itself, ms. */
const staysRedMs = 8000;

describe('a real pair with a disk that fails', function () {
  this.timeout(180_000);
  let temp: TempDirectory;
  let disk: SmallFileSystem;
  let pair: RealPair;

  before(async () => {
    temp = makeTempDirectory();
    disk = await SmallFileSystem.make(temp.file('A'), 3 * volumeBytes);
    pair = await RealPair.start({
      sizeBytes: volumeBytes,
      prepare: (lab) => disk.hold(lab, 'A', volumeBytes, false),
    });
  });
  after(async () => {
    await pair?.end();
    await disk?.remove();
    temp.remove();
  });

  /** What the device of A holds is what the file of B holds. */
  async function expectEqualOnDevice(): Promise<void> {
    await pair.endLoads();
    const image = (node: 'A' | 'B', direct: string): string =>
      `driver=raw,file.driver=file,file.locking=off,file.cache.direct=${direct},file.filename=${pair.lab.nodes[node].diskFile}`;
    await runTool('qemu-img', 'compare', '--image-opts', image('A', 'on'), image('B', 'off'));
  }

  it('the primary in sync: the other node serves with every acknowledged write, and the disk is written anew, not compared', async () => {
    const guest = await pair.load('A');
    const failedMs = monotonicMs();
    disk.failing = true;
    await pair.waitFor('B', 'ALONE', 'ready');
    const servedMs = monotonicMs() - failedMs;
    report(`served by the other node after ${servedMs.toFixed(0)} ms`);
    expect(servedMs, 'until the other node serves').to.be.at.most(takeoverMs);
    await guest.kill();
    expect((await pair.lostInExport('B')).slice(0, 5)).to.deep.equal([]);
    expect(pair.journal.errors).to.deep.equal([]);
    const { because, axes } = await pair.waitFor('A', 'WAIT', 'not-ready');
    expect([because.includes('or replace it'), axes.data]).to.deep.equal([true, 'outdated']);
    disk.failing = false;
    await pair.lab.call('A', 'start');
    await pair.inSync();
    expect(await pair.primary()).to.equal('B');
    await expectEqualOnDevice();
    await pair.lab.call('B', 'swap', {}, 30_000);
    await pair.inSync();
  });

  it('the primary alone: nothing is served from it by the next process, until the operator accepts the disk', async () => {
    await pair.lab.powerOff('B');
    await pair.waitFor('A', 'ALONE', 'ready');
    const guest = await pair.load('A');
    disk.failing = true;
    const held = await pair.waitFor('A', 'ALONE', 'not-ready');
    expect(held.because).to.match(/failed \([a-z]+: EIO: i\/o error\)/u);
    disk.failing = false;
    await guest.kill();
    expect(pair.journal.update().errors).to.deep.equal([]);
    pair.lab.killModule('A');
    const red = await pair.waitFor('A', 'WAIT', 'not-ready');
    expect([red.axes.data, red.because.includes('accept-disk')]).to.deep.equal(['up-to-date', true]);
    await pair.lab.startMachine('B');
    const untilMs = monotonicMs() + staysRedMs;
    await until(
      'the time to be over, with nobody primary',
      async () => {
        for (const node of ['A', 'B'] as const)
          expect((await pair.status(node)).axes.role).to.equal('secondary');
        return monotonicMs() > untilMs;
      },
      2 * staysRedMs,
    );
    await pair.lab.call('A', 'accept-disk', {}, 10_000);
    await pair.inSync();
    expect(await pair.primary()).to.equal('A');
    await expectEqualOnDevice();
  });
});
