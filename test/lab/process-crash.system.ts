/**
 * kill -9 of the processes of a real pair under load: modules of both roles, the supervisor. The data path is back within the
 * promised time, a client that connects meanwhile is never refused, nothing acknowledged is lost. Default timers.
 */
import { expect } from 'chai';
import { type LabNode, labNodes, readLabRecord } from '../../src/lab/lab-layout.ts';
import { callOnce } from '../../src/platform/control-client.ts';
import type { SupervisedStatus } from '../../src/supervisor/supervised-module.ts';
import { until } from '../until.ts';
import { KnockingClient } from './knocking-client.ts';
import { type Load, RealPair, report } from './real-pair.ts';
import { monotonicMs } from './write-journal.ts';

/** Longest gap between acknowledgements when a module process is killed, ms. */
const dataPathBackMs = 2000;

describe('processes of a real pair are killed under load', () => {
  let pair: RealPair;
  let guest: Load;
  before(async () => {
    pair = await RealPair.start();
  });
  beforeEach(async () => {
    await pair.recover();
    // Deaths of the tests before would count as deaths of a process that dies young; the operator's word begins anew.
    for (const node of labNodes) await askSupervisor(node, 'start');
    guest = await pair.load(await pair.primary());
    await guest.progress(1000);
  });
  afterEach(() => pair.endLoads());
  after(() => pair?.end());

  const supervisorPid = (node: LabNode): number =>
    readLabRecord(pair.lab.directory).processes[node]?.pid ?? 0;
  const askSupervisor = (node: LabNode, command: 'start' | 'status'): Promise<unknown> =>
    callOnce(pair.lab.nodes[node].supervisorSocket, command, { module: 'vm1' });
  const supervised = async (node: LabNode): Promise<SupervisedStatus> =>
    (await askSupervisor(node, 'status')) as SupervisedStatus;

  /** Kills the module of a node while the guest writes, and checks all that must hold. */
  async function killModule(node: LabNode): Promise<void> {
    const primary = await pair.primary();
    const lossesBefore = pair.journal.update().lost.length;
    const client = new KnockingClient(pair.socketPath(primary));
    const killedMs = monotonicMs();
    const killed = pair.lab.killModule(node);
    await until('another module process', async () => (await supervised(node)).pid !== killed);
    await pair.inSync();
    await guest.progress(500);
    const stallMs = pair.journal.longestGapMs(killedMs, monotonicMs());
    await client.end();
    report(
      `stall ${stallMs.toFixed(0)} ms; ${client.opened} other connections, ` +
        `longest wait ${client.longestWaitMs.toFixed(0)} ms`,
    );
    expect(stallMs, 'stall').to.be.at.most(dataPathBackMs);
    expect(client.refusals).to.deep.equal([]);
    expect(client.opened).to.be.above(0);
    const losses = pair.journal.lost.slice(lossesBefore);
    expect(losses.filter((text) => text.includes('REFUSED') || text.includes('refused'))).to.deep.equal([]);
    expect(losses.length > 0, 'the guest lost its connection').to.equal(node === primary);
    expect(pair.journal.errors).to.deep.equal([]);
    expect(await pair.primary(), 'the roles stay').to.equal(primary);
    await guest.end();
    await pair.expectBothHold();
  }

  it('the module of the primary: the guest goes on within 2 s and nobody is refused', () => killModule('A'));

  it('the module of the secondary: the guest goes on within 2 s', () => killModule('B'));

  it('the module of a primary that is alone: the guest goes on within 2 s', async () => {
    await pair.lab.powerOff('B');
    await pair.waitFor('A', 'ALONE', 'ready');
    await guest.progress(500);
    const killedMs = monotonicMs();
    const killed = pair.lab.killModule('A');
    await until('another module process', async () => (await supervised('A')).pid !== killed);
    await pair.waitFor('A', 'ALONE', 'ready');
    await guest.progress(500);
    const stallMs = pair.journal.longestGapMs(killedMs, monotonicMs());
    report(`stall ${stallMs.toFixed(0)} ms`);
    expect(stallMs, 'stall').to.be.at.most(dataPathBackMs);
    expect(pair.journal.errors).to.deep.equal([]);
    await pair.lab.startMachine('B');
    await pair.inSync();
    await guest.end();
    await pair.expectBothHold();
  });

  it('both modules at once: the guest goes on and the roles stay', async () => {
    const killedMs = monotonicMs();
    pair.lab.killModule('B');
    await killModule('A');
    expect(monotonicMs()).to.be.above(killedMs);
  });

  it('the module of the primary, three times in a row before the pair is in sync again', async () => {
    const client = new KnockingClient(pair.socketPath('A'));
    for (const count of [1, 2, 3]) {
      const killed = pair.lab.killModule('A');
      await until(`process ${count + 1}`, async () => {
        const status = await supervised('A');
        return status.state === 'running' && status.pid !== killed;
      });
    }
    await pair.inSync();
    await client.end();
    expect(client.refusals).to.deep.equal([]);
    await guest.progress(500);
    await guest.end();
    expect(pair.journal.errors).to.deep.equal([]);
    await pair.expectBothHold();
  });

  it('the supervisor: the module does not notice, and the next supervisor watches it again', async () => {
    const module = (await supervised('A')).pid;
    const killedMs = monotonicMs();
    process.kill(supervisorPid('A'), 'SIGKILL');
    await guest.progress(1000);
    await until('the supervisor to be gone', async () => !(await pair.lab.status()).nodes.A.powered);
    await pair.lab.startMachine('A');
    expect((await supervised('A')).pid, 'the module process').to.equal(module);
    await guest.progress(500);
    const stallMs = pair.journal.longestGapMs(killedMs, monotonicMs());
    report(`stall ${stallMs.toFixed(0)} ms`);
    expect(stallMs).to.be.at.most(dataPathBackMs);
    await killModule('A');
    expect((await supervised('A')).restarts).to.equal(1);
  });
});
