/**
 * Who a certificate speaks for. Exactly one subject alternative name carries it:
 *
 *   vmpair://CLUSTER/authority/CLUSTER   the certificate authority of a cluster
 *   vmpair://CLUSTER/node/NAME           a node
 *   vmpair://CLUSTER/witness/NAME        a witness
 *
 * Invariant: the cluster of a certificate counts only when the authority that signed it carries the same
 * cluster; the subject CN is for people and decides nothing.
 */
import { createHash, type X509Certificate } from 'node:crypto';
import { nodeNamePattern } from '../base/identity.ts';

export type CertificateRole = 'authority' | 'node' | 'witness';

export interface Party {
  readonly clusterId: string;
  readonly role: CertificateRole;
  readonly name: string;
}

/**
 * Cluster ids as they may stand in certificates: 1..63 lower-case letters, digits and `-`, not starting with
 * `-`.
 */
export const clusterIdPattern = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** Whether certificates may be issued for this node or witness name. */
export function isUsableName(name: string): boolean {
  return nodeNamePattern.test(name);
}

export function partyUri(party: Party): string {
  return `vmpair://${party.clusterId}/${party.role}/${party.name}`;
}

const alternativeNamePattern = /^URI:vmpair:\/\/([a-z0-9-]+)\/(authority|node|witness)\/([A-Za-z0-9_-]+)$/;

/** The party that a certificate names; `undefined` when it names none, or more than one. */
export function partyOf(certificate: X509Certificate): Party | undefined {
  const match = alternativeNamePattern.exec(certificate.subjectAltName ?? '');
  const [, clusterId, role, name] = match ?? [];
  if (clusterId === undefined || role === undefined || name === undefined) return undefined;
  if (role === 'authority') return { clusterId, role, name };
  return isUsableName(name) ? { clusterId, role: role === 'node' ? 'node' : 'witness', name } : undefined;
}

export const keyIdPattern = /^[0-9a-f]{64}$/;

/** SHA-256 of a public key (SPKI in DER) as 64 hex digits: names a key in lists of revoked ones and of members. */
export function keyIdOf(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex');
}

/** Key id of the key that a certificate speaks for: the same in every certificate that is issued for it. */
export function certificateKeyId({ publicKey }: X509Certificate): string {
  return keyIdOf(publicKey.export({ type: 'spki', format: 'der' }));
}

/**
 * The name that a party asks for in its TLS hello (SNI): whoever serves several clusters shows the certificate of this one.
 * It proves nothing, and no name service knows it.
 */
export function serverNameOf(clusterId: string): string {
  return `${clusterId}.vmpair.internal`;
}

/** For messages: `node beta of cluster 1f2e`. */
export function describeParty(party: Party | undefined): string {
  return party === undefined
    ? 'no party of a cluster'
    : `${party.role} ${party.name} of cluster ${party.clusterId}`;
}
