import { expect } from 'chai';
import { encodeCpioArchive } from '../../../src/lab/guest/cpio-archive.ts';

/** What an archive holds, by the field offsets of the format. */
function listArchive(archive: Buffer): { path: string; mode: string; content: string }[] {
  const found: { path: string; mode: string; content: string }[] = [];
  const aligned = (offset: number) => Math.ceil(offset / 4) * 4;
  for (let offset = 0; offset < archive.length; ) {
    const field = (index: number) =>
      Number.parseInt(archive.toString('ascii', offset + 6 + 8 * index, offset + 14 + 8 * index), 16);
    expect(archive.toString('ascii', offset, offset + 6)).to.equal('070701');
    const nameStart = offset + 110;
    const path = archive.toString('utf8', nameStart, nameStart + field(11) - 1);
    const start = aligned(nameStart + field(11));
    found.push({
      path,
      mode: field(1).toString(8),
      content: archive.toString('utf8', start, start + field(6)),
    });
    offset = aligned(start + field(6));
  }
  return found;
}

describe('cpio archive', () => {
  it('holds every entry with its type, at aligned offsets, and ends with the trailer', () => {
    const archive = encodeCpioArchive([
      { path: 'dev', kind: 'directory', mode: 0o755 },
      { path: 'dev/console', kind: 'character-device', mode: 0o600, device: [5, 1] },
      { path: 'init', kind: 'file', mode: 0o755, content: Buffer.from('hello') },
      { path: 'sh', kind: 'link', mode: 0o777, content: Buffer.from('busybox') },
    ]);
    expect(listArchive(archive)).to.deep.equal([
      { path: 'dev', mode: '40755', content: '' },
      { path: 'dev/console', mode: '20600', content: '' },
      { path: 'init', mode: '100755', content: 'hello' },
      { path: 'sh', mode: '120777', content: 'busybox' },
      { path: 'TRAILER!!!', mode: '0', content: '' },
    ]);
  });
});
