/** What an operator asks of a real pair in sync: stop, start, swap, second. No claim delay, no loss, small resyncs. Default timers. */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import type { LabNode } from '../../src/lab/lab-layout.ts';
import { type Load, RealPair, report } from './real-pair.ts';
import { monotonicMs } from './write-journal.ts';

const commandDeadlineMs = 20_000;
/** A peer whose primary has left goes on at once: far below the delay of a claim, ms. */
const atOnceMs = 2000;

describe('an operator stops, starts and swaps a real pair', () => {
  let pair: RealPair;
  let primary: LabNode;
  let secondary: LabNode;
  let guest: Load;
  before(async () => {
    pair = await RealPair.start();
  });
  beforeEach(async () => {
    await pair.recover();
    primary = await pair.primary();
    secondary = primary === 'A' ? 'B' : 'A';
    guest = await pair.load(primary);
    await guest.progress(1000);
  });
  afterEach(() => pair.endLoads());
  after(() => pair?.end());

  const command = (node: LabNode, verb: string): Promise<unknown> =>
    pair.lab.call(node, verb, {}, commandDeadlineMs);

  async function refusal(promise: Promise<unknown>): Promise<WorldError> {
    const outcome = await promise.catch((error: unknown) => error);
    expect(outcome).to.be.instanceOf(WorldError);
    return outcome as WorldError;
  }

  it('the primary is stopped: the peer goes on at once; started again it is secondary after a small resync', async () => {
    await guest.end();
    const askedMs = monotonicMs();
    await command(primary, 'stop');
    await pair.waitFor(secondary, 'ALONE', 'ready', atOnceMs);
    const tookMs = monotonicMs() - askedMs;
    report(`peer alone ${tookMs.toFixed(0)} ms after the request`);
    expect(tookMs).to.be.at.most(atOnceMs);
    const stopped = await pair.status(primary);
    expect(stopped.state).to.equal('STOP');
    expect(stopped.axes).to.include({ data: 'outdated', run: 'stopped', role: 'secondary' });
    const next = await pair.load(secondary);
    await command(primary, 'start');
    await pair.waitFor(primary, 'SECOND', 'ready');
    await pair.inSync();
    await next.end();
    await pair.expectBothHold();
    await pair.expectSmallResync(secondary);
  });

  it('the primary is stopped under load: what was acknowledged is on the peer', async () => {
    await command(primary, 'stop');
    await pair.waitFor(secondary, 'ALONE', 'ready', atOnceMs);
    await guest.kill();
    expect((await pair.lostInExport(secondary)).slice(0, 5)).to.deep.equal([]);
    await command(primary, 'start');
    await pair.inSync();
    await pair.expectBothHold();
  });

  it('the secondary is stopped under load: the guest hardly notices; started again it is in sync', async () => {
    const askedMs = monotonicMs();
    await command(secondary, 'stop');
    await pair.waitFor(primary, 'ALONE', 'ready', atOnceMs);
    await guest.progress(500);
    const stallMs = pair.journal.longestGapMs(askedMs, monotonicMs());
    report(`stall ${stallMs.toFixed(0)} ms`);
    expect(stallMs).to.be.at.most(1000);
    await command(secondary, 'start');
    await pair.inSync();
    await guest.end();
    expect(pair.journal.errors.filter((text) => !text.includes('shut'))).to.deep.equal([]);
    await pair.expectBothHold();
    await pair.expectSmallResync(primary);
  });

  it('a swap, and back: the roles are exchanged, the copies stay equal and in sync', async () => {
    await guest.end();
    for (const [from, to] of [
      [primary, secondary],
      [secondary, primary],
    ] as const) {
      const askedMs = monotonicMs();
      await command(from, 'swap');
      await pair.waitFor(to, 'PRIM', 'ready');
      report(`swap ${(monotonicMs() - askedMs).toFixed(0)} ms`);
      await pair.waitFor(from, 'SECOND', 'ready');
      const next = await pair.load(to);
      await next.end();
      await pair.expectBothHold();
    }
  });

  it('a swap under load: what was acknowledged is on both', async () => {
    await command(primary, 'swap');
    await pair.waitFor(secondary, 'PRIM', 'ready');
    await guest.kill();
    await pair.inSync();
    await pair.expectBothHold();
  });

  it('what cannot be done is refused in words and changes nothing', async () => {
    expect(await refusal(command(secondary, 'swap'))).to.include({
      code: 'control-refused',
      wanted: 'this node to be primary',
    });
    expect((await refusal(command(secondary, 'prim'))).next).to.contain('vmpair swap');
    expect((await refusal(command(primary, 'second'))).found).to.contain('it is primary');
    await pair.inSync();
    expect(await pair.primary()).to.equal(primary);
    await guest.end();
    await command(secondary, 'stop');
    expect((await refusal(command(primary, 'swap'))).wanted).to.contain('in sync');
    expect((await refusal(command(secondary, 'prim'))).found).to.contain('outdated');
    const wish = readFileSync(`${pair.lab.nodes[secondary].metadataFile}.run`, 'utf8');
    expect(wish, 'a refused command does not start the module at its next crash').to.equal('stopped\n');
    await command(secondary, 'start');
    await pair.inSync();
    await pair.expectBothHold();
  });

  it('both are stopped, first the secondary; started in the other order, the right copy is the source', async () => {
    await command(secondary, 'stop');
    await pair.waitFor(primary, 'ALONE', 'ready', atOnceMs);
    await guest.progress(500);
    await guest.end();
    await command(primary, 'stop');
    await command(secondary, 'start');
    expect((await pair.waitFor(secondary, 'WAIT', 'not-ready')).because).to.contain('outdated');
    await command(primary, 'start');
    await pair.inSync();
    expect(await pair.primary()).to.equal(primary);
    await pair.expectBothHold();
  });

  it('a stopped module stays stopped over a power loss, and starts when it is asked to', async () => {
    await command(secondary, 'stop');
    await guest.progress(500);
    await guest.end();
    await pair.lab.powerOff(secondary);
    await pair.lab.startMachine(secondary);
    expect((await pair.status(secondary)).state).to.equal('STOP');
    await command(secondary, 'start');
    await pair.inSync();
    await pair.expectBothHold();
  });
});
