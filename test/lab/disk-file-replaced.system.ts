/** The disk file of a module is moved away or replaced, while it runs or not, as a careless restore from a backup does. */
import { copyFileSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import type { LabNode } from '../../src/lab/lab-layout.ts';
import { until } from '../until.ts';
import { RealPair } from './real-pair.ts';

const volumeBytes = 64 * 1024 ** 2;
/** The files are looked at every 5 s. */
const noticedMs = 15_000;

describe('a real pair whose disk file is replaced', function () {
  this.timeout(120_000);
  let pair: RealPair;

  before(async () => {
    pair = await RealPair.start({ sizeBytes: volumeBytes });
  });
  after(() => pair?.end());

  function notReady(node: 'A' | 'B', words: string): Promise<unknown> {
    return until(
      `${node} says that its file ${words}`,
      async () => {
        const { readiness, because } = await pair.status(node);
        return readiness === 'not-ready' && because.includes(words);
      },
      noticedMs,
    );
  }

  /** How many starts of a module said that its file was not the one from before. */
  function timesSaid(node: LabNode): number {
    return (
      readFileSync(pair.lab.nodes[node].paths.log, 'utf8').split('"event":"disk-file-replaced"').length - 1
    );
  }

  it('moved away: the node says so while the pair goes on, and is ready when the file is back', async () => {
    const guest = await pair.load('A');
    const { diskFile } = pair.lab.nodes.B;
    renameSync(diskFile, `${diskFile}.away`);
    await notReady('B', 'was deleted');
    await guest.progress(500);
    renameSync(`${diskFile}.away`, diskFile);
    await pair.waitFor('B', 'SECOND', 'ready');
    await guest.end();
    await pair.expectBothHold();
  });

  it('replaced, and then the module of the primary dies: the other file is not served, the peer goes on and copies it in full', async () => {
    const guest = await pair.load('A');
    const { diskFile } = pair.lab.nodes.A;
    renameSync(diskFile, `${diskFile}.away`);
    writeFileSync(diskFile, 'another image');
    truncateSync(diskFile, volumeBytes);
    await notReady('A', 'was replaced');
    await guest.progress(500);
    await guest.end();
    pair.lab.killModule('A');
    await pair.waitFor('B', 'PRIM', 'ready', 40_000);
    await pair.inSync();
    const { lastResync } = await pair.status('B');
    expect([lastResync?.direction, lastResync?.totalBytes]).to.deep.equal(['source', volumeBytes]);
    expect(pair.journal.errors).to.deep.equal([]);
    await pair.expectBothHold();
    rmSync(`${diskFile}.away`);
  });

  it('replaced by a copy of itself while its module is stopped: it is not taken for the old one, and copied in full', async () => {
    await pair.inSync();
    const [primary, other] = (await pair.primary()) === 'A' ? (['A', 'B'] as const) : (['B', 'A'] as const);
    const { diskFile } = pair.lab.nodes[primary];
    await pair.lab.call(primary, 'stop', {}, noticedMs);
    const guest = await pair.load(other);
    copyFileSync(diskFile, `${diskFile}.restored`);
    renameSync(`${diskFile}.restored`, diskFile);
    pair.lab.killModule(primary);
    await pair.waitFor(primary, 'STOP', 'not-ready');
    await pair.lab.call(primary, 'start', {}, noticedMs);
    await pair.inSync();
    const { lastResync } = await pair.status(other);
    expect([lastResync?.direction, lastResync?.totalBytes]).to.deep.equal(['source', volumeBytes]);
    await guest.end();
    await pair.expectBothHold();

    const said = timesSaid(primary);
    const { instance } = await pair.status(primary);
    pair.lab.killModule(primary);
    await until('the next process', async () => {
      const next = await pair.lab.moduleStatus(primary);
      return next !== undefined && next.instance !== instance;
    });
    expect(timesSaid(primary), 'the file is known from then on').to.equal(said);
    await pair.inSync();
  });

  it('replaced while its node is off and the peer is lost: nothing starts until the operator accepts the disk', async () => {
    await pair.recover();
    const { diskFile } = pair.lab.nodes.A;
    await pair.lab.powerOff('B');
    await pair.waitFor('A', 'ALONE', 'ready');
    await pair.lab.powerOff('A');
    copyFileSync(diskFile, `${diskFile}.restored`);
    renameSync(`${diskFile}.restored`, diskFile);
    await pair.lab.startMachine('A');
    const { because } = await pair.waitFor('A', 'WAIT', 'not-ready');
    expect(because)
      .to.include('is not the one that this module wrote to before')
      .and.include('vmpair accept-disk vm1');
    await pair.lab.call('A', 'accept-disk', {}, noticedMs);
    await pair.waitFor('A', 'ALONE', 'ready');
    await pair.lab.powerOff('A');
    await pair.lab.startMachine('A');
    await pair.waitFor('A', 'ALONE', 'ready');
    await pair.recover();
  });
});
