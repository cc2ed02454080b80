/** The link over real TLS sockets on the loopback. Not verified here: real cables, and Windows. */
import { expect } from 'chai';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { openLinkTransport } from '../../src/platform/link-transport.ts';
import { Tickets } from '../../src/platform/plain-link.ts';
import { createClusterAuthority } from '../../src/platform/pki.ts';
import { clusterOfTwo, errorOf, identityOf, linkPair, loopback } from './loopback-pair.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('link transport', () => {
  let closing: (() => Promise<void>)[] = [];
  let directory = '';
  let cluster: Awaited<ReturnType<typeof clusterOfTwo>>;

  before(async () => {
    directory = mkdtempSync(path.join(os.tmpdir(), 'vmpair-link-'));
    cluster = await clusterOfTwo();
  });
  after(() => rmSync(directory, { recursive: true }));
  afterEach(async () => {
    for (const close of closing) await close();
    closing = [];
  });

  async function pairOf(options: Partial<Parameters<typeof linkPair>[0]> = {}) {
    const pair = await linkPair({ alpha: cluster.alpha, beta: cluster.beta, ...options });
    closing.push(() => pair.close());
    pair.start();
    return pair;
  }

  async function openPair(options: Partial<Parameters<typeof linkPair>[0]> = {}) {
    const pair = await pairOf(options);
    const { alpha, beta } = pair.handlers;
    await alpha.until('alpha opens', () => alpha.connection !== undefined);
    await beta.until('beta opens', () => beta.connection !== undefined);
    return pair;
  }

  it('both sides open one connection and bytes of one turn arrive in order', async () => {
    const { handlers } = await openPair();
    expect(handlers.alpha.events).to.deep.equal(['opened beta']);
    expect(handlers.beta.events).to.deep.equal(['opened alpha']);
    handlers.alpha.connection?.send(bytesOf('one '), [bytesOf('two '), bytesOf('three ')]);
    handlers.alpha.connection?.send(bytesOf('four'), []);
    expect(handlers.alpha.connection?.queuedBytes()).to.equal(18);
    handlers.beta.connection?.send(bytesOf('back'), []);
    await handlers.beta.until('all arrives', () => handlers.beta.text === 'one two three four');
    await handlers.alpha.until('the answer arrives', () => handlers.alpha.text === 'back');
    await handlers.alpha.until('nothing is queued', () => handlers.alpha.connection?.queuedBytes() === 0);
  });

  it('a destroyed connection is reported closed once on both sides and is dialled again', async () => {
    const { handlers } = await openPair();
    const connection = handlers.beta.connection;
    connection?.destroy('heartbeats are missing');
    connection?.destroy('again');
    expect(handlers.beta.events, 'not from inside the call').to.deep.equal(['opened alpha']);
    await handlers.beta.until('beta opens again', () => handlers.beta.count('opened') === 2);
    await handlers.alpha.until('alpha opens again', () => handlers.alpha.count('opened') === 2);
    expect(handlers.beta.events).to.deep.equal([
      'opened alpha',
      'closed heartbeats are missing',
      'opened alpha',
    ]);
    expect(handlers.alpha.count('closed')).to.equal(1);
  });

  it('the peer stops: the connection closes and the reason for not getting it back is told once', async () => {
    const { alpha, beta, handlers } = await openPair();
    await beta.close();
    await handlers.alpha.until('alpha fails', () => handlers.alpha.count('failed') === 1);
    expect(handlers.alpha.events.at(-1)).to.match(/peer-unreachable: .*node beta at .*ECONNREFUSED/);
    await alpha.close();
    expect(handlers.alpha.count('closed')).to.equal(1);
    expect(handlers.alpha.count('failed')).to.equal(1);
  });

  for (const side of ['alpha', 'beta'] as const) {
    it(`${side} stops and starts again: a new connection`, async () => {
      const { alpha, beta, handlers } = await openPair();
      const transport = side === 'alpha' ? alpha : beta;
      const other = side === 'alpha' ? handlers.beta : handlers.alpha;
      transport.stop();
      await other.until('the other side is told', () => other.count('closed') === 1);
      await handlers[side].until('the own side is told', () => handlers[side].count('closed') === 1);
      expect(other.count('opened')).to.equal(1);
      transport.start(handlers[side]);
      await other.until('it opens again', () => other.count('opened') === 2);
      await handlers[side].until('both sides', () => handlers[side].count('opened') === 2);
    });
  }

  it('who dials a stopped transport is kept silent, and hung up on at its start to try again at once', async () => {
    const { alpha, beta, handlers } = await openPair();
    await alpha.close();
    beta.stop();
    const { host, port } = beta.address ?? { host: loopback, port: 0 };
    const caller = net.connect(port, host);
    let ended = false;
    caller.on('error', () => undefined).on('close', () => (ended = true));
    await once(caller, 'connect');
    const next = await errorOf(
      openLinkTransport({
        self: 'beta',
        peer: 'alpha',
        listen: { host, port },
        peerAddress: { host, port },
        identity: cluster.beta,
      }),
    );
    expect(next.code, 'the address stays taken').to.equal('port-in-use');
    expect(ended).to.equal(false);
    beta.start(handlers.beta);
    await handlers.beta.until('it is closed', () => ended);
  });

  it('a newer connection of the peer replaces the older one', async () => {
    const pair = await openPair();
    const second = await openLinkTransport({
      self: 'alpha',
      peer: 'beta',
      listen: { host: loopback, port: 0 },
      peerAddress: pair.beta.address ?? { host: loopback, port: 0 },
      identity: cluster.alpha,
    });
    closing.push(() => second.close());
    await pair.alpha.close();
    const { beta } = pair.handlers;
    second.start(pair.handlers.alpha);
    await beta.until('the second opens', () => beta.count('opened') === 2);
    expect(beta.events.map((event) => event.split(' ')[0])).to.deep.equal(['opened', 'closed', 'opened']);
  });

  it('the listening side has a certificate of another cluster authority', async () => {
    const stranger = await identityOf(await createClusterAuthority('c1'), 'node', 'beta');
    const { handlers } = await pairOf({ beta: stranger });
    await handlers.alpha.until('alpha refuses', () => handlers.alpha.count('failed') === 1);
    expect(handlers.alpha.events[0]).to.match(/certificate-rejected: .*no authority of ours signed/);
    expect(handlers.alpha.count('opened') + handlers.beta.count('opened')).to.equal(0);
  });

  it('the dialling side has a certificate of another cluster authority', async () => {
    const stranger = await identityOf(await createClusterAuthority('c1'), 'node', 'alpha');
    const both = { ...stranger, authorities: cluster.alpha.authorities };
    const { handlers } = await pairOf({ alpha: both });
    await handlers.beta.until('beta refuses', () => handlers.beta.count('failed') === 1);
    expect(handlers.beta.events[0]).to.match(/certificate-rejected: .*node alpha of cluster c1; found/);
    await handlers.alpha.until('alpha is told', () => handlers.alpha.count('failed') === 1);
    expect(handlers.alpha.count('opened') + handlers.beta.count('opened')).to.equal(0);
  });

  it('a node of the cluster with another name dials, and one answers', async () => {
    const gamma = await identityOf(cluster.authority, 'node', 'gamma');
    const dialled = await pairOf({ alpha: gamma });
    await dialled.handlers.beta.until('refusal', () => dialled.handlers.beta.count('failed') === 1);
    expect(dialled.handlers.beta.events[0]).to.match(/node alpha of cluster c1; found .*node gamma of/);
    const answered = await pairOf({ beta: gamma });
    await answered.handlers.alpha.until('refusal', () => answered.handlers.alpha.count('failed') === 1);
    expect(answered.handlers.alpha.events[0]).to.match(/node beta of cluster c1; found .*node gamma of/);
  });

  it('the certificate of a witness is not one of a node', async () => {
    const witness = await identityOf(cluster.authority, 'witness', 'alpha');
    const { handlers } = await pairOf({ alpha: witness });
    await handlers.beta.until('refusal', () => handlers.beta.count('failed') === 1);
    expect(handlers.beta.events[0]).to.match(/found that of witness alpha of cluster c1/);
  });

  it('an authority signs a name of another cluster than its own', async () => {
    const other = await clusterOfTwo('c2');
    const trustsBoth = {
      ...cluster.beta,
      authorities: [...cluster.beta.authorities, ...other.alpha.authorities],
    };
    const { handlers } = await pairOf({
      alpha: { ...other.alpha, authorities: trustsBoth.authorities },
      beta: trustsBoth,
    });
    await handlers.alpha.until('refusal', () => handlers.alpha.count('failed') === 1);
    expect(handlers.alpha.events[0]).to.match(/certificate-rejected: .*cluster c2; found .*cluster c1/);
  });

  it('an expired certificate is refused by either side, in words', async () => {
    const validity = {
      notBefore: new Date(Date.now() - 2000_000),
      notAfter: new Date(Date.now() - 1000_000),
    };
    const dialler = await identityOf(cluster.authority, 'node', 'alpha', validity);
    const dialled = await pairOf({ alpha: dialler });
    await dialled.handlers.beta.until('refusal', () => dialled.handlers.beta.count('failed') === 1);
    expect(dialled.handlers.beta.events[0]).to.match(/certificate-rejected: .*an expired certificate/);
    const listener = await identityOf(cluster.authority, 'node', 'beta', validity);
    const answered = await pairOf({ beta: listener });
    await answered.handlers.alpha.until('refusal', () => answered.handlers.alpha.count('failed') === 1);
    expect(answered.handlers.alpha.events[0]).to.match(/certificate-rejected: .*an expired certificate/);
  });

  it('plain text instead of TLS is refused and the pair opens all the same', async () => {
    const pair = await openPair();
    const socket = net.connect(pair.beta.address?.port ?? 0, loopback);
    socket.on('error', () => undefined);
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await once(socket, 'close');
    await pair.handlers.beta.until('refusal', () => pair.handlers.beta.count('failed') === 1);
    expect(pair.handlers.beta.events.at(-1)).to.match(/protocol-violation: .*TLS 1.3 handshake/);
    expect(pair.handlers.beta.connection).to.not.equal(undefined);
  });

  describe('without encryption', () => {
    const plain = { encrypted: false };
    const bothPlain = { alphaOptions: plain, betaOptions: plain };

    it('the pair opens after both have proved who they are, and dials again', async () => {
      const { handlers } = await openPair(bothPlain);
      handlers.alpha.connection?.send(bytesOf('one '), [bytesOf('two')]);
      handlers.beta.connection?.send(bytesOf('back'), []);
      await handlers.beta.until('it arrives', () => handlers.beta.text === 'one two');
      await handlers.alpha.until('the answer arrives', () => handlers.alpha.text === 'back');
      handlers.beta.connection?.destroy('heartbeats are missing');
      await handlers.beta.until('beta opens again', () => handlers.beta.count('opened') === 2);
      await handlers.alpha.until('alpha opens again', () => handlers.alpha.count('opened') === 2);
    });

    it('a node of another cluster gets no ticket', async () => {
      const stranger = await identityOf(await createClusterAuthority('c1'), 'node', 'alpha');
      const both = { ...stranger, authorities: cluster.alpha.authorities };
      const { handlers } = await pairOf({ ...bothPlain, alpha: both });
      await handlers.beta.until('beta refuses', () => handlers.beta.count('failed') === 1);
      expect(handlers.beta.events[0]).to.match(/certificate-rejected/);
      expect(handlers.beta.count('opened')).to.equal(0);
    });

    it('somebody without a ticket, with an old one or with bytes of any kind is hung up on', async () => {
      const { beta, handlers } = await openPair(bothPlain);
      for (const bytes of [
        `vmpair-plain/1 ${'0'.repeat(64)}\n`,
        'v\n',
        'v'.repeat(5000),
        'GET / HTTP/1.1\r\n\r\n',
      ]) {
        const socket = net.connect(beta.address?.port ?? 0, loopback);
        socket.on('error', () => undefined);
        socket.write(bytes);
        await once(socket, 'close');
      }
      expect(handlers.beta.count('opened')).to.equal(1);
      expect(handlers.beta.connection).to.not.equal(undefined);
    });

    it('a ticket is good once, and not for long', () => {
      const tickets = new Tickets(1000);
      const [first, second] = [tickets.issue(0), tickets.issue(0)];
      expect(first)
        .to.match(/^[0-9a-f]{64}$/)
        .and.not.equal(second);
      expect(tickets.redeem(first, 500)).to.equal(true);
      expect(tickets.redeem(first, 500)).to.equal(false);
      expect(tickets.redeem(second, 1001)).to.equal(false);
      expect(tickets.redeem('', 0)).to.equal(false);
    });

    for (const side of ['alpha', 'beta'] as const) {
      it(`only ${side} has it off: they do not connect, and say why`, async () => {
        const { handlers } = await pairOf({ [`${side}Options`]: plain });
        await handlers.alpha.until('alpha says it', () => handlers.alpha.count('failed') === 1);
        const [own, other] = side === 'alpha' ? ['off', 'on'] : ['on', 'off'];
        expect(handlers.alpha.events[0]).to.include(
          `wanted a link with encryption: ${own}; found encryption: ${other}`,
        );
        expect(handlers.alpha.count('opened')).to.equal(0);
      });
    }
  });

  it('the address is taken by another process', async () => {
    const { beta } = await pairOf();
    const error = await errorOf(
      openLinkTransport({
        self: 'beta',
        peer: 'alpha',
        listen: beta.address ?? { host: loopback, port: 0 },
        peerAddress: { host: loopback, port: 0 },
        identity: cluster.beta,
      }),
    );
    expect(error.code).to.equal('port-in-use');
    expect(error.wanted).to.equal(`to listen on ${loopback}:${beta.address?.port}`);
  });

  for (const side of ['alpha', 'beta'] as const) {
    it(`the cable is cut at ${side}, and heals: silence, then everything in order on the same connection`, async () => {
      const cutMarkerFile = path.join(directory, `cut-${side}`);
      const pair = await openPair({ [`${side}Options`]: { cutMarkerFiles: [cutMarkerFile] } });
      const { alpha, beta } = pair.handlers;
      const [near, far] = side === 'alpha' ? [alpha, beta] : [beta, alpha];
      writeFileSync(cutMarkerFile, '');
      const sentAtNear = feedUntilHeld(near);
      await sentAtNear.held;
      far.connection?.send(bytesOf('from-far'), []);
      await new Promise((resolve) => setImmediate(resolve));
      expect(near.text).to.equal('');
      const arrivedWhileCut = far.text.length;
      expect(arrivedWhileCut).to.be.lessThan(sentAtNear.text().length);
      rmSync(cutMarkerFile);
      await far.until('what was held arrives', () => far.text === sentAtNear.text());
      await near.until('what the peer sent arrives', () => near.text === 'from-far');
      expect(alpha.events).to.deep.equal(['opened beta']);
      expect(beta.events).to.deep.equal(['opened alpha']);
    });
  }

  it('a connection given up while cut is replaced only after the cut heals', async () => {
    const cutMarkerFile = path.join(directory, 'cut-both');
    const options = { cutMarkerFiles: [cutMarkerFile] };
    const pair = await openPair({ alphaOptions: options, betaOptions: options });
    const { alpha, beta } = pair.handlers;
    writeFileSync(cutMarkerFile, '');
    await Promise.all([feedUntilHeld(alpha).held, feedUntilHeld(beta).held]);
    alpha.connection?.destroy('heartbeats are missing');
    await alpha.until('alpha gives up', () => alpha.count('closed') === 1);
    expect(beta.events, 'the peer notices nothing').to.deep.equal(['opened alpha']);
    rmSync(cutMarkerFile);
    await alpha.until('alpha opens again', () => alpha.count('opened') === 2);
    await beta.until('beta opens again', () => beta.count('opened') === 2);
    expect(alpha.events).to.deep.equal(['opened beta', 'closed heartbeats are missing', 'opened beta']);
  });
});

/** Sends a byte a turn until bytes stay queued over several turns: the cut has begun. */
function feedUntilHeld(handler: import('./loopback-pair.ts').RecordingHandler) {
  let text = '';
  let heldTurns = 0;
  const held = new Promise<void>((resolve) => {
    const feed = (): void => {
      const { connection } = handler;
      heldTurns = (connection?.queuedBytes() ?? 0) > 3 ? heldTurns + 1 : 0;
      if (heldTurns > 50) return resolve();
      text += '.';
      connection?.send(bytesOf('.'), []);
      setImmediate(feed);
    };
    feed();
  });
  return { held, text: () => text };
}
