import { expect } from 'chai';
import {
  type DiskFileFacts,
  doubtSentence,
  hasRoom,
  judgeDiskFile,
  roomWantedBytes,
} from '../../src/cluster/disk-file-facts.ts';

const good: DiskFileFacts = {
  volume: 'disk0',
  file: '/vm/disk0.img',
  path: 'same',
  freeBytes: 2 * roomWantedBytes,
  unallocatedBytes: 3 * roomWantedBytes,
};
const file = (patch: Partial<DiskFileFacts>): DiskFileFacts => ({ ...good, ...patch });

describe('disk file facts', () => {
  it('a file that is in place, or cannot be seen, is no problem', () => {
    expect(judgeDiskFile([good, file({ path: 'unknown' })])).to.equal(undefined);
  });

  it('a file that was deleted or replaced is named, with its volume and a way out', () => {
    for (const [path, words] of [
      ['nothing', '/vm/b.img was deleted while volume disk1'],
      ['another-file', '/vm/b.img was replaced by another file while volume disk1'],
    ] as const) {
      const sentence = judgeDiskFile([good, file({ volume: 'disk1', file: '/vm/b.img', path })]);
      expect(sentence).to.include(words);
      expect(sentence).to.include('vmpair swap VM');
      expect(sentence).to.match(/[^.\s]$/);
    }
  });

  it('there is room when every file can grow by what is wanted, or to its full size', () => {
    expect(hasRoom([good])).to.equal(true);
    expect(hasRoom([good, file({ freeBytes: roomWantedBytes - 1 })])).to.equal(false);
    expect(hasRoom([file({ freeBytes: 10, unallocatedBytes: 10 })])).to.equal(true);
    expect(hasRoom([file({ freeBytes: undefined })])).to.equal(false);
  });

  it('every doubt has a sentence that names the command', () => {
    for (const doubt of ['flush-failed', 'file-replaced'] as const)
      expect(doubtSentence(doubt)).to.match(/vmpair accept-disk VM.*[^.\s]$/);
  });
});
