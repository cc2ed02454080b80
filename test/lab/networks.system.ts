/**
 * A real pair over two networks that loses one under load, with default timers: the other one carries the link within the promised
 * stall, nothing acknowledged is lost, nothing is resynchronised, nobody goes on alone. The cut is the lab's fault injection, not a
 * cable: what the kernel already has still arrives.
 */
import { expect } from 'chai';
import { type LabNode, labNodes } from '../../src/lab/lab-layout.ts';
import { until } from '../until.ts';
import { type Load, RealPair, report } from './real-pair.ts';
import { monotonicMs } from './write-journal.ts';

/** Longest gap between acknowledgements when the network in use is lost, ms; usual: 1700. */
const stallMsMax = 3000;
/** The same when the peer is lost with all networks, ms. */
const stallLostMsMax = 4000;

describe('a real pair over two networks', () => {
  let pair: RealPair;
  let primary: LabNode;
  let guest: Load;
  before(async () => {
    pair = await RealPair.start({ networks: 2 });
  });
  beforeEach(async () => {
    await pair.recover();
    primary = await pair.primary();
    guest = await pair.load(primary);
    await guest.progress(1000);
  });
  afterEach(() => pair.endLoads());
  after(() => pair?.end());

  /** Both nodes say so of network 1 and network 2. */
  async function networksAre(first: string, second: string): Promise<void> {
    const wanted = [first, second];
    await until(`networks ${wanted.join(' and ')}`, async () => {
      for (const node of labNodes) {
        const found = (await pair.status(node)).networks.map(({ state }) => state);
        if (found.join() !== wanted.join()) throw new Error(`${node}: ${found.join(' and ')}`);
      }
      return true;
    });
  }

  /** Which network is used now, as its number. */
  async function inUse(): Promise<number> {
    const { networks } = await pair.status('A');
    return networks.findIndex(({ state }) => state === 'active') + 1;
  }

  /** Cuts a network that is in use, and checks that only the link changes. */
  async function loseNetwork(network: number, at: readonly LabNode[] = labNodes): Promise<void> {
    const before = await pair.status(primary);
    const cutMs = monotonicMs();
    pair.lab.cut(at, network);
    if (network === 1) await networksAre('down', 'active');
    else await networksAre('active', 'down');
    await guest.progress(500);
    const stallMs = pair.journal.longestGapMs(cutMs, monotonicMs());
    report(`stall ${stallMs.toFixed(0)} ms`);
    expect(stallMs, 'stall').to.be.at.most(stallMsMax);
    const after = await pair.status(primary);
    const latest = before.decisions[0];
    const since = after.decisions.slice(
      0,
      after.decisions.findIndex(({ at: when, rule }) => when === latest?.at && rule === latest.rule),
    );
    expect(since.map(({ rule }) => rule)).to.deep.equal(['link-resumes']);
    expect(after.generation).to.equal(before.generation);
    expect([after.state, after.readiness]).to.deep.equal(['PRIM', 'ready']);
    expect(after.because).to.contain(`network ${network} is down`);
  }

  async function endsWell(): Promise<void> {
    await guest.progress(200);
    await guest.end();
    expect(pair.journal.errors).to.deep.equal([]);
    expect(pair.journal.lost, 'connections that the guest lost').to.deep.equal([]);
    expect(await pair.primary()).to.equal(primary);
    await pair.expectBothHold();
  }

  it('the one in use is cut: the other one carries the link within 3 s; it heals, and the other one is cut', async () => {
    await networksAre('active', 'standby');
    await loseNetwork(1);
    pair.lab.heal(labNodes, 1);
    await networksAre('standby', 'active');
    await guest.progress(500);
    await loseNetwork(2);
    pair.lab.heal(labNodes, 2);
    await networksAre('active', 'standby');
    await endsWell();
  });

  for (const node of labNodes)
    it(`the one in use is cut at ${node} only: the other one carries the link within 3 s`, async () => {
      const network = await inUse();
      await loseNetwork(network, [node]);
      pair.lab.heal(labNodes, network);
      await endsWell();
    });

  it('the standby one is cut: the guest does not notice', async () => {
    const network = 3 - (await inUse());
    const before = await pair.status(primary);
    const cutMs = monotonicMs();
    pair.lab.cut(labNodes, network);
    await until(
      'it is down',
      async () => (await pair.status(primary)).networks[network - 1]?.state === 'down',
    );
    await guest.progress(500);
    const stallMs = pair.journal.longestGapMs(cutMs, monotonicMs());
    report(`stall ${stallMs.toFixed(0)} ms`);
    expect((await pair.status(primary)).decisions[0]).to.deep.equal(before.decisions[0]);
    pair.lab.heal(labNodes, network);
    await endsWell();
  });

  it('both are cut: the primary goes on alone within 4 s, and is secured again when one heals', async () => {
    const cutMs = monotonicMs();
    for (const network of [1, 2]) pair.lab.cut(labNodes, network);
    await pair.waitFor(primary, 'ALONE', 'ready');
    await guest.progress(500);
    const stallMs = pair.journal.longestGapMs(cutMs, monotonicMs());
    report(`stall ${stallMs.toFixed(0)} ms`);
    expect(stallMs, 'stall').to.be.at.most(stallLostMsMax);
    pair.lab.heal(labNodes, 2);
    await pair.inSync();
    await networksAre('down', 'active');
    await endsWell();
  });
});
