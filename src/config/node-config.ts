/**
 * `node.yaml`: what belongs to one host: its name, where its run-time files and secrets are, and which modules its
 * supervisor keeps running. `docs/configuration.md` describes every key.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { WorldError } from '../base/errors.ts';
import { type BootId, hexIdPattern, type NodeName, nodeNamePattern } from '../base/identity.ts';
import { type Endpoint, endpoint } from './link-config.ts';
import { agentSocket, supervisorSocket } from './runtime-paths.ts';
import { type StartsConfig, startsSchema } from './start-config.ts';
import { readYamlFile } from './yaml-file.ts';

const absolutePath = z.string('an absolute path').refine(isAbsolute, 'an absolute path');

/** What survives a boot and belongs to this host alone: revisions, events, jobs. */
const defaultStateDir = '/var/lib/vmpair';
/** Where the applied configuration of the cluster is. */
const defaultConfigDir = '/etc/vmpair';

/** Linux makes this file new with every boot. */
export const defaultBootIdFile = '/proc/sys/kernel/random/boot_id';

/** Port of the agents, unless the configuration names another. */
export const defaultAgentPort = 7443;

/** Addresses on which one agent listens. */
const agentAddressesMax = 8;

/** The agent of this node. */
export interface AgentConfig {
  readonly listen: readonly Endpoint[];
  /** Whoever may open it is administrator. */
  readonly socket: string;
  /** Of the other node's agent; `undefined`: where the modules say that the node is, at the default port. */
  readonly peer: Endpoint | undefined;
}

export interface NodeConfig {
  readonly node: NodeName;
  /** Sockets, process records and logs; on a file system that a boot empties (`/run`). */
  readonly runtimeDir: string;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly bootIdFile: string;
  /** Faults that a lab switches on from outside; absent in production. */
  readonly faults: { readonly cutMarkerFile?: string | undefined };
  /** Absolute paths of the `module.yaml` files of this node. */
  readonly modules: readonly string[];
  /** A directory whose `*.yaml` files are modules of this node, beside those of `modules`. */
  readonly modulesDir: string | undefined;
  /** Durable state of this host's agent; for root only. */
  readonly stateDir: string;
  /** Where the agent writes the files of the cluster's configuration. */
  readonly configDir: string;
  readonly supervisor: { readonly controlSocket: string };
  readonly agent: AgentConfig;
  readonly starts: StartsConfig;
}

const addresses = `1 to ${agentAddressesMax} addresses`;
const agentSchema = z.strictObject({
  listen: z
    .array(z.strictObject(endpoint), addresses)
    .min(1, addresses)
    .max(agentAddressesMax, addresses)
    .default([{ host: '0.0.0.0', port: defaultAgentPort }]),
  socket: absolutePath.optional(),
  peer: z.strictObject(endpoint).optional(),
});

/** Schema of the whole file. */
export const nodeConfigSchema: z.ZodType<NodeConfig> = z
  .strictObject({
    version: z.literal(1, 'the format version 1'),
    node: z
      .string('a node name')
      .regex(nodeNamePattern, 'a node name of 1 to 31 letters, digits, "-" or "_", not "both" or "none"'),
    runtimeDir: absolutePath,
    tls: z.strictObject({ ca: absolutePath, cert: absolutePath, key: absolutePath }),
    bootIdFile: absolutePath.default(defaultBootIdFile),
    faults: z.strictObject({ cutMarkerFile: absolutePath.optional() }).default({}),
    modules: z.array(absolutePath, 'a list of absolute paths').default([]),
    modulesDir: absolutePath.optional(),
    stateDir: absolutePath.default(defaultStateDir),
    configDir: absolutePath.default(defaultConfigDir),
    supervisor: z.strictObject({ controlSocket: absolutePath.optional() }).default({}),
    agent: agentSchema.prefault({}),
    starts: startsSchema.prefault({}),
  })
  .transform(
    ({ version: _version, supervisor, agent, modulesDir, ...rest }): NodeConfig => ({
      ...rest,
      modulesDir,
      agent: {
        listen: agent.listen,
        socket: agent.socket ?? agentSocket(rest.runtimeDir),
        peer: agent.peer,
      },
      supervisor: {
        controlSocket: supervisor.controlSocket ?? supervisorSocket(rest.runtimeDir),
      },
    }),
  );

/** Reads a `node.yaml`. Throws `file-missing` or `config-invalid`. */
export function readNodeConfig(file: string): NodeConfig {
  return readYamlFile(file, nodeConfigSchema);
}

/**
 * Absolute paths of the modules of this node: those of `modules`, then those of `modulesDir` in the order of their names.
 * A directory that does not exist holds none. Throws `file-missing` for one that cannot be read.
 */
export function moduleFilesOf({ modules, modulesDir }: NodeConfig): readonly string[] {
  if (modulesDir === undefined) return modules;
  let names: string[];
  try {
    names = readdirSync(modulesDir).filter((name) => /^[^.].*\.yaml$/.test(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return modules;
    const found = error instanceof Error ? error.message : String(error);
    const next = 'Correct modulesDir in the node configuration, or the rights of the directory.';
    throw new WorldError('file-missing', { wanted: `to list ${modulesDir}`, found, next }, error);
  }
  return [...new Set([...modules, ...names.sort().map((name) => join(modulesDir, name))])];
}

/** The current boot id of the host, as 32 hex digits. Throws `file-missing` or `config-invalid`. */
export function readBootId(file: string): BootId {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    const next = 'Correct bootIdFile in the node configuration.';
    throw new WorldError('file-missing', { wanted: `the boot id in ${file}`, found, next }, error);
  }
  const id = text.trim().replaceAll('-', '').toLowerCase();
  if (hexIdPattern.test(id)) return id;
  throw new WorldError('config-invalid', {
    wanted: `a boot id of 32 hex digits in ${file}`,
    found: JSON.stringify(text.slice(0, 60)),
    next: 'Correct bootIdFile in the node configuration.',
  });
}
