/** Side files in a real file system: what is kept, what `inspect` shows of it, and that damage is seen. Not a file system that is full. */
import {
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { expect } from 'chai';
import { inspectSideFile } from '../../src/cli/inspect-command.ts';
import { sideFileDataOffsetBytes } from '../../src/disk/side-file.ts';
import { SideFiles } from '../../src/platform/side-files.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

const mebibyte = 1024 ** 2;
const sizeBytes = 8 * mebibyte;
const identity = { clusterId: 'a'.repeat(32), moduleId: 'b'.repeat(32), node: 'B' };

describe('side files', () => {
  let directory: TempDirectory;
  let disk: string;
  let files: SideFiles;
  beforeEach(() => {
    directory = makeTempDirectory();
    disk = directory.file('disk.img');
    writeFileSync(disk, Buffer.alloc(sizeBytes, 7));
    files = new SideFiles(identity, [{ file: disk, sizeBytes }]);
  });
  afterEach(() => directory.remove());

  const ranges = [
    { offsetBytes: 65_536, lengthBytes: 131_072 },
    { offsetBytes: 4 * mebibyte, lengthBytes: 65_536 },
  ];
  const write = (): Promise<readonly string[] | string> =>
    new Promise((resolve) => {
      const volumes = [{ name: 'disk0', ranges }];
      files.write({ since: 'then', seenAt: 'later', keep: 'A', volumes }, resolve);
    });

  it('hold the ranges at their places, sparse, and describe themselves', async () => {
    const [file] = (await write()) as readonly string[];
    expect(files.list()).to.deep.equal([file]);
    const report = inspectSideFile(file as string);
    expect(report).to.include({ ...identity, volume: 'disk0', kept: 'A', since: 'then', seenAt: 'later' });
    if (typeof report === 'string') return;
    expect(report.damaged).to.deep.equal([]);
    expect(report.ranges.map(({ offsetBytes, lengthBytes }) => ({ offsetBytes, lengthBytes }))).to.deep.equal(
      ranges,
    );
    const bytes = readFileSync(file as string);
    for (const { offsetBytes, lengthBytes } of ranges) {
      const kept = bytes.subarray(sideFileDataOffsetBytes + offsetBytes).subarray(0, lengthBytes);
      expect(kept.every((byte) => byte === 7)).to.equal(true);
    }
    expect(bytes[sideFileDataOffsetBytes]).to.equal(0);
    expect(statSync(file as string).blocks * 512).to.be.below(mebibyte);
  });

  it('of an earlier split stay, and a damaged range is told', async () => {
    const [first] = (await write()) as readonly string[];
    const fd = openSync(first as string, 'r+');
    writeSync(fd, Buffer.from([1]), 0, 1, sideFileDataOffsetBytes + 4 * mebibyte + 5);
    const report = inspectSideFile(first as string);
    expect(typeof report === 'string' ? report : report.damaged).to.deep.equal([4 * mebibyte]);
    truncateSync(first as string, mebibyte);
    expect(inspectSideFile(first as string)).to.equal('a description that is damaged or cut short');
    await write();
    expect(existsSync(first as string)).to.equal(true);
  });

  it('that cannot be written leave nothing behind', async () => {
    // Of two disks, the second one can not be read.
    const other = directory.file('other.img');
    writeFileSync(other, '');
    const two = new SideFiles(identity, [
      { file: disk, sizeBytes },
      { file: other, sizeBytes },
    ]);
    rmSync(other);
    const volumes = ['disk0', 'disk1'].map((name) => ({ name, ranges }));
    const problem = await new Promise((resolve) =>
      two.write({ since: undefined, seenAt: undefined, keep: 'A', volumes }, resolve),
    );
    expect(problem).to.match(/ENOENT/u);
    expect(readdirSync(directory.path)).to.deep.equal(['disk.img']);
  });

  it('are refused when there is no room for them, and nothing is changed', async () => {
    const problem = await new Promise((resolve) => files.checkRoom(2 ** 60, resolve));
    expect(problem).to.match(/free, and up to .* is needed/u);
  });
});
