/**
 * `vmpair node replace`: the place of a dead node is made vacant for new hardware of the same name. The old key is revoked first, durably,
 * so that the old machine is met by nobody any more when it is switched on again; then a token is made that only this name
 * can use. Repeated, it makes another token.
 */
import { WorldError } from '../../base/errors.ts';
import { membersOf, parseCluster, withVacantPlace } from './cluster-document.ts';
import { type MadeToken, makeToken, type TokenOptions } from './make-token.ts';
import type { ClusterDocuments } from './membership-host.ts';
import type { ModuleInformed } from './renew.ts';
import { writeRevokedForWitness } from './witness-files.ts';

export interface ReplaceOptions extends TokenOptions {
  /** The node that is gone. */
  readonly node: string;
  readonly documents: ClusterDocuments;
  /** Modules of this node that are connected to the other one. */
  connectedModules(): Promise<readonly string[]>;
  /** Lets the modules of this node read the revoked keys. */
  inform(): Promise<readonly ModuleInformed[]>;
}

export interface ReplacedNode extends MadeToken {
  /** Absent: the place was vacant already. */
  readonly revokedKey: string | undefined;
  readonly modules: readonly ModuleInformed[];
  /** To be copied to the witness. */
  readonly witnessFile: string;
}

/** Throws `cluster-unusable`; then nothing was changed. */
export async function replaceNode(options: ReplaceOptions): Promise<ReplacedNode> {
  const { files, self, node, documents } = options;
  const text = await documents.cluster();
  const cluster = parseCluster(files.clusterFile, text);
  const member = membersOf(cluster).find(({ name }) => name === node);
  const refuse = (wanted: string, found: string, next: string): WorldError =>
    new WorldError('cluster-unusable', { wanted, found, next });
  if (member === undefined || node === self) {
    throw refuse(
      `the name of the other node of cluster ${cluster.name}`,
      node === self ? 'this node' : JSON.stringify(node),
      'give the command on the node that is left, with the name of the one that is gone',
    );
  }
  const connected = await options.connectedModules();
  if (connected.length > 0) {
    throw refuse(
      `node ${node} to be gone`,
      `that it runs: connected are ${connected.join(', ')}`,
      `switch ${node} off for good before its hardware is replaced`,
    );
  }
  const changed = withVacantPlace(text, member);
  if (member.keyId !== undefined) await documents.replaceCluster(changed, `node ${node} is replaced`);
  const modules = await options.inform();
  const { revoked } = parseCluster(files.clusterFile, changed);
  const witnessFile = await writeRevokedForWitness(files, revoked);
  return { ...(await makeToken(options)), revokedKey: member.keyId, modules, witnessFile };
}
