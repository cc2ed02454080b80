import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { resolveDiskPatterns } from '../../src/config/disk-patterns.ts';
import { isModuleName } from '../../src/config/module-config.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

describe('disks by pattern', () => {
  let temp: TempDirectory;
  beforeEach(() => {
    temp = makeTempDirectory();
    mkdirSync(temp.file('vm1'));
    mkdirSync(temp.file('other'));
  });
  afterEach(() => temp.remove());

  const make = (name: string, bytes = 8192): string => {
    const file = temp.file(name);
    writeFileSync(file, '');
    truncateSync(file, bytes);
    return file;
  };
  /** The problem of these patterns. */
  async function problem(...patterns: string[]): Promise<WorldError> {
    try {
      await resolveDiskPatterns(patterns);
    } catch (error) {
      if (error instanceof WorldError) return error;
      throw error;
    }
    throw new Error('the patterns were accepted');
  }

  it('files in the order of their paths, named after them, with their sizes in whole blocks', async () => {
    const second = make('vm1/b data.img', 4097);
    const first = make('vm1/a.qcow2');
    make('vm1/notes.txt');
    expect(await resolveDiskPatterns([temp.file('vm1/*.img'), temp.file('vm1/*.qcow2')])).to.deep.equal([
      { name: 'a', file: first, sizeBytes: 8192 },
      { name: 'b-data', file: second, sizeBytes: 8192 },
    ]);
  });

  it('a file that several patterns find is one volume', async () => {
    const file = make('vm1/a.img');
    expect(await resolveDiskPatterns([file, temp.file('vm1/*')])).to.have.lengthOf(1);
  });

  it('names are distinct and may be those of volumes, whatever the files are called', async () => {
    for (const name of [
      'disk.img',
      'disk.raw',
      '__.img',
      'ö.img',
      `${'x'.repeat(40)}.img`,
      `${'x'.repeat(41)}.img`,
    ])
      make(`vm1/${name}`);
    const names = (await resolveDiskPatterns([temp.file('vm1/*')])).map(({ name }) => name);
    expect(new Set(names).size).to.equal(6);
    expect(names.every(isModuleName), names.join(' ')).to.equal(true);
    expect(names).to.include.members(['disk', 'disk-2']);
  });

  it('nothing found, a relative pattern, and more files than volumes are refused', async () => {
    expect((await problem(temp.file('vm1/*.vhdx'))).message).to.contain('at least one file; found none');
    expect((await problem('vm1/*.img')).found).to.equal('a relative one');
    for (let index = 0; index < 17; index += 1) make(`vm1/${index}.img`);
    expect((await problem(temp.file('vm1/*'))).message)
      .to.contain('at most 16 files')
      .and.contain('17 files');
  });

  it('a directory, an empty file, and a link that leads outside are refused by name', async () => {
    const outside = make('other/secret.img');
    mkdirSync(temp.file('vm1/folder.img'));
    expect((await problem(temp.file('vm1/*.img'))).message)
      .to.contain('folder.img')
      .and.contain('a directory');
    symlinkSync(outside, temp.file('vm1/link.raw'));
    expect((await problem(temp.file('vm1/*.raw'))).message)
      .to.contain('link.raw')
      .and.contain(outside);
    symlinkSync(temp.file('gone'), temp.file('vm1/gone.link'));
    expect((await problem(temp.file('vm1/*.link'))).message).to.contain('gone.link');
    make('vm1/empty.vhdx', 0);
    expect((await problem(temp.file('vm1/*.vhdx'))).message).to.contain('empty.vhdx');
  });

  it('a link to a file beside it is that file', async () => {
    make('vm1/a.img');
    symlinkSync(temp.file('vm1/a.img'), temp.file('vm1/a.link'));
    expect((await resolveDiskPatterns([temp.file('vm1/*.link')]))[0]?.sizeBytes).to.equal(8192);
  });
});
