/** The disk file of a running module is moved away or replaced, as a careless restore from a backup does. */
import { renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
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
    expect([lastResync?.rule, lastResync?.direction]).to.deep.equal(['disk-in-doubt', 'source']);
    expect(pair.journal.errors).to.deep.equal([]);
    await pair.expectBothHold();
    rmSync(`${diskFile}.away`);
  });
});
