/**
 * `vmpair cluster init`: the first node of a new cluster, from a bare server. Needs nobody else. What an interruption leaves
 * is made anew by the next attempt: nothing outside depends on it before `node.yaml` is there.
 */
import { randomBytes } from 'node:crypto';
import { WorldError } from '../../base/errors.ts';
import { keyIdOf } from '../../platform/certificate-identity.ts';
import { replaceFile } from '../../platform/durable-file.ts';
import {
  createClusterAuthority,
  issueCertificate,
  privateFileMode,
  publicKeyOf,
} from '../../platform/pki.ts';
import type { SocketAddress } from '../../platform/tls-sockets.ts';
import { newClusterText } from './cluster-document.ts';
import { writeForWitness } from './witness-files.ts';
import { begin, finish, type NodeFiles, refuseMember } from './node-files.ts';

const clusterIdBytes = 16;
const clusterNamePattern = /^[A-Za-z0-9][A-Za-z0-9_. -]{0,62}$/;

export interface InitOptions {
  readonly files: NodeFiles;
  /** Of the cluster, for people. */
  readonly name: string;
  readonly node: string;
  readonly address: SocketAddress;
}

export interface InitializedCluster {
  readonly cluster: string;
  readonly name: string;
  readonly node: string;
  readonly address: SocketAddress;
  readonly nodeFile: string;
  /** To be copied to the witness. */
  readonly witnessDir: string;
}

/** Throws `file-exists`, `cluster-unusable`, `config-invalid`, and errors of the operating system. */
export async function initCluster({ files, name, node, address }: InitOptions): Promise<InitializedCluster> {
  refuseMember(files);
  if (!clusterNamePattern.test(name)) {
    throw new WorldError('config-invalid', {
      wanted: 'a name of 1 to 63 letters, digits, spaces, "-", "_" or "."',
      found: JSON.stringify(name),
      next: 'choose another --name; nothing was made',
    });
  }
  const cluster = randomBytes(clusterIdBytes).toString('hex');
  const authority = await createClusterAuthority(cluster);
  const own = await issueCertificate(authority, 'node', node);
  await begin(files, 'init');
  const { tls } = files;
  await replaceFile(tls.caKey, authority.keyPem, privateFileMode);
  await replaceFile(tls.ca, authority.certificatePem, privateFileMode);
  await replaceFile(tls.key, own.keyPem, privateFileMode);
  await replaceFile(tls.cert, own.certificatePem, privateFileMode);
  await writeForWitness(files);
  const member = { name: node, agent: address, keyId: keyIdOf(publicKeyOf(own.keyPem)) };
  await replaceFile(files.clusterFile, newClusterText(cluster, name, member), privateFileMode);
  await finish(files, node, address);
  return { cluster, name, node, address, nodeFile: files.nodeFile, witnessDir: files.witnessDir };
}
