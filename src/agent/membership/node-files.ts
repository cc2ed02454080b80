/**
 * Where a node of a cluster keeps its files, and the files that `init` and `join` write. `node.yaml` is written last: a server
 * that has one belongs to a cluster; one that has only `membership.pending` was interrupted, and the same command goes on.
 *
 * Both nodes hold the key of the authority (`ca.key.pem`, for root only): the one that is left must be able to let new hardware
 * in. It gives root of one node nothing that it does not have on the other node's data already; a *stolen* node is
 * another matter (docs/operating/certificates.md).
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { WorldError } from '../../base/errors.ts';
import { defaultAgentPort } from '../../config/node-config.ts';
import { clusterFile } from '../../config/membership-keys.ts';
import { replaceFile } from '../../platform/durable-file.ts';
import { privateDirectoryMode, privateFileMode } from '../../platform/pki.ts';
import type { SocketAddress } from '../../platform/tls-sockets.ts';

export interface NodeDirectories {
  readonly configDir: string;
  readonly stateDir: string;
  readonly runtimeDir: string;
}

export interface NodeFiles extends NodeDirectories {
  readonly nodeFile: string;
  readonly clusterFile: string;
  readonly modulesDir: string;
  readonly tls: TlsFiles;
  /** Certificates to be copied to the witness. */
  readonly witnessDir: string;
  readonly pending: string;
}

export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** Private key of the authority. */
  readonly caKey: string;
  /** The authority that is to take over, while there is one. */
  readonly nextCa: string;
  readonly nextCaKey: string;
}

/** `root`: `/`, or another directory for trials. */
export function directoriesUnder(root: string): NodeDirectories {
  return {
    configDir: join(root, 'etc/vmpair'),
    stateDir: join(root, 'var/lib/vmpair'),
    runtimeDir: join(root, 'run/vmpair'),
  };
}

/** The files of the authority are beside `ca`. */
export function tlsFilesOf({ ca, cert, key }: Pick<TlsFiles, 'ca' | 'cert' | 'key'>): TlsFiles {
  const beside = (name: string): string => join(dirname(ca), name);
  return {
    ca,
    cert,
    key,
    caKey: beside('ca.key.pem'),
    nextCa: beside('ca.next.pem'),
    nextCaKey: beside('ca.next.key.pem'),
  };
}

export function nodeFilesIn(directories: NodeDirectories): NodeFiles {
  const at = (name: string): string => join(directories.configDir, name);
  return {
    ...directories,
    nodeFile: at('node.yaml'),
    clusterFile: clusterFile(directories.configDir),
    modulesDir: at('modules'),
    tls: tlsFilesOf({ ca: at('tls/ca.pem'), cert: at('tls/node.pem'), key: at('tls/node.key.pem') }),
    witnessDir: at('witness'),
    pending: at('membership.pending'),
  };
}

/** Throws `file-exists` on a server that belongs to a cluster. */
export function refuseMember({ nodeFile }: NodeFiles): void {
  if (!existsSync(nodeFile)) return;
  throw new WorldError('file-exists', {
    wanted: 'a server that belongs to no cluster yet',
    found: `${nodeFile}, which is never overwritten`,
    next: 'see `vmpair cluster certificates`; to begin anew, move that file and the directory tls beside it away',
  });
}

type Pending = 'init' | 'join';

/** Makes the directories, and notes what is being done. Throws `cluster-unusable` after an interruption of the other command. */
export async function begin(files: NodeFiles, doing: Pending): Promise<void> {
  const { configDir, modulesDir, stateDir, tls, pending } = files;
  for (const directory of [configDir, modulesDir, stateDir, dirname(tls.ca)])
    await mkdir(directory, { recursive: true, mode: privateDirectoryMode });
  const other: Pending = doing === 'init' ? 'join' : 'init';
  if (existsSync(pending) && readFileSync(pending, 'utf8').trim() === other) {
    throw new WorldError('cluster-unusable', {
      wanted: `a server on which no other \`vmpair cluster ${other}\` was begun`,
      found: `${pending}: it did not end`,
      next: `repeat \`vmpair cluster ${other}\`, or remove that file and the directory tls beside it`,
    });
  }
  await replaceFile(pending, `${doing}\n`, privateFileMode);
}

/** Writes `node.yaml`: from now on this server belongs to the cluster. */
export async function finish(files: NodeFiles, node: string, agent: SocketAddress): Promise<void> {
  const { tls, runtimeDir, stateDir, configDir, modulesDir } = files;
  const { ca, cert, key } = tls;
  const { host, port } = agent;
  const listen = [{ host: '0.0.0.0', port }];
  const content = {
    version: 1,
    node,
    runtimeDir,
    stateDir,
    configDir,
    modulesDir,
    tls: { ca, cert, key },
    ...(port === defaultAgentPort ? {} : { agent: { listen } }),
  };
  const head = `# This server as a node of its cluster; its agent is reached at ${host} port ${port}.\n`;
  await replaceFile(files.nodeFile, head + stringify(content), privateFileMode);
  await unlink(files.pending);
}

/** Throws `cluster-unusable` when there is none: the cluster was made by hand, or not at all. */
export async function readClusterText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new WorldError(
      'cluster-unusable',
      {
        wanted: `the cluster in ${file}`,
        found: error instanceof Error ? error.message : String(error),
        next: 'make one with `vmpair cluster init`; a cluster that was made by hand has none',
      },
      error,
    );
  }
}
