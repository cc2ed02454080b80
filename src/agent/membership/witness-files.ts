/** What is copied to the witness by hand: the witness is a machine of its own, on which no node may act. */
import { issueCertificate, writeIdentity } from '../../platform/pki.ts';
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
