/**
 * How much a resync of a real pair examines and sends: after a crash under writes all over a large volume, with a copy that was
 * brought by other means, and after an interruption. The volumes are sparse. Durability is not verified here, nor speed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, closeSync, copyFileSync, openSync, writeSync } from 'node:fs';
import { expect } from 'chai';
import { blockSizeBytes, extentSizeBytes, hotExtentsMax } from '../../src/disk/state.ts';
import { labNodes } from '../../src/lab/lab-layout.ts';
import type { LabCluster } from '../../src/lab/pair.ts';
import { until } from '../until.ts';
import { RealPair, report } from './real-pair.ts';

const mebibyte = 1024 ** 2;
const gibibyte = 1024 ** 3;
const commandDeadlineMs = 30_000;
const failoverDeadlineMs = 30_000;

let pair: RealPair | undefined;

/** Random writes all over the volume of A until somebody ends them. */
function writeEverywhere(lab: LabCluster, sizeBytes: number): ChildProcess {
  const args = ['--name=everywhere', '--ioengine=nbd', `--uri=${lab.nodes.A.nbdUri}`, '--rw=randwrite'];
  args.push('--bs=4096', '--iodepth=16', `--size=${sizeBytes}`, '--time_based', '--runtime=300');
  return spawn('fio', args, { stdio: 'ignore' });
}

async function writes(of: RealPair, count: number): Promise<void> {
  const written = async (): Promise<boolean> => ((await of.status('A')).counters['writes'] ?? 0) >= count;
  await until(`${count} writes`, written, 60_000);
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/** Data in the first bytes of a disk file that has no equal blocks. */
function writeData(file: string, lengthBytes: number): void {
  const fd = openSync(file, 'r+');
  for (let at = 0; at < lengthBytes; at += blockSizeBytes) {
    const block = new Uint32Array(blockSizeBytes / 4).map(
      (_word, index) => (at / blockSizeBytes + 1) * 7919 + index,
    );
    writeSync(fd, block, 0, block.byteLength, at);
  }
  closeSync(fd);
}

describe('a resync of a real pair', () => {
  afterEach(async () => {
    await pair?.end();
    pair = undefined;
  });

  it('64 GiB under random writes all over it, the primary loses power: at most 2 % are examined when it is back', async () => {
    const sizeBytes = 64 * gibibyte;
    pair = await RealPair.start({ sizeBytes, timerProfile: 'fast' });
    const guest = writeEverywhere(pair.lab, sizeBytes);
    try {
      await writes(pair, 1500);
    } finally {
      await pair.lab.powerOff('A');
      await killed(guest);
    }
    await pair.waitFor('B', 'ALONE', 'ready', failoverDeadlineMs);
    await pair.lab.startMachine('A');
    await pair.inSync();
    const resync = await pair.expectSmallResync('B');
    expect(resync.examinedBytes).to.be.above(100 * extentSizeBytes);
    expect(resync.examinedBytes).to.be.at.most(0.02 * sizeBytes);
    expect(hotExtentsMax * extentSizeBytes).to.be.at.most(gibibyte);
    await pair.expectEqualFiles();
  });

  it('64 GiB under random writes all over it, the module of the primary is killed: at most 2 % are examined', async () => {
    const sizeBytes = 64 * gibibyte;
    pair = await RealPair.start({ sizeBytes });
    const guest = writeEverywhere(pair.lab, sizeBytes);
    try {
      await writes(pair, 1500);
      const { instance } = await pair.status('A');
      pair.lab.killModule('A');
      const { lab } = pair;
      const isNew = async (): Promise<boolean> => {
        const status = await lab.moduleStatus('A');
        return status !== undefined && status.instance !== instance;
      };
      await until('a new module', isNew, commandDeadlineMs);
    } finally {
      await killed(guest);
    }
    await pair.inSync();
    // Usually A; on a machine that starts the module late, B went on alone meanwhile.
    const resync = await pair.expectSmallResync(await pair.primary());
    expect(resync.examinedBytes).to.be.above(100 * extentSizeBytes);
    expect(resync.examinedBytes).to.be.at.most(0.02 * sizeBytes);
    await pair.expectEqualFiles();
  });

  it('a copy that was brought by other means: the first sync sends only the blocks that differ', async () => {
    const dataBytes = 128 * mebibyte;
    const differing = [3, 4, 700, 1500];
    pair = await RealPair.start({
      sizeBytes: gibibyte,
      prepare: ({ nodes }) => {
        writeData(nodes.A.diskFile, dataBytes);
        copyFileSync(nodes.A.diskFile, nodes.B.diskFile);
        const fd = openSync(nodes.A.diskFile, 'r+');
        for (const block of differing) writeSync(fd, 'changed since', block * blockSizeBytes + 100);
        closeSync(fd);
      },
    });
    const { lastResync } = await pair.status('A');
    report(`${(lastResync?.sentBytes ?? 0) / blockSizeBytes} blocks sent in ${lastResync?.elapsedMs} ms`);
    expect(lastResync?.sentBytes).to.equal(differing.length * blockSizeBytes);
    expect((await pair.status('B')).lastResync).to.include({
      direction: 'target',
      totalBytes: gibibyte,
      examinedBytes: gibibyte,
      sentBytes: differing.length * blockSizeBytes,
    });
    await pair.expectEqualFiles();
  });

  it('the module of the source is killed in the middle of the first copy: it goes on with what is left', async () => {
    const dataBytes = 320 * mebibyte;
    pair = await RealPair.start({
      sizeBytes: dataBytes,
      prepare: ({ nodes }) => {
        writeData(nodes.A.diskFile, dataBytes);
        for (const node of labNodes)
          appendFileSync(nodes[node].moduleFile, 'resync: { maxMibPerSecond: 20 }\n');
      },
      start: async (lab) => {
        await lab.startMachine('witness');
        await Promise.all(labNodes.map((node) => lab.startMachine(node)));
        await lab.call('A', 'prim', {}, commandDeadlineMs);
        await lab.call('B', 'start', {}, commandDeadlineMs);
      },
    });
    const { lab } = pair;
    // By then a checkpoint has been made of what a flush before it covered.
    await until(
      'the copy is half done',
      async () => ((await lab.moduleStatus('A'))?.resync?.examinedBytes ?? 0) > dataBytes / 2,
      60_000,
    );
    const { instance } = await pair.status('A');
    lab.killModule('A');
    const resumed = await until(
      'the copy goes on',
      async () => {
        const status = await lab.moduleStatus('A');
        return status !== undefined && status.instance !== instance ? status.resync : undefined;
      },
      30_000,
    );
    report(`${resumed.totalBytes / mebibyte} of ${dataBytes / mebibyte} MiB were left`);
    expect(resumed.totalBytes).to.be.below(dataBytes * 0.9);
    await pair.inSync();
    await pair.expectEqualFiles();
  });
});
