/**
 * What `cluster.yaml` says of the keys of the two nodes: `keys`, the key that each of them has, and `revoked`, the keys of nodes
 * that were replaced by new hardware. A key is named by the SHA-256 of its public half, so that every certificate that was ever
 * issued for it is meant, and not one of several.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { nodeNamePattern } from '../base/identity.ts';
import { keyIdPattern } from '../platform/certificate-identity.ts';
import { readYamlFile } from './yaml-file.ts';

const keyWanted = 'the id of a key: 64 lower-case hex digits, in quotes';
const keyId = z.string(keyWanted).regex(keyIdPattern, keyWanted);

/** Sections of `cluster.yaml`. */
export const membershipSections = {
  /** Node -> its key; without one the place of the node is vacant. */
  keys: z.record(z.string().regex(nodeNamePattern, 'a node name'), keyId).default({}),
  revoked: z.array(keyId, 'a list of the ids of keys').default([]),
};

export function clusterFile(configDir: string): string {
  return join(configDir, 'cluster.yaml');
}

/**
 * Empty without a `cluster.yaml`: a cluster that was made by hand has none. Nothing else of the file is looked at, so that what is
 * wrong in it keeps no VM from running. Throws `config-invalid`.
 */
export function readRevokedKeys(configDir: string): ReadonlySet<string> {
  const file = clusterFile(configDir);
  const schema = z.looseObject({ revoked: membershipSections.revoked });
  return new Set(existsSync(file) ? readYamlFile(file, schema).revoked : []);
}
