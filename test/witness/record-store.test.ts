/**
 * Not verified here: what a loss of power leaves (the order of system calls is, in witness-process.system.ts), and the
 * detection of copies on other file systems than the one of the temporary directory (restored-store.system.ts).
 */
import {
  cpSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import type { ArbiterRecord } from '../../src/disk/state.ts';
import { acceptRestored } from '../../src/witness/accept-restored.ts';
import { decodeRecordFile, encodeRecordFile, type RecordFile } from '../../src/witness/record-file.ts';
import { RecordStore, recordsPerClusterMax } from '../../src/witness/record-store.ts';
import { errorOf } from '../platform/loopback-pair.ts';

const key = { clusterId: 'c1', moduleId: 'vm1' };
const record = (generation: number, holder: string, id = generation): ArbiterRecord => ({
  generation,
  holder,
  operationId: id.toString(16).padStart(32, '0'),
});

describe('witness record store', () => {
  let directory = '';
  let stores: RecordStore[] = [];
  const openStore = async (): Promise<RecordStore> => {
    const store = await RecordStore.open(directory, {
      fatal: (error) => {
        throw error;
      },
    });
    stores.push(store);
    return store;
  };
  const recordFile = (): string =>
    path.join(directory, readdirSync(directory).find((name) => name.endsWith('.record')) ?? 'none');

  beforeEach(() => {
    directory = mkdtempSync(path.join(os.tmpdir(), 'vmpair-records-'));
    stores = [];
  });
  afterEach(async () => {
    for (const store of stores) await store.close();
    rmSync(directory, { recursive: true });
  });

  it('a record is there after the store was closed and opened again', async () => {
    const store = await openStore();
    expect(await store.read(key)).to.equal(undefined);
    expect((await store.swap(key, undefined, record(1, 'both'), 'alpha')).action.kind).to.equal('write');
    await store.close();
    expect(await (await openStore()).read(key)).to.deep.equal(record(1, 'both'));
  });

  it('modules, clusters and letter cases do not share a record', async () => {
    const store = await openStore();
    await store.swap(key, undefined, record(1, 'both'), 'alpha');
    for (const other of [{ clusterId: 'c2' }, { moduleId: 'VM1' }, { moduleId: 'vm2' }]) {
      expect(await store.read({ ...key, ...other })).to.equal(undefined);
      await store.swap({ ...key, ...other }, undefined, record(1, 'alpha', 9), 'alpha');
    }
    expect(await store.read(key)).to.deep.equal(record(1, 'both'));
    const names = readdirSync(directory).filter((name) => name.endsWith('.record'));
    expect(new Set(names.map((name) => name.toLowerCase())).size).to.equal(4);
  });

  it('many claims arrive at once: exactly one is granted', async () => {
    const store = await openStore();
    await store.swap(key, undefined, record(1, 'both'), 'alpha');
    const claims = Array.from({ length: 20 }, (_, index) =>
      record(2, index % 2 === 0 ? 'alpha' : 'beta', 100 + index),
    );
    const decisions = await Promise.all(
      claims.map((claim) => store.swap(key, record(1, 'both'), claim, 'alpha')),
    );
    const granted = decisions.flatMap(({ action }) => (action.kind === 'write' ? [action.record] : []));
    expect(granted).to.have.length(1);
    expect(await store.read(key)).to.deep.equal(granted[0]);
  });

  it('a damaged record is refused, not taken for none, and stays as it is', async () => {
    const store = await openStore();
    await store.swap(key, undefined, record(1, 'both'), 'alpha');
    const file = recordFile();
    const whole = readFileSync(file, 'utf8');
    const damages = [
      () => truncateSync(file, 0),
      () => truncateSync(file, whole.length - 1),
      () => writeFileSync(file, whole.replace('"both"', '"beta"')),
      () => writeFileSync(file, encodeRecordFile({ ...decodeRecordFile(file, whole), moduleId: 'vm2' })),
    ];
    for (const damage of damages) {
      writeFileSync(file, whole);
      damage();
      const left = readFileSync(file, 'utf8');
      expect((await errorOf(store.read(key))).code).to.equal('record-damaged');
      expect((await errorOf(store.swap(key, undefined, record(1, 'alpha'), 'alpha'))).code).to.equal(
        'record-damaged',
      );
      expect(readFileSync(file, 'utf8')).to.equal(left);
    }
  });

  it('any damaged byte, and any cut, of a record file is noticed', () => {
    const content: RecordFile = {
      ...key,
      store: 'a'.repeat(32),
      file: '12/345',
      record: record(7, 'alpha'),
      changed: { by: 'alpha', at: '2026-01-01T00:00:00.000Z' },
    };
    const text = encodeRecordFile(content);
    expect(decodeRecordFile('f', text)).to.deep.equal(content);
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.integer({ min: 1, max: 127 }), (at, flip) => {
        const damaged =
          text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ flip) + text.slice(at + 1);
        expect(() => decodeRecordFile('f', damaged)).to.throw(/^record-damaged/);
      }),
      { numRuns: 500 },
    );
    for (let length = 0; length < text.length; length += 1)
      expect(() => decodeRecordFile('f', text.slice(0, length))).to.throw(/^record-damaged/);
    fc.assert(
      fc.property(fc.string(), (foreign) => {
        expect(() => decodeRecordFile('f', foreign)).to.throw(/^record-damaged/);
      }),
    );
  });

  it('a second store on the same directory is refused while the first holds it', async () => {
    const store = await openStore();
    const error = await errorOf(openStore());
    expect(error.code).to.equal('already-running');
    expect(error.wanted).to.include(directory);
    await store.close();
    await openStore();
  });

  it('what a crash left unfinished is removed at start', async () => {
    writeFileSync(path.join(directory, 'vm1-0.record.0123456789abcdef.tmp'), 'half');
    await openStore();
    expect(readdirSync(directory)).to.deep.equal(['lock', 'store-id']);
  });

  it('the directory vanished: nothing is granted', async () => {
    const store = await openStore();
    rmSync(directory, { recursive: true });
    const error = await errorOf(store.swap(key, undefined, record(1, 'both'), 'alpha'));
    expect(error.code).to.equal('storage-failed');
    await store.close();
    await openStore();
  });

  it('another directory is put in the place of the open one: its lack of records is not believed', async () => {
    const store = await openStore();
    await store.swap(key, undefined, record(1, 'both'), 'alpha');
    renameSync(directory, `${directory}-moved`);
    mkdirSync(directory);
    expect((await errorOf(store.read(key))).code).to.equal('store-restored');
    rmSync(directory, { recursive: true });
    renameSync(`${directory}-moved`, directory);
    expect(await store.read(key)).to.deep.equal(record(1, 'both'));
  });

  it('a record that was deleted by hand is no record, and one is not made out of nothing by a later claim', async () => {
    const store = await openStore();
    await store.swap(key, undefined, record(1, 'both'), 'alpha');
    unlinkSync(recordFile());
    expect(await store.read(key)).to.equal(undefined);
    const claim = await store.swap(key, record(1, 'both'), record(2, 'alpha'), 'alpha');
    expect(claim.action).to.deep.equal({ kind: 'refuse', record: undefined });
  });

  it('a cluster has as many records as a witness keeps for one: no further one, and the others are not touched', async () => {
    const store = await openStore();
    const modules = Array.from({ length: recordsPerClusterMax }, (_, index) => ({
      ...key,
      moduleId: `vm${index}`,
    }));
    await Promise.all(modules.map((module) => store.swap(module, undefined, record(1, 'both'), 'alpha')));
    const further = store.swap({ ...key, moduleId: 'further' }, undefined, record(1, 'both'), 'alpha');
    expect((await errorOf(further)).code).to.equal('limit-reached');
    const known = await store.swap(
      { ...key, moduleId: 'vm0' },
      record(1, 'both'),
      record(2, 'alpha'),
      'alpha',
    );
    expect(known.action.kind).to.equal('write');
    const other = await store.swap({ ...key, clusterId: 'c2' }, undefined, record(1, 'both'), 'alpha');
    expect(other.action.kind).to.equal('write');
  });

  describe('was put back', () => {
    let copy = '';
    beforeEach(() => {
      copy = `${directory}-copy`;
    });
    afterEach(() => rmSync(copy, { recursive: true, force: true }));

    /** A store at generation 2 with a backup of generation 1 in `copy`. */
    async function storeWithBackup(): Promise<void> {
      const store = await openStore();
      await store.swap(key, undefined, record(1, 'both'), 'alpha');
      cpSync(directory, copy, { recursive: true, preserveTimestamps: true });
      await store.swap(key, record(1, 'both'), record(2, 'alpha'), 'alpha');
      await store.close();
    }

    it('as a whole: nothing of it is used until it was accepted as a new store without records', async () => {
      await storeWithBackup();
      const { id } = await openStore();
      await stores.at(-1)?.close();
      rmSync(directory, { recursive: true });
      cpSync(copy, directory, { recursive: true, preserveTimestamps: true });
      const error = await errorOf(openStore());
      expect(error.code).to.equal('store-restored');
      expect(error.next).to.match(/accept-restored/);
      const accepted = await acceptRestored(directory, false);
      expect(accepted.dropped).to.have.length(1);
      const store = await openStore();
      expect(store.id).to.equal(accepted.store).and.not.equal(id);
      expect(await store.read(key)).to.equal(undefined);
    });

    it('under the names of hard links: nothing of it is used', async () => {
      await storeWithBackup();
      const linked = `${directory}-linked`;
      mkdirSync(linked);
      for (const name of readdirSync(directory))
        linkSync(path.join(directory, name), path.join(linked, name));
      rmSync(directory, { recursive: true });
      renameSync(linked, directory);
      expect((await errorOf(openStore())).code).to.equal('store-restored');
    });

    it('over the files that were there: a record that changed since is refused, the others are used', async () => {
      const other = { ...key, moduleId: 'vm2' };
      const first = await openStore();
      await first.swap(other, undefined, record(1, 'both'), 'beta');
      await first.close();
      await storeWithBackup();
      for (const name of readdirSync(copy))
        writeFileSync(path.join(directory, name), readFileSync(path.join(copy, name)));
      const store = await openStore();
      const error = await errorOf(store.read(key));
      expect(error.code).to.equal('record-restored');
      expect(error.next).to.match(/delete this file/);
      expect((await errorOf(store.swap(key, record(1, 'both'), record(2, 'beta', 9), 'beta'))).code).to.equal(
        'record-restored',
      );
      expect(await store.read(other)).to.deep.equal(record(1, 'both'));
    });

    it('one record, by rename: that one is refused, also while the witness runs, and by hand it is dropped', async () => {
      await storeWithBackup();
      const store = await openStore();
      const name = path.basename(recordFile());
      renameSync(path.join(copy, name), path.join(directory, name));
      expect((await errorOf(store.read(key))).code).to.equal('record-restored');
      expect(store.entries.map(({ problem }) => problem?.code)).to.deep.equal(['record-restored']);
      unlinkSync(path.join(directory, name));
      expect(await store.read(key)).to.equal(undefined);
      expect(store.entries).to.deep.equal([]);
    });

    it('with the identity lost or cut: refused, not taken for a new store', async () => {
      await storeWithBackup();
      const identity = path.join(directory, 'store-id');
      truncateSync(identity, 10);
      expect((await errorOf(openStore())).code).to.equal('store-restored');
      unlinkSync(identity);
      expect((await errorOf(openStore())).found).to.match(/1 records without the file store-id/);
    });

    it('as a record of another store: refused', async () => {
      await storeWithBackup();
      const name = path.basename(recordFile());
      await acceptRestored(directory, true);
      renameSync(path.join(copy, name), path.join(directory, name));
      const store = await openStore();
      expect((await errorOf(store.read(key))).found).to.match(/a record of the store/);
    });

    it('a store that is as it was made is not dropped, unless a snapshot of the machine was put back', async () => {
      await storeWithBackup();
      const error = await errorOf(acceptRestored(directory, false));
      expect(error.code).to.equal('control-refused');
      expect(error.next).to.match(/--after-snapshot/);
      const { id } = await openStore();
      expect((await errorOf(acceptRestored(directory, true))).code).to.equal('already-running');
      await stores.at(-1)?.close();
      expect((await acceptRestored(directory, true)).store).not.to.equal(id);
      expect((await openStore()).entries).to.deep.equal([]);
    });

    it('moved on the same file system, it is the same store', async () => {
      await storeWithBackup();
      renameSync(directory, `${directory}-moved`);
      renameSync(`${directory}-moved`, directory);
      expect(await (await openStore()).read(key)).to.deep.equal(record(2, 'alpha'));
    });
  });
});
