/**
 * What a lab is on disk: one directory with everything of two nodes and a witness, and `lab.json`, by which later
 * invocations find it. Node directories are named after the node; paths of sockets are checked before anything is made.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { WorldError } from '../base/errors.ts';
import { hexIdPattern } from '../base/identity.ts';
import { agentSocket, type ModulePaths, modulePaths, nbdUri } from '../config/runtime-paths.ts';
import { checkSocketPath } from '../platform/socket-path.ts';

/** The two nodes of every lab, and the machine that arbitrates. */
export const labNodes = ['A', 'B'] as const;
export type LabNode = (typeof labNodes)[number];
export type LabMachine = LabNode | 'witness';
export const labMachines: readonly LabMachine[] = [...labNodes, 'witness'];

export const labModule = 'vm1';
export const labVolume = 'disk0';

/** First half of the addresses of a lab whose machines share one network namespace. */
const loopbackAddresses = '127.0';

/** Each machine has an address of its own in each network, so that addresses tell them apart; `index` counts networks from 0. */
export function labHost(machine: LabMachine, index = 0, addresses: string = loopbackAddresses): string {
  return `${addresses}.${index}.${labMachines.indexOf(machine) + 1}`;
}

const processSchema = z.object({ pid: z.number().int(), startTicks: z.string(), hostBoot: z.string() });
const separationSchema = z.object({
  /** First half of the IPv4 addresses, as `10.213`. */
  addresses: z.string(),
  /** Network namespace of each machine, by name. */
  namespaces: z.object({ A: z.string(), B: z.string(), witness: z.string() }),
});
const programSchema = z.object({
  supervisor: z.string(),
  witness: z.string(),
  module: z.string(),
  agent: z.string(),
});

const labSchema = z.object({
  version: z.literal(1),
  clusterId: z.string().regex(hexIdPattern),
  moduleId: z.string().regex(hexIdPattern),
  sizeBytes: z.number().int(),
  /** Of the nodes, one per network. */
  ports: z.object({ A: z.array(z.number()), B: z.array(z.number()), witness: z.number() }),
  /** Ports of the agents; absent: the lab has none. */
  agents: z.object({ A: z.number(), B: z.number() }).optional(),
  programs: programSchema,
  /** Absent: all machines are on loopback addresses. */
  separation: separationSchema.optional(),
  /** The first process of each machine that runs. */
  processes: z.object({
    A: processSchema.optional(),
    B: processSchema.optional(),
    witness: processSchema.optional(),
  }),
});

/** Content of `lab.json`. */
export type LabRecord = z.infer<typeof labSchema>;
/** Compiled programs that a lab runs. */
export type LabPrograms = z.infer<typeof programSchema>;

/** Machines that reach each other only over a network that somebody else makes, and cuts. */
export type LabSeparation = z.infer<typeof separationSchema>;

export interface NodeLayout {
  readonly node: LabNode;
  readonly directory: string;
  readonly runtimeDir: string;
  readonly paths: ModulePaths;
  readonly nodeFile: string;
  readonly moduleFile: string;
  readonly diskFile: string;
  readonly metadataFile: string;
  readonly bootIdFile: string;
  readonly cutMarkerFile: string;
  readonly supervisorSocket: string;
  readonly supervisorLog: string;
  readonly stateDir: string;
  /** Of the cluster's configuration; never that of this host. */
  readonly configDir: string;
  readonly agentSocket: string;
  readonly agentLog: string;
  readonly nbdUri: string;
}

export function nodeLayout(labDirectory: string, node: LabNode): NodeLayout {
  const directory = join(labDirectory, node);
  const runtimeDir = join(directory, 'run');
  const paths = modulePaths(runtimeDir, labModule);
  const nbdSocket = paths.nbd(labVolume);
  checkSocketPath(nbdSocket);
  checkSocketPath(paths.supervisorMonitor);
  return {
    node,
    directory,
    runtimeDir,
    paths,
    nodeFile: join(directory, 'node.yaml'),
    moduleFile: join(directory, 'module.yaml'),
    diskFile: join(directory, `${labVolume}.img`),
    metadataFile: join(directory, `${labModule}.meta`),
    bootIdFile: join(directory, 'boot-id'),
    cutMarkerFile: join(directory, 'link-is-cut'),
    supervisorSocket: join(runtimeDir, 'supervisor.control.sock'),
    supervisorLog: join(directory, 'supervisor.log'),
    stateDir: join(directory, 'state'),
    configDir: join(directory, 'etc'),
    agentSocket: agentSocket(runtimeDir),
    agentLog: join(directory, 'agent.log'),
    nbdUri: nbdUri(labVolume, nbdSocket),
  };
}

export interface WitnessLayout {
  readonly directory: string;
  readonly configFile: string;
  readonly dataDir: string;
  readonly log: string;
}

export function witnessLayout(labDirectory: string): WitnessLayout {
  const directory = join(labDirectory, 'witness');
  return {
    directory,
    configFile: join(directory, 'witness.yaml'),
    dataDir: join(directory, 'data'),
    log: join(directory, 'witness.log'),
  };
}

export function labFile(labDirectory: string): string {
  return join(labDirectory, 'lab.json');
}

/** Replaces `lab.json` as a whole. */
export function writeLabRecord(labDirectory: string, record: LabRecord): void {
  const file = labFile(labDirectory);
  writeFileSync(`${file}.new`, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** Throws `lab-unusable` when the directory holds no lab. */
export function readLabRecord(labDirectory: string): LabRecord {
  const file = labFile(labDirectory);
  try {
    return labSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    throw new WorldError(
      'lab-unusable',
      {
        wanted: `a running lab in ${labDirectory}`,
        found: error instanceof Error && 'code' in error ? `no file ${file}` : `${file} is none of a lab`,
        next: 'Start one with "vmpair lab pair --dir DIR", or name that of one that runs.',
      },
      error,
    );
  }
}
