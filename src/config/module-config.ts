/**
 * `module.yaml`: one protected VM; identical on both nodes. What differs between the nodes is named per node in it, so that
 * the file can be compared and copied. Paths are used as written; `docs/configuration.md` describes every key.
 */
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { hexIdPattern, type NodeName, nodeNamePattern } from '../base/identity.ts';
import type { ChecksSettings } from '../checks/settings.ts';
import { volumesMax } from '../disk/state.ts';
import type { PingAddress } from '../platform/ping.ts';
import type { StartSettings } from '../starts/start-settings.ts';
import { type ArbiterConfig, arbiterSchema } from './arbiter-config.ts';
import { checksKeys, resolveChecks } from './checks-config.ts';
import { type FenceConfig, fenceSchema, pingSchema, resolveFence } from './fence-config.ts';
import { type Endpoint, nodeSchema, resolveLinks } from './link-config.ts';
import { type Complain, perNode } from './per-node.ts';
import { sizeSchema } from './size.ts';
import { resolveStart, startSchema } from './start-config.ts';
import { type Timers, timerProfiles, timersSchema } from './timers.ts';
import { readYamlFile } from './yaml-file.ts';

/** Names of modules and volumes: part of file and socket names, so short and plain. */
const shortNamePattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,30}$/;

/** Whether a module or a volume may have this name. */
export function isModuleName(name: string): boolean {
  return shortNamePattern.test(name);
}

const hexId = z.string('32 hex digits, in quotes').regex(hexIdPattern, '32 lower-case hex digits, in quotes');
const shortName = z
  .string('a name')
  .regex(shortNamePattern, 'a name of 1 to 31 letters, digits, "-" or "_", with a letter or digit first');
const absolutePath = z.string('an absolute path').refine(isAbsolute, 'an absolute path');
const pathPerNode = z.record(z.string(), absolutePath);
const pathOrPerNode = z.union([absolutePath, pathPerNode], 'an absolute path, or one absolute path per node');

/** Adapter-specific part; adapters narrow it by `kind`. */
export interface VmConfig {
  readonly kind: string;
  readonly [key: string]: unknown;
}

export interface VolumeConfig {
  readonly name: string;
  readonly sizeBytes: number;
  /** Absolute path of the disk file on each node. */
  readonly file: Readonly<Record<NodeName, string>>;
}

export interface ModuleConfig {
  readonly clusterId: string;
  readonly moduleId: string;
  readonly name: string;
  /** Exactly two, in the order of the file. */
  readonly nodes: readonly [NodeName, NodeName];
  /** Where each node listens: one address per network, in the order of preference, as many on both. */
  readonly links: Readonly<Record<NodeName, readonly Endpoint[]>>;
  /** Off: the frames of the link travel in the clear. */
  readonly encryption: boolean;
  readonly arbiter: ArbiterConfig;
  /** `undefined`: no node switches the other one off. */
  readonly fence: FenceConfig | undefined;
  /** What a node must reach to take over; empty: nothing. */
  readonly ping: readonly PingAddress[];
  readonly volumes: readonly VolumeConfig[];
  /** Absolute path of the metadata file on each node. */
  readonly metadata: Readonly<Record<NodeName, string>>;
  readonly timers: Timers;
  readonly preferred: NodeName | undefined;
  /** Off: the secondary never takes over by itself. */
  readonly failover: boolean;
  /** Limit of resyncs in bytes per second; `undefined`: none. */
  readonly resyncBytesPerSecondMax: number | undefined;
  /** When the VM starts, among the VMs of its node. */
  readonly start: StartSettings;
  /** With the check of the VM itself, where there is one. */
  readonly checks: ChecksSettings;
  readonly vm: VmConfig;
}

/** The networks between the nodes as one of them sees them, in the order of preference. */
export function networksOf(
  { nodes, links }: ModuleConfig,
  self: NodeName,
): readonly { readonly own: Endpoint; readonly peer: Endpoint }[] {
  const peer = nodes.find((node) => node !== self) as NodeName;
  return (links[self] ?? []).flatMap((own, index) => {
    const theirs = links[peer]?.[index];
    return theirs === undefined ? [] : [{ own, peer: theirs }];
  });
}

const anyVm = z.looseObject({ kind: z.string('the kind of hypervisor: none, qemu, simulated') });

/** Highest limit of a resync, MiB per second; more is no limit. */
const resyncMibPerSecondMax = 100_000;
const mibPerSecond = z
  .int(`MiB per second, a whole number from 1 to ${resyncMibPerSecondMax}`)
  .min(1, `at least 1 MiB per second; to have no resync at all, stop the module`)
  .max(
    resyncMibPerSecondMax,
    `at most ${resyncMibPerSecondMax} MiB per second; leave the key out for no limit`,
  );

