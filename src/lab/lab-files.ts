/** Writes the files of a new lab: identities, configurations, sparse disk files, boot ids. Starts nothing. */
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import type { VmConfig } from '../config/module-config.ts';
import {
  labHost,
  labModule,
  labNodes,
  labVolume,
  type LabMachine,
  type LabNode,
  type LabRecord,
  nodeLayout,
  witnessLayout,
} from './lab-layout.ts';

/** Paths of one certificate identity, as configuration files name them. */
export interface IdentityFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Issues certificates of one cluster: a port, so that labs of stand-ins need none. */
export interface IdentityIssuer {
  issue(role: 'node' | 'witness', name: string, directory: string): Promise<IdentityFiles>;
}

export interface LabFileOptions {
  readonly directory: string;
  readonly record: LabRecord;
  readonly issuer: IdentityIssuer;
  readonly timerProfile: 'default' | 'fast';
  readonly encryption?: 'on' | 'off' | undefined;
  readonly vm: VmConfig;
}

function hostIn({ separation }: LabRecord, machine: LabMachine, index = 0): string {
  return labHost(machine, index, separation?.addresses);
}

export function randomHexId(): string {
  return randomBytes(16).toString('hex');
}

function createSparseFile(path: string, sizeBytes: number): void {
  const fd = openSync(path, 'wx', 0o600);
  ftruncateSync(fd, sizeBytes);
  closeSync(fd);
}

function writeYaml(path: string, content: object): void {
  writeFileSync(path, stringify(content), { mode: 0o600, flag: 'wx' });
}

/** The `module.yaml` of the lab, the same for both nodes. */
function moduleDocument({ directory, record, timerProfile, encryption, vm }: LabFileOptions): object {
  const layouts = labNodes.map((node) => nodeLayout(directory, node));
  const perNode = (path: 'diskFile' | 'metadataFile') =>
    Object.fromEntries(layouts.map((layout) => [layout.node, layout[path]]));
  return {
    version: 1,
    cluster: record.clusterId,
    module: { id: record.moduleId, name: labModule },
    nodes: Object.fromEntries(
      labNodes.map((node) => {
        const links = record.ports[node].map((port, index) => ({ host: hostIn(record, node, index), port }));
        return [node, links.length === 1 ? { link: links[0] } : { links }];
      }),
    ),
    encryption: encryption ?? 'on',
    arbiter: { kind: 'witness', host: hostIn(record, 'witness'), port: record.ports.witness },
    volumes: [{ name: labVolume, size: record.sizeBytes, file: perNode('diskFile') }],
    metadata: perNode('metadataFile'),
    timers: { profile: timerProfile },
    vm,
  };
}

/** Keys of the `node.yaml` for the agents of a lab that has them. */
function agentKeys(record: LabRecord, node: LabNode): object {
  const { agents } = record;
  if (agents === undefined) return {};
  const other = node === 'A' ? 'B' : 'A';
  const address = (each: LabNode) => ({ host: hostIn(record, each), port: agents[each] });
  return { agent: { listen: [address(node)], peer: address(other) } };
}

export async function writeLabFiles(options: LabFileOptions): Promise<void> {
  const { directory, record, issuer } = options;
  for (const node of labNodes) {
    const layout = nodeLayout(directory, node);
    mkdirSync(layout.runtimeDir, { recursive: true, mode: 0o700 });
    createSparseFile(layout.diskFile, record.sizeBytes);
    writeFileSync(layout.bootIdFile, `${randomHexId()}\n`);
    writeYaml(layout.moduleFile, moduleDocument(options));
    writeYaml(layout.nodeFile, {
      version: 1,
      node,
      runtimeDir: layout.runtimeDir,
      tls: await issuer.issue('node', node, layout.directory),
      bootIdFile: layout.bootIdFile,
      faults: { cutMarkerFile: layout.cutMarkerFile },
      modules: [layout.moduleFile],
      supervisor: { controlSocket: layout.supervisorSocket },
      stateDir: layout.stateDir,
      configDir: layout.configDir,
      ...agentKeys(record, node),
      // Both nodes look at the memory of one machine.
      starts: { memoryReserve: 0 },
    });
  }
  const witness = witnessLayout(directory);
  mkdirSync(witness.dataDir, { recursive: true, mode: 0o700 });
  writeYaml(witness.configFile, {
    listen: { host: hostIn(record, 'witness'), port: record.ports.witness },
    tls: await issuer.issue('witness', 'witness', witness.directory),
    dataDir: witness.dataDir,
  });
}
