/**
 * Disk and metadata files against the real system: other processes, tools, users, full and foreign file systems. Needs
 * root (mount, change of user) and qemu-img.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { metadataSizeBytes } from '../../src/disk/metadata-store.ts';
import { DiskFile } from '../../src/platform/disk-file.ts';
import { createMetadataFile, openMetadataFile } from '../../src/platform/metadata-file.ts';
import { sampleState } from '../disk/sample-state.ts';
import { flush, read, trim, write, zero } from './block-calls.ts';
import { useTemporaryDirectory } from './temporary-directory.ts';

const mebibyte = 2 ** 20;
const gibibyte = 2 ** 30;
const tebibyte = 2 ** 40;
const diskFileModule = new URL('../../src/platform/disk-file.ts', import.meta.url).href;

function close(disk: DiskFile): Promise<void> {
  return new Promise((resolve) => disk.close(resolve));
}

function allocatedBytes(path: string): number {
  return fs.statSync(path).blocks * 512;
}

function openError(path: string, sizeBytes: number): WorldError {
  try {
    DiskFile.open(path, sizeBytes);
  } catch (error) {
    if (error instanceof WorldError) return error;
    throw error;
  }
  throw new Error(`${path} was opened`);
}

describe('disk file on the real system', () => {
  const newPath = useTemporaryDirectory();

  it('stays sparse: writes allocate what they touch, a trim gives it back', async () => {
    const path = newPath();
    DiskFile.create(path, gibibyte);
    expect(allocatedBytes(path)).to.equal(0);
    const disk = DiskFile.open(path, gibibyte);
    expect(await write(disk, 512 * mebibyte, [Buffer.alloc(8 * mebibyte, 1)])).to.equal('ok');
    expect(await flush(disk)).to.equal('ok');
    const written = allocatedBytes(path);
    expect(written).to.be.within(8 * mebibyte, 9 * mebibyte);
    expect(await trim(disk, 512 * mebibyte, 7 * mebibyte)).to.equal('ok');
    expect(await zero(disk, 0, 100 * mebibyte, { mayPunch: true, fast: true })).to.equal('ok');
    expect(allocatedBytes(path)).to.be.within(mebibyte, 2 * mebibyte);
    expect(fs.statSync(path).size).to.equal(gibibyte);
    await close(disk);
  });

  it('is refused to qemu-img while it is held, and given afterwards', async () => {
    const path = newPath();
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1G']);
    const disk = DiskFile.open(path, fs.statSync(path).size);
    const refused = spawnSync('qemu-img', ['info', path], { encoding: 'utf8' });
    expect(refused.status).to.equal(1);
    expect(refused.stderr).to.contain('lock');
    expect(spawnSync('qemu-img', ['info', '-U', path]).status).to.equal(0);
    await close(disk);
    expect(spawnSync('qemu-img', ['info', path]).status).to.equal(0);
  });

  it('held by another process is refused by its number, and free as soon as that one is killed', async () => {
    const path = newPath();
    DiskFile.create(path, mebibyte);
    const program = `
      const { DiskFile } = await import(${JSON.stringify(diskFileModule)});
      DiskFile.open(${JSON.stringify(path)}, ${mebibyte});
      console.log('held');
      setInterval(() => {}, 1000);`;
    const holder = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(holder.stdout, 'data');
      const error = openError(path, mebibyte);
      expect(error.code).to.equal('file-locked');
      expect(error.found).to.contain(`a lock of process ${holder.pid} (`);
    } finally {
      holder.kill('SIGKILL');
      await once(holder, 'close');
    }
    await close(DiskFile.open(path, mebibyte));
  });

  it('that this user may not write is refused', () => {
    const path = newPath();
    DiskFile.create(path, mebibyte);
    fs.chmodSync(path, 0o444);
    fs.chmodSync(new URL('.', `file://${path}`), 0o755);
    process.seteuid?.(65534);
    try {
      expect(openError(path, mebibyte).code).to.equal('file-not-writable');
    } finally {
      process.seteuid?.(0);
    }
  });

  it('that is a running program is refused', () => {
    const path = newPath();
    fs.copyFileSync('/bin/sleep', path);
    fs.chmodSync(path, 0o755);
    const running = spawn(path, ['60'], { stdio: 'ignore' });
    try {
      expect(openError(path, 1).code).to.equal('file-not-writable');
    } finally {
      running.kill('SIGKILL');
    }
  });
});

describe('disk file on a small file system without zero-range', () => {
  let directory = '';
  // Hooks run in this order: unmounted before the directory is removed.
  after(() => execFileSync('umount', [directory]));
  const newPath = useTemporaryDirectory();
  before(() => {
    directory = newPath('tmpfs');
    fs.mkdirSync(directory);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', directory]);
  });

  it('answers no-space when it is full, and goes on when there is room', async () => {
    const path = `${directory}/full`;
    DiskFile.create(path, 16 * mebibyte);
    const disk = DiskFile.open(path, 16 * mebibyte);
    expect(await write(disk, 0, [Buffer.alloc(3 * mebibyte, 1), Buffer.alloc(3 * mebibyte, 2)])).to.equal(
      'no-space',
    );
    expect(await trim(disk, 0, 16 * mebibyte)).to.equal('ok');
    expect(await write(disk, mebibyte, [Buffer.alloc(mebibyte, 1)], true)).to.equal('ok');
    await close(disk);
    fs.unlinkSync(path);
  });

  it('zeroes by writing, and says that this is not fast', async () => {
    const path = `${directory}/zeroes`;
    DiskFile.create(path, 4 * mebibyte);
    const disk = DiskFile.open(path, 4 * mebibyte);
    await write(disk, 0, [Buffer.alloc(3 * mebibyte, 1)]);
    expect(await zero(disk, 100, 2 * mebibyte, { fast: true })).to.equal('not-supported');
    expect(await zero(disk, 100, 2 * mebibyte)).to.equal('ok');
    expect(await zero(disk, 100, 2 * mebibyte, { fast: true })).to.equal('not-supported');
    expect(await zero(disk, 0, 4096, { fast: true, mayPunch: true })).to.equal('ok');
    const bytes = (await read(disk, 0, 3 * mebibyte)) as Buffer;
    const firstOne = bytes.indexOf(1);
    expect(firstOne).to.equal(100 + 2 * mebibyte);
    expect(bytes.subarray(firstOne).equals(Buffer.alloc(bytes.length - firstOne, 1))).to.equal(true);
    await close(disk);
  });

  it('has no room for new metadata: that is said, and nothing is left behind', async () => {
    const path = `${directory}/metadata`;
    const state = { ...sampleState, volumes: [{ name: 'disk0', sizeBytes: 4 * tebibyte }] };
    const result = await new Promise((resolve) => createMetadataFile(path, state, resolve));
    expect(result instanceof WorldError && [result.code, result.found]).to.deep.equal([
      'metadata-io',
      'no-space',
    ]);
    expect(fs.existsSync(path)).to.equal(false);
  });
});

describe('metadata file of a volume of 1 TiB', () => {
  const newPath = useTemporaryDirectory();

  it('opens in less than a second', async () => {
    const path = newPath();
    const state = { ...sampleState, volumes: [{ name: 'disk0', sizeBytes: tebibyte }] };
    const sizeBytes = metadataSizeBytes(state.volumes);
    const created = await new Promise<Parameters<Parameters<typeof createMetadataFile>[2]>[0]>((resolve) =>
      createMetadataFile(path, state, resolve),
    );
    if (created instanceof WorldError) throw created;
    await new Promise<void>((resolve) => created.close(resolve));
    expect(allocatedBytes(path)).to.be.at.least(sizeBytes - 32768);
    const startedMs = performance.now();
    const opened = await new Promise<Parameters<Parameters<typeof openMetadataFile>[2]>[0]>((resolve) =>
      openMetadataFile(path, state, resolve),
    );
    const tookMs = performance.now() - startedMs;
    if (opened instanceof WorldError) throw opened;
    await new Promise<void>((resolve) => opened.close(resolve));
    expect(opened.volumes[0]?.bitmap.blockCount).to.equal(2 ** 24);
    expect(tookMs).to.be.lessThan(1000);
  });
});
