/**
 * Other people's NBD clients against this server, over a unix socket, with a disk in memory. Needs nbdinfo and nbdcopy,
 * qemu-img and qemu-io, and fio with its nbd engine. What is not verified here: durability (the disk is memory).
 */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { silentLog } from '../../src/base/log.ts';
import { ExportTable } from '../../src/nbd/export-table.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';
import { NbdListener } from '../../src/platform/nbd-listener.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { MemoryDevice } from '../nbd/memory-device.ts';

const mebibyte = 1024 * 1024;
const sizeBytes = 64 * mebibyte;
const toolTimeoutMs = 60_000;

interface ToolResult {
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
}

function runTool(command: string, args: readonly string[]): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: toolTimeoutMs });
    let output = '';
    let errors = '';
    child.stdout.on('data', (text: Buffer) => {
      output += text.toString();
    });
    child.stderr.on('data', (text: Buffer) => {
      errors += text.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output, errors }));
  });
}

/** Runs a tool that must succeed. */
async function tool(command: string, ...args: readonly string[]): Promise<string> {
  const { code, output, errors } = await runTool(command, args);
  expect(code, `${command} ${args.join(' ')}: ${output}${errors}`).to.equal(0);
  return output;
}

const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** A file with data, a hole of zeroes and data again. */
function patchyContent(): Uint8Array {
  const content = new Uint8Array(sizeBytes);
  content.set(randomBytes(5 * mebibyte + 12_288), 0);
  content.set(randomBytes(3 * mebibyte), 40 * mebibyte);
  return content;
}

