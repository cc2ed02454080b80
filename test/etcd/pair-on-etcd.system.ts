/** A real pair whose record is in a real etcd of three members, under load, default timers. The pair has no witness. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { parseDocument } from 'yaml';
import { type LabNode, labNodes } from '../../src/lab/lab-layout.ts';
import type { LabCluster } from '../../src/lab/pair.ts';
import { RealPair, report } from '../lab/real-pair.ts';
import { monotonicMs } from '../lab/write-journal.ts';
import { until } from '../until.ts';
import { EtcdLab, labPrefix, labUser } from './etcd-lab.ts';

/** Power-off of the primary to the peer being ready alone, without the start of a VM, ms. */
const failoverDeadlineMs = 10_000;
/** Longer than any timer that could let a primary go on by itself, ms. */
const heldMs = 7000;
const commandDeadlineMs = 30_000;
const inSyncDeadlineMs = 60_000;

const peerOf = (node: LabNode): LabNode => (node === 'A' ? 'B' : 'A');

describe('a real pair with its record in etcd', () => {
  let etcd: EtcdLab;
  let pair: RealPair;

  before(async () => {
    etcd = await EtcdLab.start({ members: 3, tls: 'on', users: true });
    pair = await RealPair.start({ prepare: useEtcd, start: startWithoutWitness });
  });
  afterEach(() => pair?.endLoads());
  after(async () => {
    await pair?.end();
    await etcd?.dispose();
  });

  function useEtcd(lab: LabCluster): void {
    const passwordFile = lab.nodes.A.moduleFile.replace(/[^/]*$/, 'etcd-password');
    writeFileSync(passwordFile, `${labUser.password}\n`, { mode: 0o600 });
    for (const node of labNodes) {
      const { moduleFile } = lab.nodes[node];
      const document = parseDocument(readFileSync(moduleFile, 'utf8'));
      document.set('arbiter', {
        kind: 'etcd',
        endpoints: etcd.members.map(({ clientUrl }) => clientUrl),
        tls: { ca: etcd.tlsFiles('module').ca },
        user: labUser.name,
        passwordFile,
        prefix: `${labPrefix}vm1`,
      });
      writeFileSync(moduleFile, String(document));
    }
  }

  async function startWithoutWitness(lab: LabCluster): Promise<void> {
    await Promise.all(labNodes.map((node) => lab.startMachine(node)));
    await lab.call('A', 'prim', {}, commandDeadlineMs);
    await lab.call('B', 'start', {}, commandDeadlineMs);
    await lab.waitInSync(inSyncDeadlineMs);
  }

  /** How long nothing was acknowledged until now, ms. */
  const stalledMs = (): number => monotonicMs() - (pair.journal.update().acknowledgedMs.at(-1) ?? 0);

  it('the primary loses power: the other node goes on by the word of etcd, and they are a pair again', async () => {
    const primary = await pair.primary();
    const survivor = peerOf(primary);
    const guest = await pair.load(primary);
    await guest.progress(1000);
    const offMs = monotonicMs();
    await pair.lab.powerOff(primary);
    await guest.kill();
    await pair.waitFor(survivor, 'ALONE', 'ready', failoverDeadlineMs);
    report(`survivor ready ${(monotonicMs() - offMs).toFixed(0)} ms after the power-off`);
    expect(await etcd.etcdctl(['get', '--print-value-only', `${labPrefix}vm1`])).to.include(
      `"holder":"${survivor}"`,
    );
    expect((await pair.lostInExport(survivor)).slice(0, 5)).to.deep.equal([]);
    const second = await pair.load(survivor);
    await second.progress(500);
    await pair.lab.startMachine(primary);
    await pair.inSync();
    await second.end();
    await pair.expectBothHold();
  });

  it('etcd loses a member: the pair goes on as ever; then the majority: no effect on a pair in sync, claims wait for it', async () => {
    const primary = await pair.primary();
    const secondary = peerOf(primary);
    const guest = await pair.load(primary);
    await etcd.kill(0);
    await pair.lab.powerOff(secondary);
    await pair.waitFor(primary, 'ALONE', 'ready');
    await pair.lab.startMachine(secondary);
    await pair.inSync();

    const offMs = monotonicMs();
    await etcd.kill(1);
    await guest.progress(2000);
    report(`longest gap ${pair.journal.longestGapMs(offMs, monotonicMs()).toFixed(0)} ms without a majority`);
    for (const node of labNodes) {
      const { readiness, axes } = await pair.status(node);
      expect({ readiness, link: axes.link }).to.deep.equal({ readiness: 'ready', link: 'in-sync' });
    }
    await pair.lab.powerOff(secondary);
    await until('the primary waits for the arbiter', async () =>
      (await pair.status(primary)).because.includes('waiting for the arbiter'),
    );
    await until('a long time without an acknowledgement', () => stalledMs() > heldMs, 3 * heldMs);
    expect(await pair.status(primary)).to.deep.include({ state: 'ALONE', readiness: 'transient' });
    await etcd.startAll();
    await pair.waitFor(primary, 'ALONE', 'ready');
    await pair.lab.startMachine(secondary);
    await pair.inSync();
    await guest.progress(200);
    await guest.end();
    expect(pair.journal.errors).to.deep.equal([]);
    await pair.expectBothHold();
  });
});
