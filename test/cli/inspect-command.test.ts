import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { inspectFile } from '../../src/cli/inspect-command.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

const fixture = fileURLToPath(new URL('../fixtures/metadata-v1.bin', import.meta.url));

describe('inspect', () => {
  let directory: TempDirectory;
  beforeEach(() => {
    directory = makeTempDirectory();
  });
  afterEach(() => directory.remove());

  it('a metadata file is decoded and not changed', () => {
    const before = readFileSync(fixture);
    const { mtimeMs } = statSync(fixture);
    const report = inspectFile(fixture);
    expect(report.copies.some((copy) => copy.verdict === 'valid')).to.equal(true);
    expect(readFileSync(fixture).equals(before)).to.equal(true);
    expect(statSync(fixture).mtimeMs).to.equal(mtimeMs);
  });

  it('a file of anything is reported, not refused', () => {
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.alloc(100_000, 0xa5),
      readFileSync(fixture).subarray(0, 5000),
    ]) {
      writeFileSync(directory.file('x'), bytes);
      expect(inspectFile(directory.file('x')).sizeBytes).to.equal(bytes.length);
    }
  });

  it('a file that is not there, and a directory, are named', () => {
    for (const path of [directory.file('none'), directory.path]) {
      expect(() => inspectFile(path))
        .to.throw(WorldError, path)
        .with.property('code', 'file-missing');
    }
  });
});
