/** The node of this machine for the handlers of membership: its files, without a configuration store above them. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../../platform/durable-file.ts';
import { privateFileMode } from '../../platform/pki.ts';
import { readAuthority } from './authority.ts';
import { documentPathPattern } from './join-messages.ts';
import type { ClusterDocuments, MembershipHost } from './membership-host.ts';
import { type NodeFiles, readClusterText } from './node-files.ts';
import { TokenStore } from './token-store.ts';

/** The documents as files below `configDir`; a change is a replaced file, and nobody else is told. */
export function documentFiles(files: NodeFiles): ClusterDocuments {
  const { configDir, clusterFile, modulesDir } = files;
  return {
    cluster: () => readClusterText(clusterFile),
    replaceCluster: (text) => replaceFile(clusterFile, text, privateFileMode),
    all: async () => {
      const modules = (await readdir(modulesDir).catch(() => [])).map((name) => `modules/${name}`);
      const paths = ['cluster.yaml', ...modules].filter((path) => documentPathPattern.test(path));
      const texts = await Promise.all(paths.map((path) => readFile(join(configDir, path), 'utf8')));
      return Object.fromEntries(paths.map((path, index) => [path, texts[index] ?? '']));
    },
  };
}

/** `documents`: where changes of `cluster.yaml` go; left out, to the file alone. */
export function localHost(
  files: NodeFiles,
  node: string,
  nowMs: () => number,
  documents: ClusterDocuments = documentFiles(files),
): MembershipHost {
  return {
    node,
    tokens: new TokenStore(files.stateDir),
    documents,
    authority: () => readAuthority(files.tls),
    nowMs,
  };
}
