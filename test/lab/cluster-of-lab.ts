/**
 * Makes a lab a cluster as `vmpair cluster` would have made it: both nodes hold the authority, `cluster.yaml` and the module, and each
 * may have an agent.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import { newClusterText, withMember } from '../../src/agent/membership/cluster-document.ts';
import {
  directoriesUnder,
  type NodeFiles,
  nodeFilesIn,
  tlsFilesOf,
} from '../../src/agent/membership/node-files.ts';
import { writeForWitness } from '../../src/agent/membership/witness-files.ts';
import { labModule, type LabNode, labNodes, readLabRecord, witnessLayout } from '../../src/lab/lab-layout.ts';
import type { LabCluster } from '../../src/lab/pair.ts';
import { keyIdOf } from '../../src/platform/certificate-identity.ts';
import { callOnce } from '../../src/platform/control-client.ts';
import { findFreePort } from '../../src/platform/free-port.ts';
import { createClusterAuthority, issueCertificate, publicKeyOf } from '../../src/platform/pki.ts';
import { programPath } from '../../src/platform/program-path.ts';
import type { SocketAddress } from '../../src/platform/tls-sockets.ts';
import { until } from '../until.ts';

const loopback = '127.0.0.1';
/** Environment variable by which a lab knows the processes of a machine. */
const markName = 'VMPAIR_LAB';
const commandDeadlineMs = 60_000;
const agentStartDeadlineMs = 60_000;

/** Runs the command line; resolves to its standard output, and fails with what it said. */
export async function vmpair(...args: readonly string[]): Promise<string> {
  const command = [programPath('src/cli/main'), ...args];
  const child = spawn(process.execPath, command, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: commandDeadlineMs,
  });
  let [output, errors] = ['', ''];
  child.stdout.on('data', (text) => (output += String(text)));
  child.stderr.on('data', (text) => (errors += String(text)));
  const [code] = (await once(child, 'close')) as [number | null];
  expect(code, `vmpair ${args.join(' ')}: ${output}${errors}`).to.equal(0);
  return output;
}

export class ClusterOfLab {
  readonly lab: LabCluster;
  readonly #agents: ChildProcess[] = [];

  /** To be called before anything of the lab runs. */
  static async make(lab: LabCluster): Promise<ClusterOfLab> {
    const self = new ClusterOfLab(lab);
    const { clusterId } = readLabRecord(lab.directory);
    const authority = await createClusterAuthority(clusterId);
    let text = '';
    for (const node of labNodes) {
      const files = self.files(node);
      const own = await issueCertificate(authority, 'node', node);
      writeFileSync(files.tls.ca, authority.certificatePem);
      writeFileSync(files.tls.caKey, authority.keyPem);
      writeFileSync(files.tls.cert, own.certificatePem);
      writeFileSync(files.tls.key, own.keyPem);
      const address = { host: loopback, port: await findFreePort(loopback) };
      const member = { name: node, agent: address, keyId: keyIdOf(publicKeyOf(own.keyPem)) };
      text = text === '' ? newClusterText(clusterId, 'lab', member) : withMember(text, member);
      mkdirSync(files.modulesDir);
      copyFileSync(lab.nodes[node].moduleFile, join(files.modulesDir, `${labModule}.yaml`));
      self.#completeNodeFile(node, address);
      mkdirSync(join(self.root(node), 'etc'), { recursive: true });
      symlinkSync(files.configDir, join(self.root(node), 'etc/vmpair'));
    }
    for (const node of labNodes) writeFileSync(self.files(node).clusterFile, text);
    await self.copyToWitness('A');
    return self;
  }

  private constructor(lab: LabCluster) {
    this.lab = lab;
  }

  /** What the commands take as `--dir`. */
  root(node: LabNode): string {
    return join(this.lab.directory, `root-${node}`);
  }

  files(node: LabNode): NodeFiles {
    const { directory, runtimeDir } = this.lab.nodes[node];
    const files = nodeFilesIn({ configDir: directory, stateDir: join(directory, 'state'), runtimeDir });
    const at = (name: string): string => join(directory, name);
    return {
      ...files,
      tls: tlsFilesOf({ ca: at('ca.pem'), cert: at(`${node}.pem`), key: at(`${node}.key.pem`) }),
    };
  }

  #completeNodeFile(node: LabNode, agent: SocketAddress): void {
    const { nodeFile, directory } = this.lab.nodes[node];
    const content = parse(readFileSync(nodeFile, 'utf8')) as object;
    const own = { configDir: directory, stateDir: this.files(node).stateDir, agent: { listen: [agent] } };
    writeFileSync(nodeFile, stringify({ ...content, ...own }));
  }

  /** What the operator does with the directory that a command named. */
  async copyToWitness(node: LabNode): Promise<void> {
    const files = this.files(node);
    const { directory } = witnessLayout(this.lab.directory);
    await writeForWitness(files);
    for (const name of ['ca.pem', 'witness.pem', 'witness.key.pem'])
      copyFileSync(join(files.witnessDir, name), join(directory, name));
  }

  async reloadWitness(): Promise<void> {
    const { dataDir } = witnessLayout(this.lab.directory);
    await callOnce(join(dataDir, 'control.sock'), 'reload');
  }

  /** Starts the agent of a node as a process of that machine, which a power-off ends too. */
  async startAgent(node: LabNode): Promise<void> {
    const args = [programPath('src/agent/main'), '--node', this.lab.nodes[node].nodeFile];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, [markName]: `${this.lab.directory}/${node}` },
    });
    let said = '';
    child.stdout.on('data', (text) => (said += String(text)));
    this.#agents.push(child);
    const ready = (): boolean => {
      expect(child.exitCode, said).to.equal(null);
      return said.includes('agent-ready');
    };
    await until(`the agent of ${node}`, ready, agentStartDeadlineMs);
  }

  async end(): Promise<void> {
    for (const agent of this.#agents) {
      if (agent.exitCode !== null || agent.signalCode !== null) continue;
      const ended = once(agent, 'close');
      agent.kill('SIGKILL');
      await ended;
    }
  }
}

/** The files that a bare server made under this root when it joined. */
export function joinedFiles(root: string): NodeFiles {
  return nodeFilesIn(directoriesUnder(root));
}