function documentSchema(vm: z.ZodType) {
  return z.strictObject({
    version: z.literal(1, 'the format version 1'),
    cluster: hexId,
    module: z.strictObject({ id: hexId, name: shortName }),
    nodes: z
      .record(
        z
          .string()
          .regex(nodeNamePattern, 'a node name of 1 to 31 letters, digits, "-" or "_", not "both" or "none"'),
        nodeSchema,
      )
      .refine((nodes) => Object.keys(nodes).length === 2, 'exactly two nodes'),
    encryption: z.enum(['on', 'off']).default('on'),
    arbiter: arbiterSchema,
    fence: fenceSchema.optional(),
    ping: pingSchema.optional(),
    volumes: z
      .array(z.strictObject({ name: shortName, size: sizeSchema, file: pathOrPerNode }))
      .min(1, `1 to ${volumesMax} volumes`)
      .max(volumesMax, `1 to ${volumesMax} volumes`),
    metadata: pathOrPerNode,
    timers: timersSchema.default(timerProfiles.default),
    preferred: z.string('a node name').optional(),
    failover: z.enum(['on', 'off']).default('on'),
    resync: z.strictObject({ maxMibPerSecond: mibPerSecond.optional() }).default({}),
    start: startSchema(shortName).prefault({}),
    ...checksKeys,
    vm: vm.default({ kind: 'none' }),
  });
}

type Document = z.infer<ReturnType<typeof documentSchema>>;
/** What no single key shows: names that must refer to nodes, files and names that must differ. */
function resolveModule(document: Document, complain: Complain): ModuleConfig {
  const names = Object.keys(document.nodes);
  const nodes: [NodeName, NodeName] = [names[0] ?? '', names[1] ?? ''];
  const volumes = document.volumes.map((volume, index) => ({
    name: volume.name,
    sizeBytes: volume.size,
    file: perNode(volume.file, nodes, ['volumes', index, 'file'], complain),
  }));
  const metadata = perNode(document.metadata, nodes, ['metadata'], complain);
  if (document.preferred !== undefined && !nodes.includes(document.preferred)) {
    complain(['preferred'], `one of the nodes ${nodes.join(' and ')}`);
  }
  const seenNames = new Set<string>();
  volumes.forEach((volume, index) => {
    if (seenNames.has(volume.name)) complain(['volumes', index, 'name'], 'a name that no other volume has');
    seenNames.add(volume.name);
  });
  for (const node of nodes) {
    const seenFiles = new Set([metadata[node]]);
    volumes.forEach((volume, index) => {
      if (seenFiles.has(volume.file[node])) {
        complain(['volumes', index, 'file'], `a file that nothing else of node ${node} uses`);
      }
      seenFiles.add(volume.file[node]);
    });
  }
  return {
    clusterId: document.cluster,
    moduleId: document.module.id,
    name: document.module.name,
    nodes,
    links: resolveLinks(document.nodes, complain),
    encryption: document.encryption === 'on',
    arbiter: document.arbiter,
    fence:
      document.fence === undefined
        ? undefined
        : resolveFence(document.fence, nodes, document.arbiter.kind !== 'none', complain),
    ping: document.ping?.addresses ?? [],
    volumes,
    metadata,
    timers: document.timers,
    preferred: document.preferred,
    failover: document.failover === 'on',
    resyncBytesPerSecondMax:
      document.resync.maxMibPerSecond === undefined ? undefined : document.resync.maxMibPerSecond * 1024 ** 2,
    start: resolveStart(document.start, document.module.name, complain),
    checks: resolveChecks(document, nodes, (document.vm as VmConfig).kind !== 'none', complain),
    vm: document.vm as VmConfig,
  };
}

/** Schema of the whole file; `vm` checks the adapter's part, which this layer does not know. */
export function moduleConfigSchema(vm: z.ZodType = anyVm): z.ZodType<ModuleConfig> {
  return documentSchema(vm).transform((document, context): ModuleConfig => {
    let bad = false;
    const config = resolveModule(document, (path, message) => {
      bad = true;
      const input = path.reduce<unknown>((value, step) => Object(value)[step], document);
      context.issues.push({ code: 'custom', message, path, input });
    });
    return bad ? z.NEVER : config;
  });
}

/** Reads a `module.yaml`. Throws `file-missing` or `config-invalid`. */
export function readModuleConfig(file: string, vm?: z.ZodType): ModuleConfig {
  return readYamlFile(file, moduleConfigSchema(vm));
}
