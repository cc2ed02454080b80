/** The store of revisions over files in memory, with crashes at every write; that real files are durable is tested with durable-file. */
import { expect } from 'chai';
import { WorldError } from '../../../src/base/errors.ts';
import { ConfigStore } from '../../../src/agent/config/config-store.ts';
import { openRevisionFiles } from '../../../src/agent/config/revision-files.ts';
import { makeRevision, type Revision } from '../../../src/agent/config/revision.ts';
import { makeTempDirectory } from '../../temp-directory.ts';
import { chainOf, documents, note, sha256 } from './digest.ts';
import { Crash, MemoryFiles } from './memory-files.ts';

const open = (files: MemoryFiles, kept?: number) => ConfigStore.open(files, sha256, kept);

async function filled(revisions: readonly Revision[], kept?: number) {
  const files = new MemoryFiles();
  const store = await open(files, kept);
  for (const revision of revisions) await store.append(revision);
  return { files, store };
}

/** Runs work once per write that it does, each time with a crash before or after that write, on fresh files. */
async function crashAtEveryWrite(
  prepare: () => Promise<MemoryFiles>,
  work: (store: ConfigStore) => Promise<void>,
  check: (store: ConfigStore, files: MemoryFiles) => void,
): Promise<number> {
  for (let point = 0; ; point += 1) {
    for (const when of ['before', 'after'] as const) {
      const files = await prepare();
      const store = await open(files);
      let writes = 0;
      files.beforeWrite = () => {
        if (writes++ !== point) return 'go-on';
        if (when === 'before') throw new Crash();
        return 'crash-after';
      };
      let crashed = false;
      try {
        await work(store);
      } catch (error) {
        if (!(error instanceof Crash)) throw error;
        crashed = true;
      }
      if (!crashed) return point;
      files.beforeWrite = () => 'go-on';
      check(await open(files), files);
      check(await open(files), files);
    }
  }
}

describe('store of revisions', () => {
  it('is empty at first, and has its chain again after it was closed', async () => {
    const { files, store } = await filled([]);
    expect(store.head).to.equal(undefined);
    expect(store.facts).to.deep.equal({ ids: [], number: 0 });
    const chain = chainOf('a', 'b', 'c');
    for (const revision of chain) await store.append(revision);
    const again = await open(files);
    expect(again.head).to.deep.equal(chain[2]);
    expect(again.facts).to.deep.equal({ ids: chain.map(({ id }) => id), number: 3 });
    expect(again.entries.map(({ number }) => number)).to.deep.equal([3, 2, 1]);
    expect(await again.revision(chain[0]?.id as string)).to.deep.equal(chain[0]);
  });

  it('keeps the newest revisions only, and the numbers go on', async () => {
    const chain = chainOf('a', 'b', 'c', 'd', 'e', 'f');
    const { files } = await filled(chain, 3);
    const again = await open(files, 3);
    expect(again.facts).to.deep.equal({ ids: chain.slice(3).map(({ id }) => id), number: 6 });
    expect([...files.content.keys()].filter((name) => name.startsWith('0'))).to.have.lengthOf(3);
  });

  it('a crash at any write of a change leaves the head before or the new one, whole', async () => {
    const chain = chainOf('a', 'b', 'c');
    const [, second, third] = chain as [Revision, Revision, Revision];
    const prepare = async () => {
      const { files, store } = await filled(chain.slice(0, 2));
      await store.setPending({ token: 't', revision: third });
      return files;
    };
    const seen = new Set<number>();
    const points = await crashAtEveryWrite(
      prepare,
      (store) => store.append(third),
      (store, files) => {
        seen.add(store.head?.number ?? 0);
        expect(store.head).to.deep.equal(store.head?.number === 3 ? third : second);
        // What is not committed yet is still known to be pending.
        expect(store.pending?.revision.id).to.equal(store.head?.number === 3 ? undefined : third.id);
        expect([...files.content.keys()].filter((name) => name.startsWith('0'))).to.have.lengthOf(
          store.head?.number ?? 0,
        );
      },
    );
    expect(points).to.equal(3);
    expect([...seen]).to.have.members([2, 3]);
  });

  it('a crash at any write while a history is given up leaves the old or the new one, whole', async () => {
    const mine = chainOf('a', 'b', 'c');
    const theirs = [mine[0] as Revision];
    for (const text of ['x', 'y']) theirs.push(makeRevision(theirs.at(-1), documents(text), note, sha256));
    const histories = [mine, theirs].map((chain) => JSON.stringify(chain.map(({ id }) => id)));
    const seen = new Set<string>();
    await crashAtEveryWrite(
      async () => (await filled(mine)).files,
      (store) => store.replaceAfter(mine[0]?.id, theirs.slice(1)),
      (store, files) => {
        const found = JSON.stringify(store.facts.ids);
        expect(histories).to.include(found);
        seen.add(found);
        expect([...files.content.keys()].filter((name) => name.startsWith('0'))).to.have.lengthOf(3);
      },
    );
    expect(seen.size).to.equal(2);
  });

  it('a crash at any write of what was applied or is pending leaves it as it was or as it is', async () => {
    const chain = chainOf('a', 'b');
    const [first, second] = chain as [Revision, Revision];
    await crashAtEveryWrite(
      async () => (await filled([first])).files,
      async (store) => {
        await store.setApplied(first);
        await store.setPending({ token: 't', revision: second });
        await store.clearPending();
      },
      (store) => {
        expect(store.head?.id).to.equal(first.id);
        expect([undefined, first.id]).to.include(store.applied?.id);
        expect([undefined, second.id]).to.include(store.pending?.revision.id);
      },
    );
  });

  for (const [what, damage] of [
    ['cut short', (text: string) => text.slice(0, -40)],
    ['changed in its documents', (text: string) => text.replace('"b"', '"B"')],
    ['of another number', (text: string) => text.replace('"number": 2', '"number": 7')],
    ['with a foreign key', (text: string) => text.replace('{', '{"more": 1,')],
  ] as const) {
    it(`a revision file that is ${what} is refused by name`, async () => {
      const { files } = await filled(chainOf('a', 'b', 'c'));
      const name = [...files.content.keys()].find((each) => each.startsWith('00000002')) as string;
      const text = files.content.get(name) as string;
      expect(damage(text)).to.not.equal(text);
      files.content.set(name, damage(text));
      const error = await open(files).then(
        () => undefined,
        (thrown: unknown) => thrown as WorldError,
      );
      expect(error?.code).to.equal('revision-damaged');
      expect(error?.wanted).to.contain(`/revisions/${name}`);
    });
  }

  it('a head that names a revision which is not there is refused', async () => {
    const { files } = await filled(chainOf('a', 'b'));
    files.content.delete([...files.content.keys()].find((each) => each.startsWith('00000002')) as string);
    expect(await open(files).catch((error: unknown) => (error as WorldError).message)).to.contain(
      'head.json',
    );
  });

  it('real files: what a crash left unfinished is removed, and the rest is read again', async () => {
    const temp = makeTempDirectory();
    try {
      const chain = chainOf('a', 'b');
      const store = await ConfigStore.open(await openRevisionFiles(temp.file('config')), sha256);
      for (const revision of chain) await store.append(revision);
      const files = await openRevisionFiles(temp.file('config'));
      await files.replace('head.json.0123456789abcdef.tmp', 'unfinished');
      const again = await ConfigStore.open(await openRevisionFiles(temp.file('config')), sha256);
      expect(again.head).to.deep.equal(chain[1]);
      expect(await files.list()).to.have.lengthOf(3);
    } finally {
      temp.remove();
    }
  });
});
