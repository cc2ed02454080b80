/**
 * The authority of the cluster as files of a node: the bundle `ca.pem` of those that are trusted, and the private key of the
 * one that issues, which is found among them by its key.
 */
import { createPrivateKey, type X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { WorldError } from '../../base/errors.ts';
import type { CertificateAndKey } from '../../platform/pki.ts';
import { parseAuthorities } from '../../platform/tls.ts';
import type { TlsFiles } from './node-files.ts';

export interface Authority {
  /** All that are trusted. */
  readonly trustedPem: string;
  /** The one that issues. */
  readonly issuer: CertificateAndKey;
}

/** The authority whose private key this is. */
export function findIssuer(
  trustedPem: string,
  keyPem: string,
): { readonly pem: string; readonly certificate: X509Certificate } | undefined {
  const key = createPrivateKey(keyPem);
  const certificate = parseAuthorities(trustedPem).find((each) => each.checkPrivateKey(key));
  return certificate && { pem: certificate.toString(), certificate };
}

async function readSecret(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new WorldError(
      'cluster-unusable',
      {
        wanted: `the authority of the cluster in ${file}`,
        found: error instanceof Error ? error.message : String(error),
        next: 'give the command on a node that was made with `vmpair cluster`; without the key nothing can be issued',
      },
      error,
    );
  }
}

/** Throws `cluster-unusable` when this node does not hold the key of an authority that it trusts. */
export async function readAuthority(files: Pick<TlsFiles, 'ca' | 'caKey'>): Promise<Authority> {
  const trustedPem = await readSecret(files.ca);
  const keyPem = await readSecret(files.caKey);
  const issuer = findIssuer(trustedPem, keyPem);
  if (issuer !== undefined) return { trustedPem, issuer: { certificatePem: issuer.pem, keyPem } };
  throw new WorldError('cluster-unusable', {
    wanted: `in ${files.ca} the authority that ${files.caKey} belongs to`,
    found: 'others only',
    next: 'put the file back that belongs to the key, from this node or the other one',
  });
}
