import { X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { partyOf } from '../../src/platform/certificate-identity.ts';
import { createClusterAuthority, issueCertificate, writeIdentity } from '../../src/platform/pki.ts';
import { makeIdentity, readIdentity } from '../../src/platform/tls.ts';
import { errorOf } from './loopback-pair.ts';

describe('certificates of a cluster', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(path.join(os.tmpdir(), 'vmpair-pki-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('a node certificate is signed by the authority, names the node, and cannot sign', async () => {
    const authority = await createClusterAuthority('c1');
    const issued = await issueCertificate(authority, 'node', 'alpha');
    const ca = new X509Certificate(authority.certificatePem);
    const leaf = new X509Certificate(issued.certificatePem);
    expect(leaf.checkIssued(ca) && leaf.verify(ca.publicKey)).to.equal(true);
    expect([ca.ca, leaf.ca]).to.deep.equal([true, false]);
    expect(leaf.subject).to.equal('CN=alpha');
    expect(leaf.subjectAltName).to.equal('URI:vmpair://c1/node/alpha');
    expect(partyOf(leaf)).to.deep.equal({ clusterId: 'c1', role: 'node', name: 'alpha' });
    expect(partyOf(ca)).to.deep.equal({ clusterId: 'c1', role: 'authority', name: 'c1' });
    expect(leaf.publicKey.asymmetricKeyDetails?.namedCurve).to.equal('prime256v1');
    expect(Date.parse(leaf.validTo)).to.be.lessThan(Date.parse(ca.validTo));
    expect((await issueCertificate(authority, 'node', 'beta')).keyPem).to.not.equal(issued.keyPem);
  });

  it('names and cluster ids that other parts give a meaning are refused', async () => {
    const authority = await createClusterAuthority('c1');
    for (const name of ['', 'both', 'none', 'a b', 'a/b', 'a,URI:x', 'x'.repeat(32)]) {
      const error = await errorOf(issueCertificate(authority, 'node', name));
      expect(error.code, name).to.equal('config-invalid');
    }
    for (const clusterId of ['', 'Upper', 'a/b', '-a', 'x'.repeat(64)]) {
      expect((await errorOf(createClusterAuthority(clusterId))).code, clusterId).to.equal('config-invalid');
    }
  });

  it('a node certificate cannot issue others', async () => {
    const authority = await createClusterAuthority('c1');
    const leaf = await issueCertificate(authority, 'node', 'alpha');
    expect((await errorOf(issueCertificate(leaf, 'node', 'beta'))).code).to.equal('certificate-rejected');
  });

  it('written files are for the owner only, complete, and read back', async () => {
    const authority = await createClusterAuthority('c1');
    const leaf = await issueCertificate(authority, 'witness', 'w');
    const files = await writeIdentity(path.join(directory, 'tls'), 'w', leaf, authority.certificatePem);
    expect(readdirSync(path.dirname(files.ca)).toSorted()).to.deep.equal(['ca.pem', 'w.key.pem', 'w.pem']);
    for (const file of Object.values(files)) expect(statSync(file).mode & 0o777).to.equal(0o600);
    expect(readIdentity(files).self).to.deep.equal({ clusterId: 'c1', role: 'witness', name: 'w' });
  });

  it('an own identity that others would refuse is found at start', async () => {
    const authority = await createClusterAuthority('c1');
    const stranger = await createClusterAuthority('c1');
    const alpha = await issueCertificate(authority, 'node', 'alpha');
    const beta = await issueCertificate(authority, 'node', 'beta');
    const wrong = [
      [stranger.certificatePem, alpha.certificatePem, alpha.keyPem],
      [authority.certificatePem, alpha.certificatePem, beta.keyPem],
      [authority.certificatePem, 'not a certificate', alpha.keyPem],
      ['', alpha.certificatePem, alpha.keyPem],
      [authority.certificatePem, authority.certificatePem, authority.keyPem],
    ] as const;
    for (const [ca, certificate, key] of wrong) {
      expect(() => makeIdentity(ca, certificate, key)).to.throw(/^certificate-rejected: wanted /);
    }
    const missing = path.join(directory, 'none.pem');
    expect(existsSync(missing)).to.equal(false);
    writeFileSync(path.join(directory, 'ca.pem'), authority.certificatePem);
    const files = { ca: path.join(directory, 'ca.pem'), cert: missing, key: missing };
    expect(() => readIdentity(files)).to.throw(/^file-missing: wanted to read the certificate .*none\.pem/);
  });
});
