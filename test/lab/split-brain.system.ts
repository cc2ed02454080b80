/**
 * A real split brain: no arbiter, both nodes may go on alone, the link is cut, both sides are written to. Then one copy is given up by
 * command, and its side file is compared with what was written there. Guests are NBD clients; a VM is not part of it.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import type { ModuleStatus } from '../../src/base/status.ts';
import { inspectSideFile } from '../../src/cli/inspect-command.ts';
import { sideFileDataOffsetBytes } from '../../src/disk/side-file.ts';
import { createLabIssuer } from '../../src/lab/lab-identities.ts';
import { type LabNode, labNodes, labVolume } from '../../src/lab/lab-layout.ts';
import { LabCluster } from '../../src/lab/pair.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';
import { programPath } from '../../src/platform/program-path.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';
import { buildPrograms } from './real-pair.ts';

const mebibyte = 1024 ** 2;
const volumeBytes = 256 * mebibyte;
const pieceBytes = mebibyte;
const waitMs = 60_000;
const commandDeadlineMs = 60_000;

describe('a real split brain', function () {
  this.timeout(240_000);
  let directory: TempDirectory;
  let lab: LabCluster;

  before(async () => {
    buildPrograms();
    directory = makeTempDirectory();
    lab = await LabCluster.create({
      directory: directory.file('lab'),
      sizeBytes: volumeBytes,
      issuer: createLabIssuer,
      timerProfile: 'fast',
    });
    for (const node of labNodes) {
      const { moduleFile } = lab.nodes[node];
      const config = parse(readFileSync(moduleFile, 'utf8')) as Record<string, unknown>;
      writeFileSync(moduleFile, stringify({ ...config, arbiter: { kind: 'none', allowSplitBrain: true } }));
    }
    await lab.start();
  });

  after(async () => {
    await lab.stop();
    directory.remove();
  });

  async function write(node: LabNode, at: number, bytes: Buffer): Promise<void> {
    const path = lab.nodes[node].paths.nbd(labVolume);
    const client = await connectNbd({ path }, labVolume, { clock: systemClock });
    await client.write(at, bytes);
    await client.flush();
    await client.disconnect();
  }

  function bytesOf(file: string, at: number): Buffer {
    const fd = openSync(file, 'r');
    const bytes = Buffer.alloc(pieceBytes);
    readSync(fd, bytes, 0, pieceBytes, at);
    closeSync(fd);
    return bytes;
  }

  async function vmpair(node: LabNode, ...args: string[]) {
    const command = [programPath('src/cli/main'), ...args, '--control', lab.nodes[node].paths.control];
    const child = spawn(process.execPath, [...process.execArgv, ...command], { timeout: commandDeadlineMs });
    let text = '';
    child.stdout.on('data', (bytes) => (text += String(bytes)));
    child.stderr.on('data', (bytes) => (text += String(bytes)));
    const [status] = (await once(child, 'close')) as [number | null];
    return { status, text };
  }

  const waitFor = (
    what: string,
    node: LabNode,
    test: (status: ModuleStatus) => boolean,
  ): Promise<ModuleStatus> =>
    until(
      what,
      async () => {
        const status = await lab.moduleStatus(node);
        return status !== undefined && test(status) ? status : undefined;
      },
      waitMs,
    );

  it('both go on, are shown what each wrote, and one is given up: its blocks are in a side file, and little is copied', async () => {
    const [common, ofA, ofB] = [randomBytes(pieceBytes), randomBytes(pieceBytes), randomBytes(pieceBytes)];
    await write('A', 0, common);
    lab.cut();
    for (const node of labNodes)
      await waitFor(`${node} goes on alone`, node, ({ state }) => state === 'ALONE');
    await write('A', 8 * mebibyte, ofA);
    await write('B', 8 * mebibyte, ofB);
    await write('B', 32 * mebibyte, ofB);
    lab.heal();
    const seen = await waitFor('A knows what B wrote', 'A', ({ split }) => split?.sides.length === 2);
    expect([seen.state, seen.readiness]).to.deep.equal(['ALONE', 'not-ready']);
    const amounts = new Map(seen.split?.sides.map(({ node, writtenBytes }) => [node, writtenBytes]));
    expect([amounts.get('A'), amounts.get('B')]).to.deep.equal([pieceBytes, 2 * pieceBytes]);
    expect((await vmpair('A', 'status')).text).to.contain('B wrote 2 MiB of disk0');

    const refused = await vmpair('A', 'resolve', '--keep', 'A');
    expect(refused.status, refused.text).to.equal(4);
    const since = /--lose-since (\S+)/u.exec(refused.text)?.[1] ?? '';
    expect(refused.text).to.contain('is given up');
    await write('B', 33 * mebibyte, ofB);
    const done = await vmpair('A', 'resolve', '--keep', 'A', '--lose-since', since);
    expect(done.status, done.text).to.equal(0);

    await waitFor(
      'the pair is in sync',
      'B',
      ({ state, readiness }) => state === 'SECOND' && readiness === 'ready',
    );
    const whole = await waitFor(
      'A is primary',
      'A',
      ({ state, readiness }) => state === 'PRIM' && readiness === 'ready',
    );
    expect(whole.lastResync?.totalBytes, 'bytes examined').to.be.at.most(4 * pieceBytes);
    expect(whole.split).to.equal(undefined);
    const { sideFiles = [] } = (await lab.moduleStatus('B')) as ModuleStatus;
    expect(sideFiles.length).to.equal(1);
    const [file] = sideFiles as [string];
    const report = inspectSideFile(file);
    if (typeof report === 'string') return expect.fail(report);
    expect(report).to.include({ node: 'B', kept: 'A', volume: labVolume });
    expect([report.damaged, report.since]).to.deep.equal([[], since]);
    for (const at of [8, 32, 33])
      expect(bytesOf(file, sideFileDataOffsetBytes + at * mebibyte).equals(ofB), `${at} MiB`).to.equal(true);
    expect((await vmpair('B', 'status')).text).to.contain(file);
    for (const node of labNodes) {
      const { diskFile } = lab.nodes[node];
      expect(bytesOf(diskFile, 8 * mebibyte).equals(ofA), `${node} has what A wrote`).to.equal(true);
      expect(bytesOf(diskFile, 0).equals(common)).to.equal(true);
      expect(bytesOf(diskFile, 32 * mebibyte).equals(Buffer.alloc(pieceBytes))).to.equal(true);
    }
  });
});
