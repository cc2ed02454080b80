import { renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { silentLog } from '../../src/base/log.ts';
import type { DiskFileFacts } from '../../src/cluster/disk-file-facts.ts';
import { DiskFile } from '../../src/platform/disk-file.ts';
import { doubtMarkFile, readDoubtMark } from '../../src/platform/doubt-mark-file.ts';
import { inspectDiskFiles } from '../../src/platform/inspect-disk-files.ts';
import { useTemporaryDirectory } from './temporary-directory.ts';

const sizeBytes = 1024 * 1024;

describe('disk files seen from outside', () => {
  const directory = useTemporaryDirectory();

  it('in place, moved away, replaced, and put back', async () => {
    const file = directory('disk0.img');
    DiskFile.create(file, sizeBytes);
    const open = DiskFile.open(file, sizeBytes);
    const look = () =>
      new Promise<DiskFileFacts | undefined>((resolve) =>
        inspectDiskFiles([{ volume: 'disk0', file, sizeBytes, open }], ([facts]) => resolve(facts)),
      );
    const first = await look();
    expect([first?.path, first?.unallocatedBytes]).to.deep.equal(['same', sizeBytes]);
    expect(first?.freeBytes).to.be.a('number').above(0);
    renameSync(file, `${file}.away`);
    expect((await look())?.path).to.equal('nothing');
    writeFileSync(file, 'another');
    expect((await look())?.path).to.equal('another-file');
    renameSync(`${file}.away`, file);
    expect((await look())?.path).to.equal('same');
    await new Promise<void>((resolve) => open.close(resolve));
  });
});

describe('mark of a doubt', () => {
  const directory = useTemporaryDirectory();

  it('is there for the next process until it is forgotten, and counts as a failed flush when it is unreadable', () => {
    const file = directory('vm.disk-doubt');
    const mark = doubtMarkFile(file, silentLog);
    expect(readDoubtMark(file)).to.equal('none');
    for (const doubt of ['flush-failed', 'file-replaced'] as const) {
      mark.note(doubt);
      expect(readDoubtMark(file)).to.equal(doubt);
    }
    writeFileSync(file, '');
    expect(readDoubtMark(file)).to.equal('flush-failed');
    mark.forget();
    mark.forget();
    expect(readDoubtMark(file)).to.equal('none');
    rmSync(file, { force: true });
  });

  it('that cannot be written is said in the log, and harms nothing else', () => {
    const said: string[] = [];
    const log = { ...silentLog, error: (event: string) => void said.push(event) };
    doubtMarkFile(path.join(directory(), 'missing'), log).note('flush-failed');
    expect(said).to.deep.equal(['doubt-not-marked']);
  });
});
