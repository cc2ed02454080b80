/** A node of a real pair whose disk is full, on a small file system of its own. Needs root to mount it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { createLabIssuer } from '../../src/lab/lab-identities.ts';
import { LabCluster } from '../../src/lab/pair.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';

const volumeBytes = 64 * 1024 ** 2;
const pieceBytes = 1024 ** 2;
const waitMs = 20_000;

describe('a secondary without room', function () {
  this.timeout(120_000);
  let directory: TempDirectory;
  let small: string;
  let lab: LabCluster;

  before(async () => {
    directory = makeTempDirectory();
    small = join(directory.path, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', small]);
    lab = await LabCluster.create({
      directory: join(directory.path, 'lab'),
      sizeBytes: volumeBytes,
      issuer: createLabIssuer,
    });
    const file = join(small, 'disk0.img');
    writeFileSync(file, '');
    truncateSync(file, volumeBytes);
    rmSync(lab.nodes.B.diskFile);
    symlinkSync(file, lab.nodes.B.diskFile);
    await lab.start();
  });

  after(async () => {
    await lab.stop();
    execFileSync('umount', [small]);
    directory.remove();
  });

  it('leaves and says so, the primary goes on alone, and comes back by itself after room was made', async () => {
    const client = await connectNbd({ path: lab.nodes.A.paths.nbd('disk0') }, 'disk0', {
      clock: systemClock,
    });
    for (let piece = 0; piece < 32; piece += 1) {
      await client.write(piece * pieceBytes, Buffer.alloc(pieceBytes, piece + 1));
    }
    await client.flush();
    client.destroy();
    const secondary = await until(
      'B has left',
      async () => {
        const status = await lab.moduleStatus('B');
        return status?.readiness === 'not-ready' && status.because.includes('there is no room')
          ? status
          : undefined;
      },
      waitMs,
    );
    expect([secondary.state, secondary.axes.data]).to.deep.equal(['WAIT', 'outdated']);
    const primary = await until(
      'A is alone and says why',
      async () => {
        const status = await lab.moduleStatus('A');
        return status?.because.includes('no room') === true ? status : undefined;
      },
      waitMs,
    );
    expect([primary.state, primary.readiness]).to.deep.equal(['ALONE', 'ready']);
    execFileSync('mount', ['-o', 'remount,size=96m', small]);
    await lab.waitInSync(waitMs);
    expect(readFileSync(lab.nodes.A.diskFile).equals(readFileSync(lab.nodes.B.diskFile))).to.equal(true);
  });
});
