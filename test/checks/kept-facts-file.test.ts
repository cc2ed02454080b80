/** The small file beside the metadata: what one process kept, the next one reads; nothing in it can keep a module from starting. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { openKeptFacts } from '../../modules/mirror/kept-facts-file.ts';
import { silentLog } from '../../src/base/log.ts';
import type { KeptFacts } from '../../src/checks/kept-facts.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

const facts = (sequence: number): KeptFacts => ({
  restarts: { epoch: 1, agesMs: [10] },
  maintenance: { sequence, leftMs: 1000 },
  endedInMaintenance: false,
  stopped: { rule: 'app', because: 'it is gone' },
});

describe('what the checks keep on disk', () => {
  let directory: TempDirectory;
  let file: string;

  beforeEach(() => {
    directory = makeTempDirectory();
    file = directory.file('vm1.meta');
  });
  afterEach(() => directory.remove());

  it('is there for the next process, older by the time between them', async () => {
    const store = openKeptFacts(file, silentLog);
    expect(store.last).to.equal(undefined);
    await new Promise<void>((kept) => store.keep(facts(1), kept));
    const text = readFileSync(`${file}.checks`, 'utf8');
    const earlier = JSON.parse(text) as { writtenAtMs: number };
    writeFileSync(`${file}.checks`, text.replace(String(earlier.writtenAtMs), String(Date.now() - 500)));
    const { last } = openKeptFacts(file, silentLog);
    expect(last?.stopped).to.deep.equal({ rule: 'app', because: 'it is gone' });
    expect(last?.restarts.agesMs[0]).to.be.at.least(510);
    expect(last?.maintenance.leftMs).to.be.at.most(500);
  });

  it('everybody who waits is answered when something newer is durable, and the newest stays', async () => {
    const store = openKeptFacts(file, silentLog);
    await Promise.all([1, 2, 3].map((each) => new Promise<void>((kept) => store.keep(facts(each), kept))));
    expect(openKeptFacts(file, silentLog).last?.maintenance.sequence).to.equal(3);
    expect(readdirSync(directory.path)).to.deep.equal(['vm1.meta.checks']);
  });

  it('that cannot be read, or written, is logged and no more', async () => {
    const warned: string[] = [];
    const log = { ...silentLog, warn: (event: string) => void warned.push(event) };
    writeFileSync(`${file}.checks`, '{"facts": 1}');
    expect(openKeptFacts(file, log).last).to.equal(undefined);
    const nowhere = openKeptFacts(directory.file('none/vm1.meta'), log);
    await new Promise<void>((kept) => nowhere.keep(facts(1), kept));
    expect(warned).to.deep.equal(['checks-unreadable', 'checks-not-kept']);
  });
});
