/** Certificates of a lab: a cluster authority of its own, made when the lab is, whose key is not kept. */
import { createClusterAuthority, issueCertificate, writeIdentity } from '../platform/pki.ts';
import type { IdentityIssuer } from './lab-files.ts';

export async function createLabIssuer(clusterId: string): Promise<IdentityIssuer> {
  const authority = await createClusterAuthority(clusterId);
  return {
    async issue(role, name, directory) {
      const identity = await issueCertificate(authority, role, name);
      return writeIdentity(directory, name, identity, authority.certificatePem);
    },
  };
}
