import { copyFileSync, renameSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { silentLog } from '../../src/base/log.ts';
import { DiskFile } from '../../src/platform/disk-file.ts';
import { DiskFileRecord } from '../../src/platform/disk-file-record.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

const sizeBytes = 1024 * 1024;

describe('record of the disk files', () => {
  let temp: TempDirectory;
  beforeEach(() => {
    temp = makeTempDirectory();
  });
  afterEach(() => temp.remove());

  function create(...volumes: readonly string[]): void {
    for (const volume of volumes) DiskFile.create(temp.file(volume), sizeBytes);
  }

  /** As a module opens them. */
  async function open(...volumes: readonly string[]): Promise<DiskFileRecord> {
    const files = [];
    for (const volume of volumes) {
      const file = temp.file(volume);
      const disk = DiskFile.open(file, sizeBytes);
      await new Promise<void>((resolve) => disk.close(resolve));
      files.push({ volume, file, identity: disk.identity });
    }
    return new DiskFileRecord(temp.file('meta'), files, silentLog);
  }

  it('the same file, written and renamed: known; a copy of it in its place: replaced, until it is kept', async () => {
    create('disk0');
    const file = temp.file('disk0');
    const first = await open('disk0');
    expect(first.replaced, 'without a record').to.deep.equal([]);
    await first.keep();
    writeFileSync(file, Buffer.alloc(sizeBytes, 1));
    renameSync(file, `${file}.away`);
    renameSync(`${file}.away`, file);
    expect((await open('disk0')).replaced).to.deep.equal([]);
    copyFileSync(file, `${file}.copy`);
    renameSync(`${file}.copy`, file);
    for (const _time of ['at the first start', 'at the next']) {
      expect((await open('disk0')).replaced).to.deep.equal(['disk0']);
    }
    await (await open('disk0')).keep();
    expect((await open('disk0')).replaced).to.deep.equal([]);
  });

  it('a new file with the inode number of the old one is another file', async () => {
    const born = (bornMs: number): DiskFileRecord =>
      new DiskFileRecord(
        temp.file('meta'),
        [{ volume: 'disk0', file: temp.file('disk0'), identity: { ino: 7, bornMs } }],
        silentLog,
      );
    await born(1000).keep();
    expect([born(1000).replaced, born(2000).replaced]).to.deep.equal([[], ['disk0']]);
  });

  it('two disk files that changed places are both replaced; a volume that is new is not', async () => {
    create('disk1', 'disk2', 'disk3');
    await (await open('disk1', 'disk2')).keep();
    renameSync(temp.file('disk1'), temp.file('other'));
    renameSync(temp.file('disk2'), temp.file('disk1'));
    renameSync(temp.file('other'), temp.file('disk2'));
    expect((await open('disk1', 'disk2', 'disk3')).replaced).to.deep.equal(['disk1', 'disk2']);
  });

  it('a record that cannot be read says nothing', async () => {
    create('disk0');
    for (const text of ['', '{', '[]', '{"disk0":{"inode":"x"}}']) {
      writeFileSync(temp.file('meta.disk-files'), text);
      expect((await open('disk0')).replaced).to.deep.equal([]);
    }
  });
});
