/**
 * Who this module is to its peer and its arbiter, and how that is renewed while it runs: the files are read again, and what
 * they hold counts from the next connection on. The link that is open stays open, so a pair stays in sync.
 *
 * Invariant: everything is read and checked before anything is used; files that are wrong change nothing.
 */
import { X509Certificate } from 'node:crypto';
import { WorldError } from '../../src/base/errors.ts';
import type { ModuleConfig } from '../../src/config/module-config.ts';
import type { NodeConfig } from '../../src/config/node-config.ts';
import { readRevokedKeys } from '../../src/config/membership-keys.ts';
import { certificateKeyId, describeParty } from '../../src/platform/certificate-identity.ts';
import type { OpenedLinkTransport } from '../../src/platform/link-transport.ts';
import { readIdentity, type TlsIdentity } from '../../src/platform/tls.ts';
import type { ChosenArbiter } from './arbiter-choice.ts';

/** What is in use from now on. */
export interface CertificatesInUse {
  readonly serial: string;
  readonly keyId: string;
  readonly expires: string;
  /** Serial numbers of the authorities that are trusted. */
  readonly authorities: readonly string[];
  readonly revokedKeys: number;
}

/** Throws `file-missing`, `config-invalid` or `certificate-rejected`. */
export function readOwnIdentity(config: ModuleConfig, node: NodeConfig): TlsIdentity {
  const identity = readIdentity(node.tls, readRevokedKeys(node.configDir));
  const { self } = identity;
  if (self.role === 'node' && self.name === node.node && self.clusterId === config.clusterId) return identity;
  // A certificate of something else would only be refused by the peer, later and in another log.
  throw new WorldError('certificate-rejected', {
    wanted: `${node.tls.cert} to be of node ${node.node} of cluster ${config.clusterId}`,
    found: describeParty(self),
    next: 'correct `tls` in the node configuration, or issue a certificate for this node',
  });
}

/** Throws as `readOwnIdentity` and `chooseArbiter` do. */
export function rereadCertificates(
  config: ModuleConfig,
  node: NodeConfig,
  transports: readonly OpenedLinkTransport[],
  arbiter: ChosenArbiter | undefined,
): CertificatesInUse {
  const identity = readOwnIdentity(config, node);
  const useInArbiter = arbiter?.reread();
  useInArbiter?.(identity);
  for (const transport of transports) transport.useIdentity(identity);
  const certificate = new X509Certificate(identity.certificatePem);
  return {
    serial: certificate.serialNumber,
    keyId: certificateKeyId(certificate),
    expires: new Date(certificate.validTo).toISOString(),
    authorities: identity.authorities.map(({ serialNumber }) => serialNumber),
    revokedKeys: identity.revokedKeys.size,
  };
}
