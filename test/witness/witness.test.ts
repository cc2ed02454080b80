/** The witness and its client over real TLS sockets on the loopback, in one process. */
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { expect } from 'chai';
import type { Arbiter, ArbiterAnswer, ReadAnswer } from '../../src/arbiter/arbiter.ts';
import { encodeLine, lineBytesMax } from '../../src/arbiter/witness-protocol.ts';
import { silentLog } from '../../src/base/log.ts';
import type { ArbiterRecord } from '../../src/disk/state.ts';
import { createClusterAuthority } from '../../src/platform/pki.ts';
import { dialOptions, listenerOptions, type TlsIdentity } from '../../src/platform/tls.ts';
import { WitnessArbiter } from '../../src/platform/witness-client.ts';
import { ClusterIdentities } from '../../src/witness/cluster-identities.ts';
import { WitnessMetrics } from '../../src/witness/metrics.ts';
import { RecordStore } from '../../src/witness/record-store.ts';
import { startWitnessServer, type WitnessServer } from '../../src/witness/server.ts';
import { clusterOfTwo, identityOf, loopback, until } from '../platform/loopback-pair.ts';

const record = (generation: number, holder: string, id = generation): ArbiterRecord => ({
  generation,
  holder,
  operationId: id.toString(16).padStart(32, '0'),
});
const swap = (arbiter: Arbiter, expected: ArbiterRecord | undefined, next: ArbiterRecord) =>
  new Promise<ArbiterAnswer>((resolve) => arbiter.swap({ expected, next }, resolve));
const read = (arbiter: Arbiter) => new Promise<ReadAnswer>((resolve) => arbiter.read(resolve));

