/** Kept images in files: on a file system that can clone (XFS in a loop device; needs root) and on one that cannot (tmpfs). */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { silentLog } from '../../src/base/log.ts';
import type { ImageLineage, KeptImageFacts } from '../../src/cluster/kept-image.ts';
import { imageFileOf, KeptImageFiles, manifestFileOf } from '../../src/platform/kept-image-files.ts';
import { id } from '../disk/sample-state.ts';
import { mountXfs, type SmallFileSystem } from '../small-file-system.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

const mebibyte = 1024 ** 2;
const lineage: ImageLineage = { path: [id(1), id(2)], generation: 2, holder: 'both' };

describe('kept images in files', () => {
  let directory: TempDirectory;
  let xfs: SmallFileSystem;
  let disks: string[];
  let metadata: string;
  before(() => {
    directory = makeTempDirectory();
    xfs = mountXfs(directory, 'disks', 320 * mebibyte);
  });
  after(() => {
    xfs.unmount();
    directory.remove();
  });
  beforeEach(() => {
    metadata = directory.file('vm.meta');
    disks = ['disk0', 'disk1'].map((name) => join(xfs.path, name));
    for (const [index, disk] of disks.entries()) writeFileSync(disk, Buffer.alloc(4 * mebibyte, index + 1));
  });
  afterEach(() => {
    for (const disk of disks) for (const file of [disk, `${disk}.kept-image`]) rmSync(file, { force: true });
    rmSync(manifestFileOf(metadata), { force: true });
  });

  const opened = (files: readonly string[] = disks): KeptImageFiles =>
    new KeptImageFiles(files, metadata, silentLog);

  function keep(images: KeptImageFiles, neededBytes = 0, isWanted = true): Promise<KeptImageFacts | string> {
    return new Promise((resolve) => images.keep(lineage, neededBytes, () => isWanted, resolve));
  }
  const discard = (images: KeptImageFiles): Promise<void> =>
    new Promise((resolve) => images.discard(resolve));
  const restore = (images: KeptImageFiles): Promise<string | undefined> =>
    new Promise((resolve) => images.restore(resolve));

  const files = (): string[] => [...disks.map(imageFileOf), manifestFileOf(metadata)];
  const allThere = (): boolean[] => files().map((file) => existsSync(file));

  it('hold every volume as it was, take no room until something changes, and are found by the next process', async () => {
    const kept = await keep(opened());
    expect(kept).to.deep.include({ ...lineage, files: disks.map(imageFileOf) });
    expect(opened().found).to.deep.equal(kept);
    const { mtimeMs } = statSync(disks[1] as string);
    expect(Date.parse((kept as KeptImageFacts).contentOf)).to.be.closeTo(mtimeMs, 1);
    for (const disk of disks) writeFileSync(disk, Buffer.alloc(4 * mebibyte, 99));
    for (const [index, disk] of disks.entries())
      expect(readFileSync(imageFileOf(disk)).equals(Buffer.alloc(4 * mebibyte, index + 1))).to.equal(true);
  });

  it('are put in the place of the disks, which stay the same files', async () => {
    const images = opened();
    await keep(images);
    const inodes = disks.map((disk) => statSync(disk).ino);
    for (const disk of disks) writeFileSync(disk, Buffer.alloc(4 * mebibyte, 99));
    expect(await restore(images)).to.equal(undefined);
    for (const [index, disk] of disks.entries())
      expect(readFileSync(disk).equals(Buffer.alloc(4 * mebibyte, index + 1))).to.equal(true);
    expect(disks.map((disk) => statSync(disk).ino)).to.deep.equal(inodes);
    expect(allThere()).to.deep.equal([true, true, true]);
    expect(await restore(opened())).to.equal(undefined);
  });

  it('are gone after a discard, also those of an attempt that a crash left without its last step', async () => {
    await keep(opened());
    rmSync(manifestFileOf(metadata));
    expect(opened().found).to.equal(undefined);
    await discard(opened());
    expect(allThere()).to.deep.equal([false, false, false]);
    await discard(opened());
  });

  it('that are not wanted any more when they are complete do not count and leave nothing', async () => {
    expect(await keep(opened(), 0, false)).to.contain('not wanted');
    expect(allThere()).to.deep.equal([false, false, false]);
  });

  it('replace an earlier one that was left behind', async () => {
    await keep(opened());
    writeFileSync(disks[0] as string, Buffer.alloc(4 * mebibyte, 50));
    await keep(opened());
    expect(readFileSync(imageFileOf(disks[0] as string))[0]).to.equal(50);
  });

  it('are not made without room for the resync beside them: the sentence says how much', async () => {
    const fill = join(xfs.path, 'fill');
    execFileSync('fallocate', ['-l', String(200 * mebibyte), fill]);
    try {
      const problem = await keep(opened(), Infinity);
      expect(problem).to.contain('free').and.to.contain('beside it');
      expect(allThere()).to.deep.equal([false, false, false]);
    } finally {
      rmSync(fill);
    }
  });

  it('of which one volume cannot be cloned are not made at all', async () => {
    const small = directory.file('tmpfs');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'tmpfs', small]);
    try {
      const other = join(small, 'disk2');
      writeFileSync(other, Buffer.alloc(mebibyte, 3));
      expect(await keep(opened([...disks, other]))).to.contain('cannot clone files');
      expect(allThere()).to.deep.equal([false, false, false]);
      expect(existsSync(imageFileOf(other))).to.equal(false);
    } finally {
      execFileSync('umount', [small]);
    }
  });
});
