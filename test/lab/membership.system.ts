/** A real pair with its agents: certificates that change while a guest writes, and new hardware in the place of a dead node. */
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import type { MadeToken } from '../../src/agent/membership/make-token.ts';
import { labNodes } from '../../src/lab/lab-layout.ts';
import { inSyncDeadlineMs } from '../../src/lab/pair.ts';
import { until } from '../until.ts';
import { ClusterOfLab, joinedFiles, vmpair } from './cluster-of-lab.ts';
import { RealPair, report } from './real-pair.ts';

const takeoverDeadlineMs = 30_000;

describe('membership of a real pair', () => {
  let pair: RealPair;
  let cluster: ClusterOfLab;

  beforeEach(async () => {
    const prepare = async (lab: RealPair['lab']): Promise<void> => {
      cluster = await ClusterOfLab.make(lab);
    };
    pair = await RealPair.start({ sizeBytes: 256 * 1024 ** 2, prepare });
    for (const node of labNodes) await cluster.startAgent(node);
  });
  afterEach(async () => {
    await cluster?.end();
    await pair?.end();
  });

  const certificateOf = (file: string): X509Certificate => new X509Certificate(readFileSync(file));

  it('certificates are renewed and the authority is replaced while a guest writes: the pair stays in sync', async () => {
    const guest = await pair.load('A');
    const before = await Promise.all(labNodes.map((node) => pair.status(node)));
    const old = certificateOf(cluster.files('A').tls.ca).fingerprint256;
    for (const node of labNodes) await vmpair('cluster', 'renew-certificates', '--dir', cluster.root(node));
    for (const step of ['trust', 'issue', 'finish']) {
      await vmpair('cluster', 'rotate-authority', step, '--dir', cluster.root('A'));
      await cluster.copyToWitness('A');
      await cluster.reloadWitness();
      await guest.progress(200);
    }
    for (const [index, node] of labNodes.entries()) {
      const { axes, instance, generation } = await pair.status(node);
      expect(axes.link, `${node} stayed in sync`).to.equal('in-sync');
      expect([instance, generation]).to.deep.equal([before[index]?.instance, before[index]?.generation]);
      expect(certificateOf(cluster.files(node).tls.ca).fingerprint256).not.to.equal(old);
    }
    pair.lab.cut();
    await pair.waitFor('A', 'ALONE', 'ready', takeoverDeadlineMs);
    report('the witness granted a claim with the new certificates');
    pair.lab.heal();
    await pair.inSync();
    await guest.end();
    await pair.expectBothHold();
  });

  it('new hardware for B: its old key is revoked, it joins by its name, is filled, and the old machine stays out', async () => {
    const guest = await pair.load('A');
    const { lab } = pair;
    const { directory, nodeFile, diskFile, metadataFile } = lab.nodes.B;
    await lab.powerOff('B');
    await pair.waitFor('A', 'ALONE', 'ready', takeoverDeadlineMs);
    const oldMachine = `${directory}.old`;
    cpSync(directory, oldMachine, { recursive: true, filter: (file) => !file.endsWith('.sock') });
    const lost = ['ca.pem', 'ca.key.pem', 'B.pem', 'B.key.pem', 'cluster.yaml', 'modules', 'state'];
    for (const name of lost) rmSync(join(directory, name), { recursive: true, force: true });
    for (const file of [diskFile, metadataFile, `${metadataFile}.run`]) rmSync(file, { force: true });

    const made = JSON.parse(
      await vmpair('node', 'replace', 'B', '--json', '--dir', cluster.root('A')),
    ) as MadeToken;
    const root = join(lab.directory, 'new-hardware');
    const address = ['--address', '127.0.0.1:7443'];
    await vmpair('cluster', 'join', made.token, '--node', 'B', ...address, '--dir', root);
    const prepared = await vmpair('node', 'prepare-disks', '--dir', root);
    expect(prepared).to.contain(`made, empty: ${diskFile}`);
    const { tls, configDir } = joinedFiles(root);
    const content = parse(readFileSync(nodeFile, 'utf8')) as object;
    const own = { ca: tls.ca, cert: tls.cert, key: tls.key };
    writeFileSync(nodeFile, stringify({ ...content, tls: own, configDir }));
    await lab.startMachine('B');
    await lab.call('B', 'start', {}, inSyncDeadlineMs);
    await pair.inSync();
    expect((await pair.status('A')).lastResync).to.include({ direction: 'source' });
    await guest.end();
    await pair.expectBothHold();

    await lab.powerOff('B');
    await pair.waitFor('A', 'ALONE', 'ready', takeoverDeadlineMs);
    renameSync(directory, `${directory}.new`);
    renameSync(oldMachine, directory);
    expect(existsSync(nodeFile)).to.equal(true);
    await lab.startMachine('B');
    const said = await until(
      'A refuses the old machine',
      async () => {
        const { because, networks } = await pair.status('A');
        const text = `${because} ${JSON.stringify(networks)}`;
        return text.includes('revoked') ? text : undefined;
      },
      takeoverDeadlineMs,
    );
    report(said.slice(0, 200));
    expect((await pair.status('A')).state).to.equal('ALONE');
  });
});
