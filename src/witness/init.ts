/** `vmpair witness init`: a commented `witness.yaml`, and the directory for the certificates. It overwrites nothing. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { WorldError } from '../base/errors.ts';
import { replaceFile } from '../platform/durable-file.ts';
import type { SocketAddress } from '../platform/tls-sockets.ts';

export interface InitializedWitness {
  readonly configFile: string;
  readonly clustersDir: string;
  readonly dataDir: string;
  readonly listen: SocketAddress;
}

const directoryMode = 0o750;
const configMode = 0o640;

function configText({ clustersDir, dataDir, listen }: InitializedWitness): string {
  const address = `{ host: ${JSON.stringify(listen.host)}, port: ${listen.port} }`;
  return `# Configuration of a vmpair witness. Check it with: vmpair witness check
version: 1

# Where the nodes reach this machine; their module.yaml names the same address and port.
listen: ${address}

# One directory per cluster, under any name, each with ca.pem, witness.pem and witness.key.pem, as
# "vmpair certificates" makes them. After a change: vmpair witness reload, or SIGHUP.
clustersDir: ${JSON.stringify(clustersDir)}

# The records: who may go on alone. Exclude this directory from backups: an old copy of it is not used.
dataDir: ${JSON.stringify(dataDir)}

# Prometheus metrics (/metrics) and /healthz, in the clear; leave it out, or keep it on an inner address.
# metrics: { host: 127.0.0.1, port: 9300 }
`;
}

/** Throws `WorldError` file-exists, and errors of the operating system. */
export async function initWitness(
  directory: string,
  dataDir: string,
  listen: SocketAddress,
): Promise<InitializedWitness> {
  const made = {
    configFile: path.join(directory, 'witness.yaml'),
    clustersDir: path.join(directory, 'clusters'),
    dataDir,
    listen,
  };
  if (existsSync(made.configFile)) {
    throw new WorldError('file-exists', {
      wanted: `to write ${made.configFile}`,
      found: 'a file that is there already, which is never overwritten',
      next: 'Edit it, or choose another --dir.',
    });
  }
  await mkdir(made.clustersDir, { recursive: true, mode: directoryMode });
  await replaceFile(made.configFile, configText(made), configMode);
  return made;
}
