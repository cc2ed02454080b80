/**
 * The store of a witness on real file systems: a copy is told from the original on each, through a remount, and a full disk
 * loses nothing. Needs root, to mount. Not verified: what a loss of power leaves, and what cannot be seen from inside (a
 * snapshot of the whole file system that is put back).
 */
import { execFileSync } from 'node:child_process';
import {
  chownSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { acceptRestored } from '../../src/witness/accept-restored.ts';
import { RecordStore } from '../../src/witness/record-store.ts';
import { errorOf } from '../platform/loopback-pair.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';
import { sampleRecord } from './witness-fixture.ts';

const key = { clusterId: 'c1', moduleId: 'vm1' };
/** The smallest size that each of the file systems accepts, with room. */
const imageBytes = 400 * 1024 * 1024;
const makeCommands = {
  ext4: ['mkfs.ext4', '-q', '-F'],
  xfs: ['mkfs.xfs', '-q'],
  btrfs: ['mkfs.btrfs', '-q'],
} as const;

describe('store of the witness on a file system', function () {
  this.timeout(180_000);
  let directory: TempDirectory;
  let mountPoint = '';
  let stores: RecordStore[] = [];

  beforeEach(() => {
    directory = makeTempDirectory();
    mountPoint = directory.file('mounted');
    mkdirSync(mountPoint);
    stores = [];
  });
  afterEach(async () => {
    for (const store of stores) await store.close();
    await unmount();
    directory.remove();
  });

  const mount = (...args: readonly string[]) => execFileSync('mount', [...args, mountPoint]);
  const isMounted = () => readFileSync('/proc/mounts', 'utf8').includes(` ${mountPoint} `);
  /** The kernel lets go of the files of a store a moment after it was closed. */
  const unmount = () =>
    until(
      `${mountPoint} to be free`,
      () => {
        if (isMounted()) execFileSync('umount', [mountPoint], { stdio: 'ignore' });
        return true;
      },
      20_000,
    );
  const data = () => path.join(mountPoint, 'data');
  async function openStore(): Promise<RecordStore> {
    const store = await RecordStore.open(data(), {
      fatal: (error) => {
        throw error;
      },
    });
    stores.push(store);
    return store;
  }

  for (const [kind, [program, ...args]] of Object.entries(makeCommands)) {
    it(`${kind}: the store is itself after a remount, and its copy is not`, async () => {
      const image = directory.file('image');
      writeFileSync(image, '');
      truncateSync(image, imageBytes);
      execFileSync(program, [...args, image], { stdio: 'ignore' });
      mount('-o', 'loop', image);
      const first = await openStore();
      expect(first.tellsCopies).to.equal(true);
      await first.swap(key, undefined, sampleRecord(1, 'both'), 'alpha');
      await first.close();
      await unmount();
      mount('-o', 'loop', image);
      const again = await openStore();
      expect(again.id).to.equal(first.id);
      expect(await again.read(key)).to.deep.equal(sampleRecord(1, 'both'));
      await again.close();
      const backup = directory.file('backup.tar');
      execFileSync('tar', ['--create', '--file', backup, '--directory', mountPoint, 'data']);
      rmSync(data(), { recursive: true });
      execFileSync('tar', ['--extract', '--file', backup, '--directory', mountPoint]);
      expect((await errorOf(openStore())).code).to.equal('store-restored');
    });
  }

  it('of another user: what root accepted for it can be read by that user', async () => {
    mount('-t', 'tmpfs', '-o', 'size=1m', 'none');
    await (await openStore()).close();
    const owner = 65_534;
    for (const name of ['', 'lock', 'store-id']) chownSync(path.join(data(), name), owner, owner);
    await acceptRestored(data(), true);
    for (const name of ['lock', 'store-id']) expect(statSync(path.join(data(), name)).uid).to.equal(owner);
  });

  it('tmpfs: a copy of the store is told from it', async () => {
    mount('-t', 'tmpfs', '-o', 'size=1m', 'none');
    const store = await openStore();
    await store.swap(key, undefined, sampleRecord(1, 'both'), 'alpha');
    await store.close();
    cpSync(data(), path.join(mountPoint, 'copy'), { recursive: true, preserveTimestamps: true });
    rmSync(data(), { recursive: true });
    cpSync(path.join(mountPoint, 'copy'), data(), { recursive: true, preserveTimestamps: true });
    expect((await errorOf(openStore())).code).to.equal('store-restored');
  });

  it('without room: each swap fails and says so, the records are as before, and with room it goes on', async () => {
    mount('-t', 'tmpfs', '-o', 'size=256k', 'none');
    const store = await openStore();
    await store.swap(key, undefined, sampleRecord(1, 'both'), 'alpha');
    const filler = path.join(mountPoint, 'filler');
    expect(() => writeFileSync(filler, Buffer.alloc(1024 * 1024))).to.throw(/ENOSPC/);
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const error = await errorOf(
        store.swap(key, sampleRecord(1, 'both'), sampleRecord(2, 'alpha'), 'alpha'),
      );
      expect(error.code).to.equal('storage-failed');
      expect(error.found).to.match(/ENOSPC/);
      expect(error.next).to.match(/make room .* goes on by itself/);
      const further = store.swap({ ...key, moduleId: 'vm2' }, undefined, sampleRecord(1, 'both'), 'alpha');
      expect((await errorOf(further)).code).to.equal('storage-failed');
    }
    expect(readdirSync(data()).filter((name) => name.endsWith('.tmp'))).to.deep.equal([]);
    expect(await store.read(key)).to.deep.equal(sampleRecord(1, 'both'));
    expect(await store.read({ ...key, moduleId: 'vm2' })).to.equal(undefined);
    unlinkSync(filler);
    const claim = await store.swap(key, sampleRecord(1, 'both'), sampleRecord(2, 'alpha'), 'alpha');
    expect(claim.action.kind).to.equal('write');
    await store.close();
    expect(await (await openStore()).read(key)).to.deep.equal(sampleRecord(2, 'alpha'));
  });
});
