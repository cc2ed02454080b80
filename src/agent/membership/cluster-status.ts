/** What the files of this node say of the cluster: its members, and how long certificates and authorities last. */
import { X509Certificate } from 'node:crypto';
import { readIdentity } from '../../platform/tls.ts';
import { addressText } from './address.ts';
import { membersOf, parseCluster } from './cluster-document.ts';
import { decideAuthority, decideNodeCertificate } from './decide-certificates.ts';
import { type NodeFiles, readClusterText } from './node-files.ts';
import { certificateFacts } from './renew.ts';

export interface ClusterStatus {
  readonly cluster: string;
  readonly name: string;
  readonly node: string;
  readonly nodes: readonly { readonly name: string; readonly agent: string; readonly vacant: boolean }[];
  readonly revokedKeys: number;
  readonly certificateUntil: string;
  /** One; two while one is replaced. */
  readonly authorityUntil: readonly string[];
  /** What is to be done soon. */
  readonly warnings: readonly string[];
}

/** Throws `cluster-unusable`, `config-invalid`, `file-missing` or `certificate-rejected`. */
export async function readClusterStatus(
  files: NodeFiles,
  node: string,
  nowMs: number,
): Promise<ClusterStatus> {
  const cluster = parseCluster(files.clusterFile, await readClusterText(files.clusterFile));
  const { authorities, certificatePem } = readIdentity(files.tls);
  const facts = await certificateFacts(files.tls, nowMs);
  const decisions = [decideNodeCertificate(facts), decideAuthority(facts)];
  const until = ({ validTo }: X509Certificate): string => new Date(validTo).toISOString();
  return {
    cluster: cluster.cluster,
    name: cluster.name,
    node,
    nodes: membersOf(cluster).map(({ name, agent, keyId }) => ({
      name,
      agent: addressText(agent),
      vacant: keyId === undefined,
    })),
    revokedKeys: cluster.revoked.length,
    certificateUntil: until(new X509Certificate(certificatePem)),
    authorityUntil: authorities.map(until),
    warnings: decisions.flatMap(({ action, because }) => (action === 'nothing' ? [] : [because])),
  };
}
