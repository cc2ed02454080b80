/** The oracle of the crash tests must see what it is there for. */
import { appendFileSync } from 'node:fs';
import { expect } from 'chai';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { blockContent, journalBlockBytes, WriteJournal } from './write-journal.ts';

describe('journal of a writing guest', () => {
  let temp: TempDirectory;
  let journal: WriteJournal;
  /** A copy of four blocks. */
  let copy: Uint8Array;

  beforeEach(() => {
    temp = makeTempDirectory();
    journal = new WriteJournal(temp.file('journal'));
    copy = new Uint8Array(1024 * 1024);
  });
  afterEach(() => temp.remove());

  const note = (...lines: string[]): void => appendFileSync(journal.file, `${lines.join('\n')}\n`);
  const apply = (sequence: number, block: number): void =>
    copy.set(new Uint8Array(blockContent(sequence, block).buffer), block * journalBlockBytes);
  const lost = (): Promise<string[]> => journal.update().findLost(() => copy);

  it('an acknowledged write that is there is not lost, and one that is missing or older is', async () => {
    note('i 1 0 8192', 'c 1 10', 'i 2 4096 4096', 'c 2 20');
    apply(1, 0);
    apply(2, 1);
    expect(await lost()).to.deep.equal([]);
    apply(1, 1);
    expect(await lost()).to.deep.equal(['block 1: wanted the content of one of the writes 2; found 1']);
    copy.fill(0);
    expect(await lost()).to.have.length(2);
  });

  it('an unacknowledged write may be there or not, until a later one is acknowledged', async () => {
    note('i 1 0 4096', 'c 1 10', 'i 2 0 4096');
    apply(1, 0);
    expect(await lost()).to.deep.equal([]);
    apply(2, 0);
    expect(await lost()).to.deep.equal([]);
    note('i 3 0 4096', 'c 3 30');
    expect(await lost()).to.have.length(1);
  });

  it('a block that is torn, or is that of another place, is lost', async () => {
    note('i 1 0 8192', 'c 1 10');
    apply(1, 0);
    apply(1, 1);
    copy[journalBlockBytes - 1] = (copy[journalBlockBytes - 1] ?? 0) ^ 1;
    expect(await lost()).to.have.length(1);
    copy.copyWithin(0, journalBlockBytes, 2 * journalBlockBytes);
    expect(await lost()).to.have.length(1);
  });

  it('the longest gap counts from the first to the last moment asked for, in lines that come in pieces', () => {
    note('i 1 0 4096', 'c 1 100', 'i 2 0 4096');
    expect(journal.update().longestGapMs(90, 110)).to.equal(10);
    appendFileSync(journal.file, 'c 2 1');
    expect(journal.update().acknowledgedMs).to.deep.equal([100]);
    appendFileSync(journal.file, '50\nx 160 gone away\ne 170 no space\n');
    expect(journal.update().longestGapMs(90, 300)).to.equal(150);
    expect(journal.longestGapMs(90, 160)).to.equal(50);
    expect([journal.lost, journal.errors]).to.deep.equal([['gone away'], ['no space']]);
  });
});
