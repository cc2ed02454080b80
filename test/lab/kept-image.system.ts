/**
 * A real pair whose secondary stands on a file system that can clone files (XFS in a loop device; needs root): the source is lost
 * in the middle of a resync, and the VM's disk is served from the earlier image by an explicit command.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  openSync,
  readSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { createLabIssuer } from '../../src/lab/lab-identities.ts';
import { labVolume } from '../../src/lab/lab-layout.ts';
import { LabCluster } from '../../src/lab/pair.ts';
import { imageFileOf, manifestFileOf } from '../../src/platform/kept-image-files.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';
import { programPath } from '../../src/platform/program-path.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { mountXfs, type SmallFileSystem } from '../small-file-system.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';
import { buildPrograms } from './real-pair.ts';

const mebibyte = 1024 ** 2;
const volumeBytes = 1024 * mebibyte;
const pieceBytes = 4 * mebibyte;
const waitMs = 60_000;
const commandDeadlineMs = 60_000;

describe('the earlier image of a real resync target', function () {
  this.timeout(240_000);
  let directory: TempDirectory;
  let xfs: SmallFileSystem;
  let lab: LabCluster;
  let disk: string;

  before(async () => {
    buildPrograms();
    directory = makeTempDirectory();
    xfs = mountXfs(directory, 'disks', 4 * volumeBytes);
    lab = await LabCluster.create({
      directory: directory.file('lab'),
      sizeBytes: volumeBytes,
      issuer: createLabIssuer,
      timerProfile: 'fast',
    });
    disk = join(xfs.path, 'disk0.img');
    writeFileSync(disk, '');
    truncateSync(disk, volumeBytes);
    rmSync(lab.nodes.B.diskFile);
    symlinkSync(disk, lab.nodes.B.diskFile);
    await lab.start();
  });

  after(async () => {
    await lab.stop();
    xfs.unmount();
    directory.remove();
  });

  /** Different bytes in every piece, so that a mixture of old and new shows. */
  async function write(seed: Buffer, bytes: number): Promise<void> {
    const client = await connectNbd({ path: lab.nodes.A.paths.nbd(labVolume) }, labVolume, {
      clock: systemClock,
    });
    for (let at = 0; at < bytes; at += pieceBytes) {
      seed.writeUInt32LE(at / pieceBytes, 0);
      await client.write(at, Buffer.from(seed));
    }
    await client.flush();
    await client.disconnect();
  }

  function expectHolds(file: string, seed: Buffer, bytes: number): void {
    const fd = openSync(file, 'r');
    const piece = Buffer.alloc(pieceBytes);
    for (let at = 0; at < bytes; at += pieceBytes) {
      readSync(fd, piece, 0, pieceBytes, at);
      seed.writeUInt32LE(at / pieceBytes, 0);
      expect(piece.equals(seed), `${file} at ${at}`).to.equal(true);
    }
    closeSync(fd);
  }

  async function vmpair(...args: string[]) {
    const command = [programPath('src/cli/main'), ...args, '--control', lab.nodes.B.paths.control];
    const child = spawn(process.execPath, [...process.execArgv, ...command], { timeout: commandDeadlineMs });
    let text = '';
    child.stdout.on('data', (bytes) => (text += String(bytes)));
    child.stderr.on('data', (bytes) => (text += String(bytes)));
    const [status] = (await once(child, 'close')) as [number | null];
    return { status, text };
  }

  it('the source is lost in mid-resync: the copy does not start by itself, and starts from the image by a command that names the loss', async () => {
    const old = randomBytes(pieceBytes);
    const writtenBytes = 768 * mebibyte;
    await write(old, writtenBytes);
    await lab.powerOff('B');
    await until('A goes on alone', async () => (await lab.moduleStatus('A'))?.state === 'ALONE', waitMs);
    await write(randomBytes(pieceBytes), writtenBytes);
    const source = (await lab.moduleStatus('A'))?.pid ?? 0;
    const started = lab.startMachine('B');
    await until(
      'B is half a copy',
      async () => {
        if ((await lab.moduleStatus('B'))?.axes.data !== 'inconsistent') return false;
        // At once: finding all processes of a machine takes longer than the rest of the resync may.
        process.kill(source, 'SIGSTOP');
        return true;
      },
      waitMs,
    );
    await lab.powerOff('A');
    await started;
    const status = await until(
      'B waits',
      async () => {
        const now = await lab.moduleStatus('B');
        return now?.axes.link === 'down' && now.state === 'WAIT' ? now : undefined;
      },
      waitMs,
    );
    expect(status.axes.data, 'the source was lost in the middle').to.equal('inconsistent');
    expect(status.keptImage?.kept, status.keptImage?.because).to.equal(true);
    expectHolds(imageFileOf(disk), old, writtenBytes);
    const contentOf = status.keptImage?.contentOf ?? '';

    const refusedPrim = await vmpair('prim');
    expect([refusedPrim.status, refusedPrim.text.includes('--from-kept-image')]).to.deep.equal([4, true]);
    const refused = await until(
      'the peer is silent long enough',
      async () => {
        const answer = await vmpair('prim', '--from-kept-image');
        return answer.text.includes('--lose-since') ? answer : undefined;
      },
      waitMs,
    );
    expect(refused.status).to.equal(4);
    expect(refused.text)
      .to.contain(`--lose-since ${contentOf} --peer-is-off A`)
      .and.to.contain('its VM may still run');
    expect((await lab.moduleStatus('B'))?.axes.data).to.equal('inconsistent');

    const done = await vmpair('prim', '--from-kept-image', '--lose-since', contentOf, '--peer-is-off', 'A');
    expect(done.status, done.text).to.equal(0);
    await until('B serves', async () => (await lab.moduleStatus('B'))?.state === 'ALONE', waitMs);
    expectHolds(disk, old, writtenBytes);
    await until('the image is gone', () => !existsSync(imageFileOf(disk)), waitMs);
    expect(existsSync(manifestFileOf(lab.nodes.B.metadataFile))).to.equal(false);

    await lab.startMachine('A');
    const met = await until(
      'A and B refuse each other',
      async () => {
        const now = await lab.moduleStatus('A');
        return now?.because.includes('went on alone') === true ? now : undefined;
      },
      waitMs,
    );
    expect(met.state).to.equal('WAIT');
    expect((await lab.moduleStatus('B'))?.state).to.equal('ALONE');
    expectHolds(disk, old, writtenBytes);
  });
});
