/** One witness of several clusters: who reaches what, files that come, go and are wrong, and limits of one cluster. */
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import tls from 'node:tls';
import { expect } from 'chai';
import { encodeLine } from '../../src/arbiter/witness-protocol.ts';
import { keyIdOf, serverNameOf } from '../../src/platform/certificate-identity.ts';
import { createClusterAuthority, publicKeyOf } from '../../src/platform/pki.ts';
import { dialOptions, type TlsIdentity } from '../../src/platform/tls.ts';
import { WitnessArbiter } from '../../src/platform/witness-client.ts';
import { ClusterIdentities, type IdentitySource } from '../../src/witness/cluster-identities.ts';
import {
  type ClusterLimitFigures,
  clusterLimitFigures,
  ClusterLimits,
} from '../../src/witness/cluster-limits.ts';
import { expiryWarnings } from '../../src/witness/expiry.ts';
import { WitnessMetrics } from '../../src/witness/metrics.ts';
import { RecordStore } from '../../src/witness/record-store.ts';
import { startWitnessServer, type WitnessServer } from '../../src/witness/server.ts';
import { healthOf } from '../../src/witness/status.ts';
import { clusterOfTwo, identityOf, loopback, until } from '../platform/loopback-pair.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import {
  breakCertificate,
  readOf,
  recordingLog,
  sampleRecord,
  swapOf,
  writeWitnessFiles,
} from './witness-fixture.ts';

const dayMs = 24 * 60 * 60 * 1000;

