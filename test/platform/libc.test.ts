/** A reflink that succeeds is seen only where the temporary directory can share blocks (XFS, btrfs). */
import fs from 'node:fs';
import { expect } from 'chai';
import { fallocateAsync, reflink, seekAsync } from '../../src/platform/libc.ts';
import { useTemporaryDirectory } from './temporary-directory.ts';

describe('system calls', () => {
  const newPath = useTemporaryDirectory();

  it('reflink shares the whole content, or says that the file system cannot and changes nothing', async () => {
    const [source, target] = [newPath(), newPath()];
    fs.writeFileSync(source, Buffer.alloc(65536, 'source'));
    fs.writeFileSync(target, 'target');
    const [from, to] = [fs.openSync(source, 'r'), fs.openSync(target, 'r+')];
    const expected = (await reflink(to, from)) ? fs.readFileSync(source) : Buffer.from('target');
    expect(fs.readFileSync(target).equals(expected)).to.equal(true);
    for (const fd of [from, to]) fs.closeSync(fd);
  });

  it('answer with the errno of their own call, also when many run at once', async () => {
    const fd = fs.openSync(newPath(), 'w+');
    const answers = await Promise.all(
      Array.from({ length: 300 }, (_, index) =>
        index % 2 === 0
          ? new Promise((resolve) => fallocateAsync(fd, 'punch-hole', -1, 1, (error) => resolve(error?.code)))
          : new Promise((resolve) => seekAsync(fd, 'data', 10, (error) => resolve(error?.code))),
      ),
    );
    expect(new Set(answers.filter((_, index) => index % 2 === 0))).to.deep.equal(new Set(['EINVAL']));
    expect(new Set(answers.filter((_, index) => index % 2 === 1))).to.deep.equal(new Set(['ENXIO']));
    fs.closeSync(fd);
  });
});
