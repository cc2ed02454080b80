/**
 * A real pair that loses power under load: one node or both, at any role, back in any order. The oracle is a guest in a process
 * of its own that journals what was acknowledged. Durability is not verified here: the page cache survives the lab's power-off.
 */
import { expect } from 'chai';
import type { LabNode } from '../../src/lab/lab-layout.ts';
import { Load, RealPair, report } from './real-pair.ts';
import { monotonicMs } from './write-journal.ts';

/** Power-off of the primary to the peer being ready alone, without the start of a VM, ms. */
const failoverDeadlineMs = 10_000;
/** Longest gap between acknowledgements when the secondary is lost, ms. */
const stallLostMs = 4000;

const peerOf = (node: LabNode): LabNode => (node === 'A' ? 'B' : 'A');

let pair: RealPair;

describe('one node of a real pair loses power, default timers', () => {
  before(async () => {
    pair = await RealPair.start();
  });
  beforeEach(() => pair.recover());
  afterEach(() => pair.endLoads());
  after(() => pair?.end());

  it('the primary loses power: the survivor holds every acknowledged write, and the return is a small resync', async () => {
    const primary = await pair.primary();
    const survivor = peerOf(primary);
    const guest = await pair.load(primary);
    await guest.progress(2000);
    const offMs = monotonicMs();
    await pair.lab.powerOff(primary);
    await guest.kill();
    await pair.waitFor(survivor, 'ALONE', 'ready', failoverDeadlineMs);
    report(`survivor ready ${(monotonicMs() - offMs).toFixed(0)} ms after the power-off`);
    expect((await pair.lostInFile(survivor)).slice(0, 5)).to.deep.equal([]);
    expect((await pair.lostInExport(survivor)).slice(0, 5)).to.deep.equal([]);

    const second = await pair.load(survivor);
    await second.progress(1000);
    await pair.lab.startMachine(primary);
    await pair.inSync();
    await second.end();
    await pair.expectBothHold();
    await pair.expectSmallResync(survivor);
    expect(await pair.primary()).to.equal(survivor);
  });

  it('the secondary loses power: the guest waits for the arbiter only, and the return is a small resync', async () => {
    const primary = await pair.primary();
    const guest = await pair.load(primary);
    await guest.progress(1000);
    const offMs = monotonicMs();
    await pair.lab.powerOff(peerOf(primary));
    await pair.waitFor(primary, 'ALONE', 'ready', failoverDeadlineMs);
    await guest.progress(500);
    const stallMs = pair.journal.longestGapMs(offMs, monotonicMs());
    report(`stall ${stallMs.toFixed(0)} ms`);
    expect(stallMs).to.be.at.most(stallLostMs);
    await pair.lab.startMachine(peerOf(primary));
    await pair.inSync();
    await guest.progress(500);
    await guest.end();
    expect(pair.journal.errors).to.deep.equal([]);
    await pair.expectBothHold();
    await pair.expectSmallResync(primary);
  });
});

describe('both nodes of a real pair lose power, fast timers', () => {
  before(async () => {
    pair = await RealPair.start({ timerProfile: 'fast' });
  });
  beforeEach(() => pair.recover());
  afterEach(() => pair.endLoads());
  after(() => pair?.end());

  for (const first of ['primary', 'secondary'] as const) {
    it(`both lose power and the former ${first} is back first: nothing is lost`, async () => {
      const primary = await pair.primary();
      const guest = await pair.load(primary);
      await guest.progress(1000);
      await Promise.all([pair.lab.powerOff('A'), pair.lab.powerOff('B')]);
      await guest.kill();
      const order = first === 'primary' ? [primary, peerOf(primary)] : [peerOf(primary), primary];
      for (const node of order) await pair.lab.startMachine(node);
      await pair.inSync();
      await pair.expectBothHold();
      await pair.expectSmallResync(await pair.primary());
    });
  }

  for (const role of ['secondary', 'primary'] as const) {
    it(`both lose power and only the former ${role} comes back: it goes on by itself, and the other returns later`, async () => {
      const primary = await pair.primary();
      const alone = role === 'primary' ? primary : peerOf(primary);
      const guest = await pair.load(primary);
      await guest.progress(1000);
      await Promise.all([pair.lab.powerOff('A'), pair.lab.powerOff('B')]);
      await guest.kill();
      const onMs = monotonicMs();
      await pair.lab.startMachine(alone);
      await pair.waitFor(alone, 'ALONE', 'ready');
      report(
        `the former ${role} (${alone}) ready alone ${(monotonicMs() - onMs).toFixed(0)} ms after its start`,
      );
      expect((await pair.lostInFile(alone)).slice(0, 5)).to.deep.equal([]);
      const second: Load = await pair.load(alone);
      await pair.lab.startMachine(peerOf(alone));
      await pair.inSync();
      await second.end();
      await pair.expectBothHold();
      await pair.expectSmallResync(alone);
    });
  }
});