describe('witness', () => {
  let directory = '';
  let cluster: Awaited<ReturnType<typeof clusterOfTwo>>;
  let witness: TlsIdentity;
  let store: RecordStore;
  let server: WitnessServer;
  let closing: (() => void)[] = [];

  before(async () => {
    cluster = await clusterOfTwo();
    witness = await identityOf(cluster.authority, 'witness', 'w');
  });
  beforeEach(async () => {
    directory = mkdtempSync(path.join(os.tmpdir(), 'vmpair-witness-'));
    store = await RecordStore.open(directory, {
      fatal: (error) => {
        throw error;
      },
    });
    server = await serveOn(ClusterIdentities.of(witness));
  });
  afterEach(async () => {
    for (const close of closing) close();
    closing = [];
    await server.close();
    await store.close();
    rmSync(directory, { recursive: true });
  });

  const serveOn = (clusters: ClusterIdentities): Promise<WitnessServer> =>
    startWitnessServer({
      listen: { host: loopback, port: 0 },
      clusters,
      store,
      log: silentLog,
      metrics: new WitnessMetrics(),
    });
  const clientOf = (
    identity: TlsIdentity,
    options: Partial<ConstructorParameters<typeof WitnessArbiter>[0]> = {},
  ) => new WitnessArbiter({ address: server.address, identity, moduleId: 'vm1', ...options });

  /** A server that only handshakes, and does `act` with each connection. */
  async function otherServer(act: (socket: tls.TLSSocket) => void): Promise<{ host: string; port: number }> {
    const sockets = new Set<net.Socket>();
    const other = tls.createServer(listenerOptions(witness), (socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      act(socket);
    });
    other.listen(0, loopback);
    await once(other, 'listening');
    closing.push(() => {
      for (const socket of sockets) socket.destroy();
      other.close();
    });
    const address = other.address();
    return { host: loopback, port: typeof address === 'object' && address !== null ? address.port : 0 };
  }

  it('a pair in sync loses its link: both claim, one is granted, the other sees by whom', async () => {
    const [alpha, beta] = [clientOf(cluster.alpha), clientOf(cluster.beta)];
    expect(await read(alpha)).to.deep.equal({ kind: 'record', record: undefined, store: store.id });
    const both = record(1, 'both');
    expect(await swap(alpha, undefined, both)).to.deep.equal({
      kind: 'granted',
      record: both,
      store: store.id,
    });
    const claims = [record(2, 'alpha', 2), record(2, 'beta', 3)] as const;
    const answers = await Promise.all([swap(alpha, both, claims[0]), swap(beta, both, claims[1])]);
    const granted = answers.find((answer) => answer.kind === 'granted');
    const refused = answers.find((answer) => answer.kind === 'refused');
    expect(refused?.record).to.deep.equal(granted?.record);
    expect(await read(beta)).to.deep.equal({ kind: 'record', record: granted?.record, store: store.id });
  });

  it('the same operation is asked again: granted again, unchanged', async () => {
    const alpha = clientOf(cluster.alpha);
    await swap(alpha, undefined, record(1, 'both'));
    await swap(alpha, record(1, 'both'), record(2, 'alpha'));
    const again = await swap(alpha, record(1, 'both'), record(2, 'alpha'));
    expect(again).to.deep.equal({ kind: 'granted', record: record(2, 'alpha'), store: store.id });
  });

  it('a node claims for the other one, or goes back to an earlier generation: rejected, nothing changes', async () => {
    const alpha = clientOf(cluster.alpha);
    const forOther = await swap(alpha, undefined, record(1, 'beta'));
    expect(forOther).to.deep.include({ kind: 'no-answer', sent: true });
    expect(forOther)
      .to.have.property('because')
      .that.matches(/node alpha may claim for itself or for both, not for beta/);
    const goingBack = await swap(alpha, record(3, 'both'), record(2, 'both', 9));
    expect(goingBack)
      .to.have.property('because')
      .that.matches(/generation-does-not-follow/);
    expect(await read(alpha)).to.deep.equal({ kind: 'record', record: undefined, store: store.id });
  });

  it('an operation for another store, before or after it was lost: refused as such, nothing changes', async () => {
    const alpha = clientOf(cluster.alpha);
    const operation = { store: 'b'.repeat(32), expected: undefined, next: record(1, 'both') };
    const answer = await new Promise((resolve) => alpha.swap(operation, resolve));
    expect(answer).to.deep.equal({ kind: 'other-store', store: store.id });
    expect(await read(alpha)).to.deep.equal({ kind: 'record', record: undefined, store: store.id });
  });

  it('a damaged record is said to be damaged', async () => {
    const alpha = clientOf(cluster.alpha);
    await swap(alpha, undefined, record(1, 'both'));
    const name = readdirSync(directory).find((file) => file.endsWith('.record')) ?? '';
    writeFileSync(path.join(directory, name), 'x');
    expect(await swap(alpha, undefined, record(1, 'both')))
      .to.have.property('because')
      .that.matches(/^record-damaged: .*record-damaged: wanted the record in/);
    expect(await read(alpha)).to.have.property('kind', 'no-answer');
  });

  it('a node of another cluster, a witness as client, an expired node: nothing was sent, the reason is told', async () => {
    const stranger = await identityOf(await createClusterAuthority('c1'), 'node', 'alpha');
    const trusting = { ...stranger, authorities: cluster.alpha.authorities };
    const validity = {
      notBefore: new Date(Date.now() - 2000_000),
      notAfter: new Date(Date.now() - 1000_000),
    };
    const expired = await identityOf(cluster.authority, 'node', 'alpha', validity);
    for (const identity of [trusting, witness, expired]) {
      const answer = await swap(clientOf(identity), undefined, record(1, 'both'));
      expect(answer).to.deep.include({ kind: 'no-answer', sent: false });
    }
    const distrusting = await swap(clientOf(stranger), undefined, record(1, 'both'));
    expect(distrusting).to.deep.include({ kind: 'no-answer', sent: false });
    expect(distrusting)
      .to.have.property('because')
      .that.matches(/^certificate-rejected: wanted .*witness/);
    expect(await read(clientOf(cluster.alpha))).to.deep.equal({
      kind: 'record',
      record: undefined,
      store: store.id,
    });
  });

  it('the witness answers under another name than the configured one', async () => {
    const answer = await swap(clientOf(cluster.alpha, { witness: 'w2' }), undefined, record(1, 'both'));
    expect(answer).to.deep.include({ kind: 'no-answer', sent: false });
    expect(answer)
      .to.have.property('because')
      .that.matches(/witness w2 of cluster c1; found that of witness w of/);
    expect(
      await swap(clientOf(cluster.alpha, { witness: 'w' }), undefined, record(1, 'both')),
    ).to.have.property('kind', 'granted');
  });

  it('nobody listens: nothing was sent', async () => {
    await server.close();
    const answer = await swap(clientOf(cluster.alpha), undefined, record(1, 'both'));
    expect(answer).to.deep.include({ kind: 'no-answer', sent: false });
    expect(answer)
      .to.have.property('because')
      .that.matches(/arbiter-unreachable: .*ECONNREFUSED/);
  });

  it('the witness accepts but never handshakes, or never says hello: no answer in time, nothing was sent', async () => {
    const mute = net.createServer((socket) => void socket.on('error', () => undefined).resume());
    mute.listen(0, loopback);
    await once(mute, 'listening');
    closing.push(() => mute.close());
    const bound = mute.address();
    const muteAddress = {
      host: loopback,
      port: typeof bound === 'object' && bound !== null ? bound.port : 0,
    };
    const helloLess = await otherServer(() => undefined);
    for (const address of [muteAddress, helloLess]) {
      const answer = await swap(
        clientOf(cluster.alpha, { address, deadlineMs: 150 }),
        undefined,
        record(1, 'both'),
      );
      expect(answer).to.deep.include({ kind: 'no-answer', sent: false });
    }
  });

  it('the witness dies between request and answer, or never answers: it may have been granted', async () => {
    const hello = encodeLine({ hello: { protocol: 1, witness: 'w', store: 'a'.repeat(32) } });
    const dying = await otherServer((socket) => {
      socket.write(hello);
      socket.once('data', () => socket.destroy());
    });
    const silent = await otherServer((socket) => {
      socket.write(hello);
      socket.resume();
    });
    for (const address of [dying, silent]) {
      const answer = await swap(
        clientOf(cluster.alpha, { address, deadlineMs: 150 }),
        undefined,
        record(1, 'both'),
      );
      expect(answer).to.deep.include({ kind: 'no-answer', sent: true });
    }
  });

  it('answers that are not answers to the question do not count', async () => {
    const hello = encodeLine({ hello: { protocol: 1, witness: 'w', store: 'a'.repeat(32) } });
    const wrong = [
      '{"id":1,"kind":"granted","record":{"generation":1,"holder":"beta","operationId":"' +
        'f'.repeat(32) +
        '"}}\n',
      '{"id":2,"kind":"refused","record":null}\n',
      '{"id":1,"kind":"record","record":null}\n',
      'garbage\n',
      'x'.repeat(lineBytesMax + 1),
    ];
    for (const line of wrong) {
      const address = await otherServer((socket) => {
        socket.write(hello);
        socket.once('data', () => socket.write(line));
      });
      const answer = await swap(clientOf(cluster.alpha, { address }), undefined, record(1, 'both'));
      expect(answer, line).to.deep.include({ kind: 'no-answer', sent: true });
    }
  });

  it('lines that are no requests end the connection with a reason, and harm nobody else', async () => {
    const lines = ['garbage\n', '{"id":1,"op":"drop","moduleId":"vm1"}\n', `${'x'.repeat(lineBytesMax + 1)}`];
    for (const line of lines) {
      const options = dialOptions(cluster.alpha, { role: 'witness' });
      const socket = tls.connect({ ...options, host: loopback, port: server.address.port });
      let text = '';
      socket.on('data', (bytes) => {
        text += String(bytes);
      });
      socket.write(line);
      await once(socket, 'close');
      expect(text).to.match(/"kind":"failure","code":"protocol-violation"/);
    }
    const plain = net.connect(server.address.port, loopback);
    plain.on('error', () => undefined);
    plain.write('GET / HTTP/1.1\r\n\r\n');
    await once(plain, 'close');
    expect(await read(clientOf(cluster.alpha))).to.have.property('kind', 'record');
  });

  it('many requests in one write are answered in their order', async () => {
    const options = dialOptions(cluster.alpha, { role: 'witness' });
    const socket = tls.connect({ ...options, host: loopback, port: server.address.port });
    closing.push(() => socket.destroy());
    let text = '';
    socket.on('data', (bytes) => {
      text += String(bytes);
    });
    const ids = Array.from({ length: 60 }, (_, index) => index + 1);
    socket.write(ids.map((id) => `{"id":${id},"op":"read","moduleId":"vm${id}"}\n`).join(''));
    await until(
      () => `60 answers; have ${text}`,
      () => text.split('\n').length === 62,
    );
    const answered = text.trim().split('\n').slice(1);
    expect(answered.map((line) => JSON.parse(line).id)).to.deep.equal(ids);
  });

  it('an idle client keeps no connection', async () => {
    const socketCount = () =>
      process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;
    const before = socketCount();
    await swap(clientOf(cluster.alpha), undefined, record(1, 'both'));
    await until(
      () => `no more than ${before} sockets; there are ${socketCount()}`,
      () => socketCount() <= before,
    );
  });
});
