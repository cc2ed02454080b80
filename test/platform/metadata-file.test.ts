import fs from 'node:fs';
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { superblockOffsetsBytes } from '../../src/disk/format.ts';
import { createMetadataFile, openMetadataFile } from '../../src/platform/metadata-file.ts';
import type { MetadataIdentity, OpenMetadataFile } from '../../src/platform/metadata-file.ts';
import { id, sampleState } from '../disk/sample-state.ts';
import { useTemporaryDirectory } from './temporary-directory.ts';

type Created = Exclude<Parameters<Parameters<typeof createMetadataFile>[2]>[0], WorldError>;

function create(path: string, state = sampleState): Promise<Created> {
  return new Promise((resolve, reject) =>
    createMetadataFile(path, state, (result) =>
      result instanceof WorldError ? reject(result) : resolve(result),
    ),
  );
}

function open(
  path: string,
  expected: MetadataIdentity = sampleState,
): Promise<WorldError | OpenMetadataFile> {
  return new Promise((resolve) => openMetadataFile(path, expected, resolve));
}

async function refusal(path: string, expected?: MetadataIdentity): Promise<WorldError> {
  const before = fs.readFileSync(path);
  const result = await open(path, expected);
  if (!(result instanceof WorldError)) throw new Error('the file was opened');
  expect(fs.readFileSync(path).equals(before)).to.equal(true);
  return result;
}

function close(file: Pick<OpenMetadataFile, 'close'>): Promise<void> {
  return new Promise((resolve) => file.close(resolve));
}

describe('metadata file', () => {
  const newPath = useTemporaryDirectory();

  async function newFile(): Promise<string> {
    const path = newPath();
    await close(await create(path));
    return path;
  }

  it('gives back after closing what was persisted', async () => {
    const path = newPath();
    const created = await create(path);
    const persisted = new Promise((resolve) =>
      created.store.persist({ ...sampleState, generation: 77 }, resolve),
    );
    const logged = new Promise((resolve) => created.store.writeActivityLog(1, [3], resolve));
    expect(await Promise.all([persisted, logged])).to.deep.equal([undefined, undefined]);
    await close(created);
    const opened = await open(path);
    if (opened instanceof WorldError) throw opened;
    expect(opened.state.generation).to.equal(77);
    expect(opened.volumes.map(({ hotExtents }) => hotExtents)).to.deep.equal([[], [3]]);
    await close(opened);
  });

  it('is refused while another one holds it, and is not made twice', async () => {
    const path = newPath();
    const created = await create(path);
    expect((await refusal(path)).code).to.equal('file-locked');
    const again = await create(path).catch((error: unknown) => error);
    expect((again as WorldError).code).to.equal('file-exists');
    await close(created);
  });

  it('of another module or with other volumes is refused, with what differs', async () => {
    const path = await newFile();
    const otherVolumes = [{ name: 'disk0', sizeBytes: 4096 }];
    const error = await refusal(path, { ...sampleState, moduleId: id(5), volumes: otherVolumes });
    expect(error.code).to.equal('metadata-mismatch');
    expect(error.wanted).to.contain(`module ${id(5)}; volumes disk0 of 4096 bytes`);
    expect(error.found).to.contain(
      `module ${sampleState.moduleId}; volumes disk0 of 3221225472 bytes, disk1`,
    );
  });

  it('that is missing, empty, foreign or without a valid superblock is refused and stays as it is', async () => {
    const missing = await open(newPath());
    expect(missing instanceof WorldError && missing.code).to.equal('file-missing');
    const empty = newPath();
    fs.writeFileSync(empty, '');
    expect((await refusal(empty)).code).to.equal('metadata-damaged');
    const foreign = newPath();
    fs.writeFileSync(foreign, Buffer.alloc(100_000, 'foreign'));
    const error = await refusal(foreign);
    expect(error.code).to.equal('metadata-damaged');
    expect(error.wanted).to.contain(foreign);
    const path = await newFile();
    const fd = fs.openSync(path, 'r+');
    for (const offset of superblockOffsetsBytes) fs.writeSync(fd, Buffer.alloc(1, 'x'), 0, 1, offset + 100);
    fs.closeSync(fd);
    expect((await refusal(path)).code).to.equal('metadata-damaged');
  });
});