describe('NBD server with the usual clients', function () {
  this.timeout(toolTimeoutMs);
  let folder: string;
  let device: MemoryDevice;
  let exports: ExportTable;
  let listener: NbdListener;
  let path: string;
  let uri: string;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'vmpair-nbd-'));
    path = join(folder, 'nbd.sock');
    uri = `nbd+unix:///disk0?socket=${path}`;
    device = new MemoryDevice(sizeBytes);
    device.later = true;
    exports = new ExportTable();
    exports.serve('disk0', device);
    listener = await NbdListener.listen({ path }, { exports, clock: systemClock, log: silentLog });
  });

  afterEach(async () => {
    await listener.close('the test is over');
    rmSync(folder, { recursive: true });
  });

  it('nbdinfo sees what is offered', async () => {
    const info = JSON.parse(await tool('nbdinfo', '--json', uri)) as Record<string, unknown> & {
      exports: Record<string, unknown>[];
    };
    expect(info).to.deep.include({ protocol: 'newstyle-fixed', TLS: false, structured: true });
    expect(info.exports[0]).to.deep.include({
      'export-name': 'disk0',
      'export-size': sizeBytes,
      contexts: ['base:allocation'],
      is_read_only: false,
      can_df: true,
      can_fast_zero: true,
      can_flush: true,
      can_fua: true,
      can_multi_conn: true,
      can_trim: true,
      can_zero: true,
      block_size_minimum: 1,
      block_size_preferred: 4096,
      block_size_maximum: 32 * mebibyte,
    });
  });

  it('nbdinfo lists the exports', async () => {
    exports.serve('disk1', new MemoryDevice(4096), { readOnly: true });
    exports.withhold('disk2', 'the other node has the VM');
    const text = await tool('nbdinfo', '--list', '--json', `nbd+unix:///?socket=${path}`);
    const list = JSON.parse(text) as { exports: { 'export-name': string; is_read_only: boolean }[] };
    expect(list.exports.map((entry) => entry['export-name'])).to.deep.equal(['disk0', 'disk1']);
    expect(list.exports[1]?.is_read_only).to.equal(true);
  });

  it('a withheld export is refused with the reason that an administrator reads', async () => {
    exports.withhold('disk0', 'the other node has the VM');
    const nbdinfo = await runTool('nbdinfo', [uri]);
    expect(nbdinfo.code).to.not.equal(0);
    const image = await runTool('qemu-img', ['info', '--image-opts', `driver=nbd,export=disk0,path=${path}`]);
    expect(image.code).to.not.equal(0);
    expect(image.errors).to.contain('the other node has the VM');
  });

  it('nbdcopy brings a file there and back over four connections', async () => {
    const content = patchyContent();
    const source = join(folder, 'source.raw');
    const target = join(folder, 'target.raw');
    writeFileSync(source, content);
    await tool('nbdcopy', '--connections=4', '--flush', source, uri);
    expect(hash(device.bytes)).to.equal(hash(content));
    expect(device.calls.some((call) => call.name === 'flush')).to.equal(true);
    await tool('nbdcopy', '--connections=4', uri, target);
    expect(hash(readFileSync(target))).to.equal(hash(content));
  });

  it('qemu-img converts into the export, compares, and maps its holes', async () => {
    const content = patchyContent();
    const source = join(folder, 'source.raw');
    writeFileSync(source, content);
    await tool('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', source, uri);
    expect(hash(device.bytes)).to.equal(hash(content));
    await tool('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source, uri);
    const map = JSON.parse(await tool('qemu-img', 'map', '-f', 'raw', '--output=json', uri)) as {
      start: number;
      length: number;
      zero: boolean;
    }[];
    expect(map.map(({ start, length, zero }) => ({ start, length, zero }))).to.deep.equal([
      { start: 0, length: 5 * mebibyte + 12_288, zero: false },
      { start: 5 * mebibyte + 12_288, length: 35 * mebibyte - 12_288, zero: true },
      { start: 40 * mebibyte, length: 3 * mebibyte, zero: false },
      { start: 43 * mebibyte, length: 21 * mebibyte, zero: true },
    ]);
  });

  it('qemu-io reads, writes, discards and zeroes', async () => {
    const commands = [
      'write -P 0xaa 0 1M',
      'write -f -P 0xbb 64k 64k',
      'read -P 0xaa 0 64k',
      'read -P 0xbb 64k 64k',
      'read -P 0xaa 128k 896k',
      'write -P 0xcc 511 1',
      'read -P 0xcc 511 1',
      'write -z 256k 64k',
      'read -P 0 256k 64k',
      'write -z -u 320k 64k',
      'read -P 0 320k 64k',
      'discard 512k 64k',
      'read -P 0 512k 64k',
      'flush',
      'aio_write -P 0x11 2M 32M',
      'aio_flush',
      'read -P 0x11 2M 32M',
    ];
    const output = await tool('qemu-io', '-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri);
    expect(output).to.not.match(/failed|error/i);
    const seen = device.calls;
    expect(seen.some((call) => call.name === 'write' && call.fua === true)).to.equal(true);
    expect(seen.some((call) => call.name === 'trim')).to.equal(true);
    expect(seen.some((call) => call.name === 'zero' && call.zero?.mayPunch === false)).to.equal(true);
    expect(seen.some((call) => call.name === 'zero' && call.zero?.mayPunch === true)).to.equal(true);
  });

  it('qemu-io is told of a failing disk and of a full one', async () => {
    device.failures.push('no-space');
    const full = await runTool('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', uri]);
    expect(full.output + full.errors).to.contain('No space left on device');
    device.failures.push('io-error');
    const failing = await runTool('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', uri]);
    expect(failing.output + failing.errors).to.contain('Input/output error');
  });

  it('fio verifies what it wrote at random, from two jobs with a connection each', async () => {
    device.recordCalls = false;
    const text = await tool(
      'fio',
      '--name=verify',
      '--ioengine=nbd',
      `--uri=${uri}`,
      '--rw=randwrite',
      '--bsrange=512-64k',
      '--iodepth=16',
      '--size=16m',
      '--numjobs=2',
      '--offset_increment=32m',
      '--verify=crc32c',
      '--do_verify=1',
      '--verify_state_save=0',
      '--verify_fatal=1',
      '--fsync=32',
      '--output-format=json',
    );
    const report = JSON.parse(text.slice(text.indexOf('{'))) as {
      jobs: { error: number; read: { io_bytes: number }; write: { io_bytes: number } }[];
    };
    expect(report.jobs).to.have.length(2);
    for (const job of report.jobs) {
      expect(job.error).to.equal(0);
      expect(job.write.io_bytes).to.be.at.least(16 * mebibyte);
      expect(job.read.io_bytes).to.be.at.least(16 * mebibyte);
    }
  });

  it('two connections see each other, and one that dies takes nothing with it', async () => {
    const first = await connectNbd({ path }, 'disk0', { clock: systemClock });
    const second = await connectNbd({ path }, 'disk0', { clock: systemClock });
    await first.write(0, new Uint8Array(4096).fill(7));
    expect((await second.read(0, 4096))[4095]).to.equal(7);
    first.destroy();
    await first.ended;
    await second.flush();
    expect(await second.disconnect()).to.be.a('string');
  });
});
