/** Appended records: torn by a kill, rotated when full, refused by the disk. */
import { appendFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { AuditLog, auditedArguments } from '../../src/agent/journal/audit-log.ts';
import { EventJournal, eventsKeptMax } from '../../src/agent/journal/event-journal.ts';
import { linesQueuedMax, RecordLog } from '../../src/agent/store/record-log.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

describe('record log', () => {
  let directory: TempDirectory;
  let failures: Error[];
  beforeEach(() => {
    directory = makeTempDirectory('in-memory');
    failures = [];
  });
  afterEach(() => directory.remove());

  const open = (fileBytesMax = 1024 * 1024): RecordLog =>
    new RecordLog({
      directory: directory.path,
      name: 'log',
      fileBytesMax,
      filesMax: 3,
      failed: (error) => failures.push(error),
    });

  it('what was appended is read back in order, also by the next process', async () => {
    const log = open();
    for (let index = 0; index < 100; index += 1) log.append({ index });
    await log.appendDurably({ index: 100 });
    await log.close();
    const read = (await open().readAll()) as { index: number }[];
    expect(read.map(({ index }) => index)).to.deep.equal(
      Array.from({ length: 101 }, (_none, index) => index),
    );
  });

  it('a line that a kill tore is cut off, and the next one stands alone', async () => {
    const log = open();
    await log.appendDurably({ index: 1 });
    await log.close();
    appendFileSync(directory.file('log'), '{"index":2,"be');
    const next = open();
    await next.appendDurably({ index: 3 });
    await next.close();
    expect(readFileSync(directory.file('log'), 'utf8')).to.equal('{"index":1}\n{"index":3}\n');
  });

  it('a full file is rotated, and the oldest is deleted', async () => {
    const log = open(50);
    for (let index = 0; index < 40; index += 1) await log.appendDurably({ index });
    await log.close();
    expect(readdirSync(directory.path).sort()).to.deep.equal(['log', 'log.1', 'log.2']);
    const read = (await open(50).readAll()) as { index: number }[];
    expect(read.at(-1)).to.deep.equal({ index: 39 });
    expect(read.length).to.be.within(8, 20);
  });

  it('a disk that refuses rejects the durable line, drops the other one, and is used again later', async () => {
    mkdirSync(directory.file('log'));
    const log = open();
    log.append({ index: 1 });
    const refused = await log.appendDurably({ index: 2 }).then(
      () => false,
      () => true,
    );
    expect(refused).to.equal(true);
    expect(failures).to.not.deep.equal([]);
    rmSync(directory.file('log'), { recursive: true });
    await log.appendDurably({ index: 3 });
    expect(await log.readAll()).to.deep.equal([{ index: 3 }]);
    await log.close();
  });

  it('a queue that is full drops events and never throws', async () => {
    const log = open();
    for (let index = 0; index < linesQueuedMax + 10; index += 1) log.append({ index });
    expect(log.dropped).to.equal(10);
    await log.close();
  });

  describe('the timeline', () => {
    const journal = (log: RecordLog) => EventJournal.open(log, 'A', () => '2026-01-01T00:00:00.000Z');

    it('goes on with its numbers after a restart, and knows the last state of each module', async () => {
      const log = open();
      const first = await journal(log);
      first.add({ kind: 'module-state', module: 'vm1', to: 'PRIM ready', because: 'both copies are equal' });
      first.add({ kind: 'module-state', module: 'vm2', to: 'WAIT not-ready', because: 'no peer' });
      await log.close();
      const second = await journal(open());
      second.add({ kind: 'agent', because: 'started' });
      expect(second.query({}).map(({ id }) => id)).to.deep.equal([1, 2, 3]);
      expect(second.lastStateOf('vm1')).to.equal('PRIM ready');
      expect(second.query({ vm: 'vm2' })).to.have.length(1);
      expect(second.query({ after: 1, limit: 1 }).map(({ id }) => id)).to.deep.equal([2]);
    });

    it('keeps a bounded number in memory, and leaves out lines that are none of it', async () => {
      writeFileSync(directory.file('log'), 'what is this\n{"id":"x"}\n');
      const log = open();
      const events = await journal(log);
      for (let index = 0; index < eventsKeptMax + 5; index += 1) events.add({ kind: 'agent', because: 'x' });
      expect(events.query({ limit: 10_000 })).to.have.length(eventsKeptMax);
      await log.close();
    });
  });

  it('no secret gets into the audit log, and a disk that refuses does not stop anybody', async () => {
    const args = auditedArguments({ user: 'anna', password: 'secret words', note: 'x'.repeat(2000) });
    expect(JSON.stringify(args)).to.not.contain('secret words');
    expect(JSON.stringify(args).length).to.be.below(700);
    mkdirSync(directory.file('log'));
    const audit = new AuditLog(open(), 'A', () => '');
    await audit.add({
      who: 'local',
      from: 'this host',
      what: 'x',
      args,
      outcome: 'done',
      status: 200,
      because: '',
    });
    expect(failures).to.have.length(1);
  });
});