describe('witness of several clusters', () => {
  let directory: TempDirectory;
  let first: Awaited<ReturnType<typeof clusterOfTwo>>;
  let second: Awaited<ReturnType<typeof clusterOfTwo>>;
  let sources: Record<'first' | 'second', IdentitySource>;
  let store: RecordStore;
  let closing: (() => unknown)[] = [];

  before(async () => {
    [first, second] = await Promise.all([clusterOfTwo('c1'), clusterOfTwo('c2')]);
  });
  beforeEach(async () => {
    directory = makeTempDirectory();
    sources = {
      first: await writeWitnessFiles(directory.file('first'), first.authority),
      second: await writeWitnessFiles(directory.file('second'), second.authority),
    };
    store = await RecordStore.open(directory.file('data'), {
      fatal: (error) => {
        throw error;
      },
    });
    closing = [() => store.close()];
  });
  afterEach(async () => {
    for (const close of closing.toReversed()) await close();
    directory.remove();
  });

  const both = (): IdentitySource[] => [sources.first, sources.second];

  async function serve(clusters: ClusterIdentities, limits: ClusterLimitFigures = clusterLimitFigures) {
    const metrics = new WitnessMetrics();
    metrics.watch(clusters, () => store.entries);
    const { log, lines } = recordingLog();
    const listen = { host: loopback, port: 0 };
    const server = await startWitnessServer({ listen, clusters, store, log, metrics, limits });
    closing.push(() => server.close());
    const text = () => metrics.registry.metrics();
    return { server, lines, text };
  }

  const clientOf = (server: WitnessServer, identity: TlsIdentity) =>
    new WitnessArbiter({ address: server.address, identity, moduleId: 'vm1' });

  /** A connection that is kept, after the hello of the witness. */
  async function connect(server: WitnessServer, identity: TlsIdentity, more: tls.ConnectionOptions = {}) {
    const options = { ...dialOptions(identity, { role: 'witness' }), ...more };
    const socket = tls.connect({ ...options, host: loopback, port: server.address.port });
    closing.push(() => socket.destroy());
    let heard = '';
    socket.on('data', (bytes) => (heard += String(bytes)));
    socket.on('error', () => undefined);
    return { socket, heard: () => heard };
  }

  it('the key of a node that was replaced is revoked: the node is refused after a reload, the other one is served on', async () => {
    const revoked = directory.file('revoked');
    const source = { ...sources.first, revoked };
    const clusters = ClusterIdentities.load([source]);
    const { server } = await serve(clusters);
    const [old, other] = [clientOf(server, first.beta), clientOf(server, first.alpha)];
    expect((await readOf(old)).kind).to.equal('record');
    writeFileSync(revoked, 'no id of a key\n');
    expect(clusters.reload([source]).refused[0]).to.include({ keptBefore: true });
    writeFileSync(revoked, `${keyIdOf(publicKeyOf(first.beta.keyPem))}\n`);
    expect(clusters.reload([source]).renewed).to.deep.equal(['c1']);
    server.clustersChanged([]);
    expect((await readOf(old)).kind).to.equal('no-answer');
    expect((await readOf(other)).kind).to.equal('record');
  });

  it('each cluster reaches the witness by its own certificates, and only its own record of a module of one name', async () => {
    const { server, text } = await serve(ClusterIdentities.load(both()));
    const one = sampleRecord(1, 'both', 1);
    const other = sampleRecord(1, 'alpha', 2);
    expect(await swapOf(clientOf(server, first.alpha), undefined, one)).to.have.property('kind', 'granted');
    expect(await readOf(clientOf(server, second.alpha))).to.have.property('record', undefined);
    expect(await swapOf(clientOf(server, second.alpha), undefined, other)).to.have.property(
      'kind',
      'granted',
    );
    expect(await readOf(clientOf(server, first.beta))).to.have.deep.property('record', one);
    expect(await readOf(clientOf(server, second.beta))).to.have.deep.property('record', other);
    expect(await text()).to.match(/swaps_total\{cluster="c1",outcome="granted"\} 1\n/);
  });

  it('a node that asks for another cluster than its own is rejected', async () => {
    const { server, text } = await serve(ClusterIdentities.load(both()));
    const forged = {
      ca: second.authority.certificatePem,
      servername: serverNameOf('c2'),
      checkServerIdentity: () => undefined,
    };
    const { socket, heard } = await connect(server, first.alpha, forged);
    socket.write(encodeLine({ id: 1, op: 'read', moduleId: 'vm1' }));
    await once(socket, 'close');
    expect(heard()).to.equal('');
    expect(await text()).to.match(/connections_rejected_total\{code="certificate-rejected"\} 1\n/);
  });

  it('a node of a cluster that is not served learns it by the certificate, and the witness logs which it was', async () => {
    const { server, lines } = await serve(ClusterIdentities.load([sources.first]));
    const answer = await readOf(clientOf(server, second.alpha));
    expect(answer)
      .to.have.property('because')
      .that.matches(/^certificate-rejected: wanted .*witness/);
    expect(lines.find(({ event }) => event === 'cluster-unknown')?.fields).to.include({
      serverName: serverNameOf('c2'),
    });
  });

  it('a set of files that is wrong is refused by name, and the others are served', async () => {
    breakCertificate(sources.second);
    const clusters = ClusterIdentities.load(both());
    expect(clusters.refused.map(({ name, problem }) => [name, problem.code])).to.deep.equal([
      ['second', 'certificate-rejected'],
    ]);
    expect(healthOf(store, clusters, Date.now())).to.deep.include({ status: 'degraded' });
    const { server } = await serve(clusters);
    expect(await readOf(clientOf(server, first.alpha))).to.have.property('kind', 'record');
  });

  it('files of a node, a second set of one cluster, and no usable set at all are refused', async () => {
    const twice = { ...sources.first, name: 'again' };
    const { refused } = ClusterIdentities.load([sources.first, twice]);
    expect(refused.map(({ problem }) => problem.found)).to.deep.equal(['cluster c1, which first already is']);
    breakCertificate(sources.first);
    expect(() => ClusterIdentities.load([sources.first])).to.throw(/^certificate-rejected/);
    expect(() => ClusterIdentities.load([])).to.throw(/^config-invalid: .*at least one cluster/);
  });

  it('a cluster is dropped in while the witness runs: it is served, and no connection of the others ends', async () => {
    const clusters = ClusterIdentities.load([sources.first]);
    const { server } = await serve(clusters);
    const kept = await connect(server, first.alpha);
    await until(
      () => 'the hello',
      () => kept.heard().includes('hello'),
    );
    expect(clusters.reload(both())).to.deep.include({ added: ['c2'], withdrawn: [], renewed: [] });
    server.clustersChanged([]);
    expect(await readOf(clientOf(server, second.alpha))).to.have.property('kind', 'record');
    kept.socket.write(encodeLine({ id: 7, op: 'read', moduleId: 'vm1' }));
    await until(
      () => `an answer on the kept connection; heard ${kept.heard()}`,
      () => kept.heard().includes('"id":7'),
    );
  });

  it('a cluster is taken away: its connections end, its nodes are refused, the others are served on', async () => {
    const clusters = ClusterIdentities.load(both());
    const { server } = await serve(clusters);
    const gone = await connect(server, first.alpha);
    await until(
      () => 'the hello',
      () => gone.heard().includes('hello'),
    );
    const ended = once(gone.socket, 'close');
    const { withdrawn } = clusters.reload([sources.second]);
    server.clustersChanged(withdrawn);
    await ended;
    expect(await readOf(clientOf(server, first.alpha))).to.have.property('kind', 'no-answer');
    expect(await readOf(clientOf(server, second.alpha))).to.have.property('kind', 'record');
  });

  it('a renewed certificate counts for the next connection; one that is wrong leaves the one before in force', async () => {
    const clusters = ClusterIdentities.load(both());
    const { server } = await serve(clusters);
    await writeWitnessFiles(directory.file('first'), first.authority);
    expect(clusters.reload(both())).to.deep.include({ added: [], renewed: ['c1'], refused: [] });
    breakCertificate(sources.first);
    const { refused, withdrawn } = clusters.reload(both());
    expect(refused.map(({ name, keptBefore }) => [name, keptBefore])).to.deep.equal([['first', true]]);
    expect(withdrawn).to.deep.equal([]);
    server.clustersChanged(withdrawn);
    expect(await readOf(clientOf(server, first.alpha))).to.have.property('kind', 'record');
    rmSync(directory.file('first'), { recursive: true });
    rmSync(directory.file('second'), { recursive: true });
    expect(() => clusters.reload([])).to.throw(/at least one cluster/);
    expect(await readOf(clientOf(server, second.alpha))).to.have.property('kind', 'record');
  });

  it('one cluster asks far too often: it is told so, and the other one is answered', async () => {
    const limits = { ...clusterLimitFigures, requestRate: { perSecond: 0.001, burst: 3 } };
    const { server, text } = await serve(ClusterIdentities.load(both()), limits);
    const { socket, heard } = await connect(server, first.alpha);
    for (let id = 1; id <= 5; id += 1) socket.write(encodeLine({ id, op: 'read', moduleId: 'vm1' }));
    await until(
      () => `5 answers; heard ${heard()}`,
      () => heard().split('\n').length === 7,
    );
    const answers = heard().trim().split('\n').slice(1);
    expect(answers.filter((line) => line.includes('"record"'))).to.have.length(3);
    expect(answers.filter((line) => line.includes('request-rejected'))).to.have.length(2);
    expect(await readOf(clientOf(server, second.alpha))).to.have.property('kind', 'record');
    expect(await text()).to.match(/rate_limited_total\{cluster="c1",limit="request-rate"\} 2\n/);
  });

  it('one cluster dials far too often, or keeps too many connections: the other one connects', async () => {
    const limits = {
      ...clusterLimitFigures,
      connectionsMax: 1,
      connectionRate: { perSecond: 0.001, burst: 2 },
    };
    const { server, text, lines } = await serve(ClusterIdentities.load(both()), limits);
    const kept = await connect(server, first.alpha);
    await until(
      () => 'the hello',
      () => kept.heard().includes('hello'),
    );
    // The second one is one too many at a time, the third one too fast.
    for (let dial = 0; dial < 2; dial += 1)
      expect(await readOf(clientOf(server, first.alpha))).to.have.property('kind', 'no-answer');
    expect(await readOf(clientOf(server, second.alpha))).to.have.property('kind', 'record');
    const counted = await text();
    expect(counted).to.match(/rate_limited_total\{cluster="c1",limit="connections"\} 1\n/);
    expect(counted).to.match(/rate_limited_total\{cluster="c1",limit="connection-rate"\} 1\n/);
    expect(lines.filter(({ event }) => event === 'connection-rejected')).to.have.length(2);
  });

  it('the limits let through what 64 modules on two nodes ask that all wait for the witness', () => {
    let nowMs = 0;
    const limits = new ClusterLimits(() => nowMs, clusterLimitFigures);
    const askers = 128;
    for (let round = 0; round < 20; round += 1) {
      for (let asker = 0; asker < askers; asker += 1) {
        expect(limits.admitsHello('c1') && limits.opens('c1') && limits.admitsRequest('c1')).to.equal(true);
      }
      for (let asker = 0; asker < askers; asker += 1) limits.closes('c1');
      nowMs += 500;
    }
  });

  it('a node knows a later record than the store: the store was put back, and it is said so', async () => {
    const { server, lines, text } = await serve(ClusterIdentities.load(both()));
    const alpha = clientOf(server, first.alpha);
    await swapOf(alpha, undefined, sampleRecord(1, 'both'));
    const later = sampleRecord(5, 'alpha');
    const answer = await swapOf(alpha, later, sampleRecord(6, 'both'), store.id);
    expect(answer).to.have.property('kind', 'refused');
    expect(lines.find(({ event }) => event === 'record-went-back')?.fields['because']).to.match(
      /generation 5 .* now holds 1: .*--after-snapshot/,
    );
    expect(await text()).to.match(/records_went_back_total\{cluster="c1"\} 1\n/);
  });

  it('a certificate of the witness that ends soon or has ended is warned of, and is a metric', async () => {
    const soon = { notBefore: new Date(0), notAfter: new Date(Date.now() + 10 * dayMs + 60_000) };
    const source = await writeWitnessFiles(directory.file('soon'), first.authority, soon);
    const clusters = ClusterIdentities.load([source, sources.second]);
    const [warning, ...others] = expiryWarnings(clusters.expiries, Date.now());
    expect(others).to.deep.equal([]);
    expect(warning?.because).to.match(/^the certificate of the witness of cluster c1 expires in 10 days/);
    expect(healthOf(store, clusters, Date.now())).to.deep.include({ status: 'ok', problems: [] });
    const later = Date.now() + 11 * dayMs;
    expect(expiryWarnings(clusters.expiries, later)[0]).to.deep.include({ clusterId: 'c1', expired: true });
    expect(healthOf(store, clusters, later).problems).to.have.length(1);
    const { text } = await serve(clusters);
    const seconds = Math.floor(soon.notAfter.getTime() / 1000);
    expect(await text()).to.include(
      `certificate_expiry_timestamp_seconds{cluster="c1",certificate="witness"} ${seconds}`,
    );
  });

  it('an authority that has the id of another cluster in its certificate does not open its records', async () => {
    const { server } = await serve(ClusterIdentities.load(both()));
    const impostor = await identityOf(await createClusterAuthority('c2'), 'node', 'alpha');
    const trusting = { ...impostor, authorities: second.alpha.authorities };
    expect(await readOf(clientOf(server, trusting))).to.have.property('kind', 'no-answer');
  });
});
