/** Where the commands of a cluster find the node that they act on, and what they need of it. */
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { ModuleStatus } from '../base/status.ts';
import { moduleFilesOf, readNodeConfig } from '../config/node-config.ts';
import { parseAddress } from '../agent/membership/address.ts';
import { directoriesUnder, type NodeFiles, nodeFilesIn, tlsFilesOf } from '../agent/membership/node-files.ts';
import { informModules, type ModuleInformed, runningModules } from '../agent/membership/renew.ts';
import { callOnce } from '../platform/control-client.ts';
import { isUsableName } from '../platform/certificate-identity.ts';
import type { SocketAddress } from '../platform/tls-sockets.ts';

export interface PlaceOptions {
  readonly dir: string;
  readonly json?: boolean;
}

/** The node of this host, as its `node.yaml` says. */
export interface OwnNode {
  readonly node: string;
  readonly files: NodeFiles;
  readonly supervisorSocket: string;
  readonly moduleFiles: readonly string[];
  inform(): Promise<readonly ModuleInformed[]>;
}

export function atPlace(command: Command): Command {
  return command
    .option('--dir <directory>', 'root of the file system that holds etc/vmpair, for trials', '/')
    .option('--json', 'print one JSON line');
}

/** Throws `file-missing` or `config-invalid` on a server without a `node.yaml`. */
export function ownNode({ dir }: PlaceOptions): OwnNode {
  const config = readNodeConfig(join(directoriesUnder(dir).configDir, 'node.yaml'));
  const supervisorSocket = config.supervisor.controlSocket;
  return {
    node: config.node,
    files: { ...nodeFilesIn(config), tls: tlsFilesOf(config.tls) },
    supervisorSocket,
    moduleFiles: moduleFilesOf(config),
    inform: () => informModules(supervisorSocket),
  };
}

/** Names of the modules of this node whose process is connected to the other node's. */
export async function connectedModules({ supervisorSocket }: OwnNode): Promise<readonly string[]> {
  const connected: string[] = [];
  for (const { module, control } of await runningModules(supervisorSocket)) {
    const status = (await callOnce(control, 'status').catch(() => undefined)) as ModuleStatus | undefined;
    if (status !== undefined && status.axes.link !== 'down') connected.push(module);
  }
  return connected;
}

export function checkedName(text: string): string {
  if (isUsableName(text)) return text;
  throw new InvalidArgumentError(
    'wanted a name of 1 to 31 letters, digits, "-" or "_", not "both" or "none"',
  );
}

export function checkedAddress(text: string): SocketAddress {
  const address = parseAddress(text);
  if (address !== undefined) return address;
  throw new InvalidArgumentError('wanted ADDRESS or ADDRESS:PORT; an IPv6 address with a port in brackets');
}
