/** New certificates, two authorities side by side, and revoked keys, over real TLS sockets on the loopback. */
import { X509Certificate } from 'node:crypto';
import { expect } from 'chai';
import { certificateKeyId, keyIdOf } from '../../src/platform/certificate-identity.ts';
import {
  type CertificateAndKey,
  certifyKey,
  createCertificateRequest,
  createClusterAuthority,
  createKeyPem,
  issueCertificate,
  keyOfRequest,
  publicKeyOf,
} from '../../src/platform/pki.ts';
import { makeIdentity, parseAuthorities } from '../../src/platform/tls.ts';
import { clusterOfTwo, linkPair } from './loopback-pair.ts';

const dayMs = 24 * 60 * 60 * 1000;

describe('renewal of certificates', () => {
  it('a request proves the key that it is for; a changed one is none', async () => {
    const keyPem = await createKeyPem();
    const request = await createCertificateRequest(keyPem);
    expect(await keyOfRequest(request)).to.deep.equal(new Uint8Array(publicKeyOf(keyPem)));
    const lines = request.split('\n');
    const middle = lines[2] ?? '';
    lines[2] = `${middle.slice(0, 10)}${middle[10] === 'A' ? 'B' : 'A'}${middle.slice(11)}`;
    expect(await keyOfRequest(lines.join('\n'))).to.equal(undefined);
    expect(await keyOfRequest('text')).to.equal(undefined);
  });

  it('a certificate for a key that is kept has the same key id, and never outlives its authority', async () => {
    const validity = { notBefore: new Date(Date.now() - dayMs), notAfter: new Date(Date.now() + 40 * dayMs) };
    const authority = await createClusterAuthority('c1', validity);
    const first = await issueCertificate(authority, 'node', 'alpha');
    const again = await certifyKey(authority, 'node', 'alpha', publicKeyOf(first.keyPem));
    const [before, after] = [new X509Certificate(first.certificatePem), new X509Certificate(again)];
    expect(after.serialNumber).not.to.equal(before.serialNumber);
    expect(certificateKeyId(after)).to.equal(keyIdOf(publicKeyOf(first.keyPem)));
    expect(after.validTo).to.equal(new X509Certificate(authority.certificatePem).validTo);
  });

  describe('while the link is open', () => {
    let closing: (() => Promise<void>)[] = [];
    afterEach(async () => {
      for (const close of closing) await close();
      closing = [];
    });

    async function openPair() {
      const cluster = await clusterOfTwo();
      const pair = await linkPair({ alpha: cluster.alpha, beta: cluster.beta });
      closing.push(() => pair.close());
      pair.start();
      const { alpha, beta } = pair.handlers;
      await alpha.until('alpha opens', () => alpha.connection !== undefined);
      await beta.until('beta opens', () => beta.connection !== undefined);
      return { ...pair, cluster };
    }

    async function reconnect({ handlers }: Awaited<ReturnType<typeof openPair>>, times: number) {
      handlers.alpha.connection?.destroy('to connect anew');
      for (const handler of [handlers.alpha, handlers.beta])
        await handler.until('it opens again', () => handler.count('opened') === times);
    }

    const renewed = async (
      pair: Awaited<ReturnType<typeof openPair>>,
      side: 'alpha' | 'beta',
      issuer: CertificateAndKey,
      trusted: readonly CertificateAndKey[],
    ) => {
      const { keyPem } = pair.cluster[side];
      const certificate = await certifyKey(issuer, 'node', side, publicKeyOf(keyPem));
      const bundle = trusted.map(({ certificatePem }) => certificatePem).join('');
      pair[side].useIdentity(makeIdentity(bundle, certificate, keyPem));
    };

    it('the authority of a cluster is replaced in three steps: no connection ends, and each new one opens', async () => {
      const pair = await openPair();
      const old = pair.cluster.authority;
      const next = await createClusterAuthority('c1');
      let opened = 1;
      const steps: [CertificateAndKey, CertificateAndKey[]][] = [
        [old, [old, next]],
        [next, [old, next]],
        [next, [next]],
      ];
      for (const [issuer, trusted] of steps) {
        for (const side of ['beta', 'alpha'] as const) {
          await renewed(pair, side, issuer, trusted);
          expect(pair.handlers.alpha.count('closed'), 'the open connection stays').to.equal(opened - 1);
          // With one side ahead of the other: what has to work while the second one is not there yet.
          if (side === 'beta') await reconnect(pair, (opened += 1));
        }
      }
      expect(pair.handlers.alpha.count('failed') + pair.handlers.beta.count('failed')).to.equal(0);
    });

    it('both authorities are read from one file, in either order', async () => {
      const [old, next] = [await createClusterAuthority('c1'), await createClusterAuthority('c1')];
      const own = await issueCertificate(next, 'node', 'alpha');
      for (const bundle of [
        old.certificatePem + next.certificatePem,
        `${next.certificatePem}\n${old.certificatePem}`,
      ]) {
        expect(parseAuthorities(bundle)).to.have.length(2);
        expect(makeIdentity(bundle, own.certificatePem, own.keyPem).self.name).to.equal('alpha');
      }
    });

    for (const side of ['alpha', 'beta'] as const) {
      it(`${side} revokes the key of the other: the connection ends, and none is made with any certificate of that key`, async () => {
        const pair = await openPair();
        const other = side === 'alpha' ? 'beta' : 'alpha';
        const { authority } = pair.cluster;
        const revoked = new Set([keyIdOf(publicKeyOf(pair.cluster[other].keyPem))]);
        pair[side].useIdentity({ ...pair.cluster[side], revokedKeys: revoked });
        const handler = pair.handlers[side];
        await handler.until('it ends', () => handler.count('closed') === 1);
        await handler.until('the other is refused', () =>
          handler.events.some((event) => event.includes('whose key was revoked')),
        );
        await renewed(pair, other, authority, [authority]);
        expect(handler.count('opened')).to.equal(1);
        const { keyPem } = await issueCertificate(authority, 'node', other);
        const certificate = await certifyKey(authority, 'node', other, publicKeyOf(keyPem));
        pair[other].useIdentity(makeIdentity(authority.certificatePem, certificate, keyPem));
        await handler.until('new hardware with a key of its own', () => handler.count('opened') === 2);
      });
    }
  });
});
