/** The usual NBD tools against a real pair: what they write is read back, and is in both files byte for byte, sparsely. */
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { expect } from 'chai';
import { labNodes, labVolume } from '../../src/lab/lab-layout.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { RealPair, report, runTool } from './real-pair.ts';

const mebibyte = 1024 ** 2;
const sizeBytes = 1024 * mebibyte;

describe('the usual NBD tools at a real pair', () => {
  let pair: RealPair;
  let uri: string;
  before(async () => {
    pair = await RealPair.start({ sizeBytes });
    uri = pair.lab.nodes.A.nbdUri;
  });
  after(() => pair?.end());

  async function onVolume(
    work: (client: Awaited<ReturnType<typeof connectNbd>>) => Promise<void>,
  ): Promise<void> {
    const client = await connectNbd({ path: pair.socketPath('A') }, labVolume, { clock: systemClock });
    await work(client);
    await client.flush();
    await client.disconnect();
  }

  /** A sparse image as large as the volume: data, a hole, data, a hole. */
  function patchyImage(name: string): string {
    const file = pair.temp.file(name);
    const fd = openSync(file, 'w');
    ftruncateSync(fd, sizeBytes);
    writeSync(fd, randomBytes(5 * mebibyte + 12_288), 0, undefined, 3 * mebibyte);
    writeSync(fd, randomBytes(7 * mebibyte), 0, undefined, 700 * mebibyte);
    closeSync(fd);
    return file;
  }

  /** Both files take about `wantedBytes` on disk. */
  function expectSparse(wantedBytes: number): void {
    for (const node of labNodes) {
      const bytes = pair.allocatedBytes(node);
      expect(bytes, `allocated on ${node}`).to.be.within(wantedBytes, wantedBytes + 8 * mebibyte);
    }
  }

  const zeroAll = (): Promise<void> => onVolume((client) => client.zero(0, sizeBytes));

  it('a new volume takes no room on either node', () => {
    for (const node of labNodes) expect(pair.allocatedBytes(node)).to.equal(0);
  });

  it('nbdinfo tells what is offered, and the secondary offers nothing', async () => {
    const info = JSON.parse(await runTool('nbdinfo', '--json', uri)) as {
      exports: Record<string, unknown>[];
    };
    expect(info.exports[0]).to.include({
      'export-name': labVolume,
      'export-size': sizeBytes,
      is_read_only: false,
      can_flush: true,
      can_fua: true,
      can_trim: true,
      can_zero: true,
      can_multi_conn: true,
    });
    const refused = await connectNbd({ path: pair.socketPath('B') }, labVolume, { clock: systemClock }).catch(
      (error: unknown) => error,
    );
    expect(refused).to.include({ code: 'nbd-export-refused' });
  });

  it('fio verifies what it wrote at random, and both copies are equal', async () => {
    const text = await runTool(
      'fio',
      '--name=verify',
      '--ioengine=nbd',
      `--uri=${uri}`,
      '--rw=randwrite',
      '--bsrange=512-64k',
      '--iodepth=16',
      '--size=48m',
      '--numjobs=2',
      '--offset_increment=256m',
      '--verify=crc32c',
      '--do_verify=1',
      '--verify_state_save=0',
      '--verify_fatal=1',
      '--fsync=64',
      '--output-format=json',
    );
    const result = JSON.parse(text.slice(text.indexOf('{'))) as {
      jobs: { error: number; read: { io_bytes: number }; write: { io_bytes: number; iops: number } }[];
    };
    expect(result.jobs).to.have.length(2);
    for (const { error, read, write } of result.jobs) {
      expect(error).to.equal(0);
      expect(write.io_bytes).to.be.at.least(48 * mebibyte);
      expect(read.io_bytes).to.be.at.least(48 * mebibyte);
      report(`${write.iops.toFixed(0)} writes/s`);
    }
    await onVolume(async () => {});
    await pair.expectEqualFiles();
    expectSparse(96 * mebibyte);
  });

  it('nbdcopy brings a sparse image there and back, and it stays sparse on both nodes', async () => {
    await zeroAll();
    const source = patchyImage('source.raw');
    const target = pair.temp.file('target.raw');
    await runTool('nbdcopy', '--connections=4', '--flush', source, uri);
    await runTool('nbdcopy', '--connections=4', uri, target);
    await runTool('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source, target);
    await pair.expectEqualFiles();
    expectSparse(12 * mebibyte);
  });

  it('qemu-img converts into the volume, compares it, and finds the image in both files', async () => {
    await zeroAll();
    const source = patchyImage('converted.raw');
    await runTool('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', source, uri);
    await runTool('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source, uri);
    await pair.expectEqualFiles();
    await runTool('cmp', source, pair.lab.nodes.B.diskFile);
    expectSparse(12 * mebibyte);
  });

  it('what is discarded and zeroed is given back on both nodes', async () => {
    const commands = [
      'write -P 0xaa 900M 16M',
      'discard 900M 8M',
      'write -z -u 908M 4M',
      'write -z 912M 1M',
      'flush',
    ];
    await zeroAll();
    await runTool('qemu-io', '-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri);
    await pair.expectEqualFiles();
    expectSparse(3 * mebibyte);
    await zeroAll();
    expectSparse(0);
  });
});
