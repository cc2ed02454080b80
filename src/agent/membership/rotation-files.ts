/**
 * The steps of a replacement of the authority on the files of one node. Each may be repeated, also after a crash in its middle:
 * at every instant `ca.pem` trusts whoever signed `node.pem`, and `ca.key.pem` belongs to an authority in it.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, unlink } from 'node:fs/promises';
import { WorldError } from '../../base/errors.ts';
import { partyOf } from '../../platform/certificate-identity.ts';
import { replaceFile } from '../../platform/durable-file.ts';
import { type CertificateAndKey, createClusterAuthority, privateFileMode } from '../../platform/pki.ts';
import { pinOf } from '../../platform/pinned-dial.ts';
import { parseAuthorities, readIdentity, signerOf } from '../../platform/tls.ts';
import { readAuthority } from './authority.ts';
import type { TlsFiles } from './node-files.ts';
import { renewCertificate } from './renew.ts';
import type { RotationState } from './rotation-state.ts';

export async function readNext({ nextCa, nextCaKey }: TlsFiles): Promise<CertificateAndKey | undefined> {
  if (!existsSync(nextCa)) return undefined;
  return { certificatePem: await readFile(nextCa, 'utf8'), keyPem: await readFile(nextCaKey, 'utf8') };
}

export async function rotationState(tls: TlsFiles): Promise<RotationState> {
  const { authorities, certificatePem } = readIdentity(tls);
  const { issuer } = await readAuthority(tls);
  const signer = signerOf(new X509Certificate(certificatePem), authorities);
  const next = await readNext(tls);
  return {
    trusted: authorities.map(pinOf),
    issuer: pinOf(new X509Certificate(issuer.certificatePem)),
    signer: signer === undefined ? '' : pinOf(signer),
    next: next && pinOf(new X509Certificate(next.certificatePem)),
  };
}

/** The authority that an earlier attempt made, or a new one. Nothing is written. */
export async function nextAuthority(tls: TlsFiles): Promise<CertificateAndKey> {
  return (await readNext(tls)) ?? (await createClusterAuthority(readIdentity(tls).self.clusterId));
}

/** Throws `certificate-rejected` for what is no authority of this cluster with its key. */
export async function trustNext(tls: TlsFiles, next: CertificateAndKey): Promise<void> {
  const { clusterId } = readIdentity(tls).self;
  const certificate = new X509Certificate(next.certificatePem);
  const party = partyOf(certificate);
  const belongs = certificate.checkPrivateKey(createPrivateKey(next.keyPem));
  if (party?.role !== 'authority' || party.clusterId !== clusterId || !belongs) {
    throw new WorldError('certificate-rejected', {
      wanted: `an authority of cluster ${clusterId} with its key`,
      found: 'something else',
      next: 'repeat the command; nothing was changed',
    });
  }
  const bundle = await readFile(tls.ca, 'utf8');
  await replaceFile(tls.nextCaKey, next.keyPem, privateFileMode);
  await replaceFile(tls.nextCa, next.certificatePem, privateFileMode);
  if (parseAuthorities(bundle).some((each) => pinOf(each) === pinOf(certificate))) return;
  await replaceFile(tls.ca, `${bundle.trimEnd()}\n${next.certificatePem}`, privateFileMode);
}

/** From here on the new authority issues; this node shows a certificate of it. */
export async function issueFromNext(tls: TlsFiles, node: string): Promise<void> {
  const next = await readNext(tls);
  if (next !== undefined) await replaceFile(tls.caKey, next.keyPem, privateFileMode);
  const { issuer, signer } = await rotationState(tls);
  if (signer !== issuer) await renewCertificate(tls, node);
  for (const file of [tls.nextCa, tls.nextCaKey]) if (existsSync(file)) await unlink(file);
}

/** The authority that issues is the only one that is trusted. */
export async function dropOthers(tls: TlsFiles): Promise<void> {
  const { issuer } = await readAuthority(tls);
  await replaceFile(tls.ca, issuer.certificatePem, privateFileMode);
}
