/**
 * Not verified here: what a loss of power leaves (the order of system calls is, in
 * witness-process.system.ts).
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import type { ArbiterRecord } from '../../src/disk/state.ts';
import { decodeRecordFile, encodeRecordFile, RecordStore } from '../../src/witness/record-store.ts';
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
    const store = await RecordStore.open(directory, (error) => {
      throw error;
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
    expect((await store.swap(key, undefined, record(1, 'both'))).action.kind).to.equal('write');
    await store.close();
    expect(await (await openStore()).read(key)).to.deep.equal(record(1, 'both'));
  });

  it('modules, clusters and letter cases do not share a record', async () => {
    const store = await openStore();
    await store.swap(key, undefined, record(1, 'both'));
    for (const other of [{ clusterId: 'c2' }, { moduleId: 'VM1' }, { moduleId: 'vm2' }]) {
      expect(await store.read({ ...key, ...other })).to.equal(undefined);
      await store.swap({ ...key, ...other }, undefined, record(1, 'alpha', 9));
    }
    expect(await store.read(key)).to.deep.equal(record(1, 'both'));
    const names = readdirSync(directory).filter((name) => name.endsWith('.record'));
    expect(new Set(names.map((name) => name.toLowerCase())).size).to.equal(4);
  });

  it('many claims arrive at once: exactly one is granted', async () => {
    const store = await openStore();
    await store.swap(key, undefined, record(1, 'both'));
    const claims = Array.from({ length: 20 }, (_, index) =>
      record(2, index % 2 === 0 ? 'alpha' : 'beta', 100 + index),
    );
    const decisions = await Promise.all(claims.map((claim) => store.swap(key, record(1, 'both'), claim)));
    const granted = decisions.flatMap(({ action }) => (action.kind === 'write' ? [action.record] : []));
    expect(granted).to.have.length(1);
    expect(await store.read(key)).to.deep.equal(granted[0]);
  });

  it('a damaged record is refused, not taken for none, and stays as it is', async () => {
    const store = await openStore();
    await store.swap(key, undefined, record(1, 'both'));
    const file = recordFile();
    const whole = readFileSync(file, 'utf8');
    const damages = [
      () => truncateSync(file, 0),
      () => truncateSync(file, whole.length - 1),
      () => writeFileSync(file, whole.replace('"both"', '"beta"')),
      () => writeFileSync(file, encodeRecordFile({ ...key, moduleId: 'vm2' }, record(1, 'both'))),
    ];
    for (const damage of damages) {
      writeFileSync(file, whole);
      damage();
      const left = readFileSync(file, 'utf8');
      expect((await errorOf(store.read(key))).code).to.equal('record-damaged');
      expect((await errorOf(store.swap(key, undefined, record(1, 'alpha')))).code).to.equal('record-damaged');
      expect(readFileSync(file, 'utf8')).to.equal(left);
    }
  });

  it('any damaged byte of a record file is noticed', () => {
    const text = encodeRecordFile(key, record(7, 'alpha'));
    expect(decodeRecordFile('f', key, text)).to.deep.equal(record(7, 'alpha'));
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.integer({ min: 1, max: 127 }), (at, flip) => {
        const damaged =
          text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ flip) + text.slice(at + 1);
        expect(() => decodeRecordFile('f', key, damaged)).to.throw(/^record-damaged/);
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.string(), (foreign) => {
        expect(() => decodeRecordFile('f', key, foreign)).to.throw(/^record-damaged/);
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
    const error = await errorOf(store.swap(key, undefined, record(1, 'both')));
    expect(error.code).to.equal('storage-failed');
    await store.close();
    await openStore();
  });
});
