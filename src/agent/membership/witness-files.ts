/** What is copied to the witness by hand: the witness is a machine of its own, on which no node may act. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../../platform/durable-file.ts';
import {
  issueCertificate,
  privateDirectoryMode,
  privateFileMode,
  writeIdentity,
} from '../../platform/pki.ts';
import { readAuthority } from './authority.ts';
import type { NodeFiles } from './node-files.ts';

const witnessName = 'witness';

/** The authorities to trust, and a certificate with a new key of the one that issues now. Answers the directory. */
export async function writeForWitness({ tls, witnessDir }: NodeFiles): Promise<string> {
  const { trustedPem, issuer } = await readAuthority(tls);
  const witness = await issueCertificate(issuer, 'witness', witnessName);
  await writeIdentity(witnessDir, witnessName, witness, trustedPem);
  return witnessDir;
}

/** The revoked keys as a witness reads them, one a line. Answers the file, to be copied beside its `ca.pem`. */
export async function writeRevokedForWitness(
  { witnessDir }: NodeFiles,
  revoked: readonly string[],
): Promise<string> {
  const file = join(witnessDir, 'revoked');
  await mkdir(witnessDir, { recursive: true, mode: privateDirectoryMode });
  await replaceFile(file, revoked.map((key) => `${key}\n`).join(''), privateFileMode);
  return file;
}
