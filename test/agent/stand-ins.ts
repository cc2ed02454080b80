/**
 * Nodes for the tests of the agent: real agents with real certificates in this process, and stand-ins for supervisors and
 * modules behind real control sockets. What a real module does is not verified here.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { stringify } from 'yaml';
import { z } from 'zod';
import { Agent } from '../../src/agent/agent.ts';
import { type AgentAnswer, type AgentPlace, askAgent } from '../../src/agent/client.ts';
import type { Clock } from '../../src/base/clock.ts';
import type { WorldError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import type { ModuleStatus } from '../../src/base/status.ts';
import { readNodeConfig } from '../../src/config/node-config.ts';
import { modulePaths } from '../../src/config/runtime-paths.ts';
import { ControlServer, noArgs, verb } from '../../src/platform/control-socket.ts';
import { findFreePort } from '../../src/platform/free-port.ts';
import {
  type CertificateAndKey,
  createClusterAuthority,
  issueCertificate,
  writeIdentity,
} from '../../src/platform/pki.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { sampleStatus } from './sample-status.ts';

export type NodeName = 'A' | 'B';
const otherOf = (node: NodeName): NodeName => (node === 'A' ? 'B' : 'A');
const hosts = { A: '127.0.0.1', B: '127.0.0.2' } as const;

/** Answers like a module whose state the test sets. */
export class StandInModule {
  readonly asked: { verb: string; args: unknown }[] = [];
  status: ModuleStatus;
  /** What the next verb that changes something throws. */
  refusal: WorldError | undefined;
  #control: ControlServer | undefined;
  #hangs: Promise<void> | undefined;
  #wake: () => void = () => {};
  readonly #path: string;

  constructor(path: string, status: ModuleStatus) {
    this.#path = path;
    this.status = status;
  }

  async listen(): Promise<void> {
    const act = (name: string) =>
      verb(z.looseObject({}), (args) => {
        this.asked.push({ verb: name, args });
        if (this.refusal !== undefined) throw this.refusal;
        return { done: true };
      });
    this.#control = await ControlServer.listen({
      path: this.#path,
      verbs: {
        status: verb(noArgs, async () => {
          await this.#hangs;
          return this.status;
        }),
        arbiter: verb(noArgs, () => ({ verdict: 'ok', because: 'it knows' })),
        explain: verb(noArgs, () => ({ dryRun: null, decisions: [] })),
        ...Object.fromEntries(
          ['start', 'stop', 'swap', 'prim', 'second', 'verify'].map((name) => [name, act(name)]),
        ),
      },
    });
  }

  /** From now on it takes questions and answers none. */
  hang(): void {
    this.#hangs = new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  wake(): void {
    this.#wake();
    this.#hangs = undefined;
  }

  /** A change that it tells, as a module does. */
  change(change: Partial<ModuleStatus>): void {
    this.status = { ...this.status, ...change };
    const { state, readiness, because, axes } = this.status;
    this.#control?.publish({ kind: 'state', state, readiness, because, axes });
  }

  async close(): Promise<void> {
    await this.#control?.close();
    this.#control = undefined;
  }
}

export class StandInNode {
  readonly node: NodeName;
  readonly directory: string;
  readonly modules: StandInModule[] = [];
  readonly nodeFile: string;
  readonly place: AgentPlace;
  agent: Agent | undefined;
  #supervisor: ControlServer | undefined;
  readonly restarts: string[] = [];
  readonly #names: readonly string[];

  constructor(cluster: StandInCluster, node: NodeName, names: readonly string[]) {
    this.node = node;
    this.directory = cluster.temp.file(node);
    this.nodeFile = `${this.directory}/node.yaml`;
    this.place = { socket: `${this.directory}/run/agent.sock` };
    this.#names = names;
  }

  get runtimeDir(): string {
    return `${this.directory}/run`;
  }

  async listenModules(): Promise<void> {
    for (const module of this.#names) {
      const state = this.node === 'A' ? 'PRIM' : 'SECOND';
      const status = sampleStatus({ module, node: this.node, peer: otherOf(this.node), state });
      const standIn = new StandInModule(modulePaths(this.runtimeDir, module).control, status);
      await standIn.listen();
      this.modules.push(standIn);
    }
  }

  async listenSupervisor(): Promise<void> {
    const status = (module: string) => ({
      module,
      file: `${this.directory}/${module}.yaml`,
      state: 'running',
      because: 'it answers',
      pid: 1,
      restarts: 0,
      control: modulePaths(this.runtimeDir, module).control,
    });
    this.#supervisor = await ControlServer.listen({
      path: `${this.runtimeDir}/supervisor.control.sock`,
      verbs: {
        list: verb(noArgs, () => this.#names.map(status)),
        restart: verb(z.strictObject({ module: z.string() }), ({ module }) => {
          this.restarts.push(module);
          return status(module);
        }),
      },
    });
  }

  async closeSupervisor(): Promise<void> {
    await this.#supervisor?.close();
    this.#supervisor = undefined;
  }

  async startAgent(clock: Clock = systemClock): Promise<Agent> {
    const config = readNodeConfig(this.nodeFile);
    this.agent = await Agent.start({ config, version: '0.1.0', clock, log: silentLog });
    return this.agent;
  }

  /** Over the local socket. */
  ask(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: object): Promise<AgentAnswer> {
    return askAgent(this.place, method, `/api/v1${path}`, body);
  }

  async close(): Promise<void> {
    await this.agent?.close();
    this.agent = undefined;
    await this.closeSupervisor();
    await Promise.all(this.modules.splice(0).map((module) => module.close()));
  }
}

export class StandInCluster {
  readonly temp: TempDirectory;
  readonly nodes: Readonly<Record<NodeName, StandInNode>>;
  readonly authority: CertificateAndKey;
  readonly ports: Readonly<Record<NodeName, number>>;

  /** Modules and supervisors answer; no agent runs yet. */
  static async make(names: readonly string[] = ['vm1']): Promise<StandInCluster> {
    const authority = await createClusterAuthority('0'.repeat(32));
    const [A, B] = await Promise.all([findFreePort(hosts.A), findFreePort(hosts.B)]);
    const self = new StandInCluster(authority, names, { A, B });
    for (const node of ['A', 'B'] as const) {
      await self.#write(node, names);
      await self.nodes[node].listenModules();
      await self.nodes[node].listenSupervisor();
    }
    return self;
  }

  private constructor(
    authority: CertificateAndKey,
    names: readonly string[],
    ports: Record<NodeName, number>,
  ) {
    this.temp = makeTempDirectory('in-memory');
    this.authority = authority;
    this.ports = ports;
    this.nodes = { A: new StandInNode(this, 'A', names), B: new StandInNode(this, 'B', names) };
  }

  async #write(node: NodeName, names: readonly string[]): Promise<void> {
    const { directory, runtimeDir, nodeFile } = this.nodes[node];
    mkdirSync(runtimeDir, { recursive: true, mode: 0o700 });
    const files = names.map((name, index) => {
      const file = `${directory}/${name}.yaml`;
      writeFileSync(file, stringify(this.#module(name, index)));
      return file;
    });
    const identity = await issueCertificate(this.authority, 'node', node);
    const address = (each: NodeName) => ({ host: hosts[each], port: this.ports[each] });
    writeFileSync(
      nodeFile,
      stringify({
        version: 1,
        node,
        runtimeDir,
        tls: await writeIdentity(directory, node, identity, this.authority.certificatePem),
        modules: files,
        stateDir: `${directory}/state`,
        agent: { listen: [address(node)], peer: address(otherOf(node)) },
      }),
    );
  }

  #module(name: string, index: number): object {
    const port = 20_000 + index;
    return {
      version: 1,
      cluster: '0'.repeat(32),
      module: { id: String(index).padStart(32, '0'), name },
      nodes: { A: { link: { host: hosts.A, port } }, B: { link: { host: hosts.B, port } } },
      arbiter: { kind: 'none' },
      volumes: [{ name: 'disk0', size: '1GiB', file: `/nowhere/${name}.img` }],
      metadata: `/nowhere/${name}.meta`,
    };
  }

  /** Over TLS. */
  place(node: NodeName, token?: string): AgentPlace {
    const { certificatePem } = this.authority;
    return { host: hosts[node], port: this.ports[node], authorityPem: certificatePem, token };
  }

  async close(): Promise<void> {
    await Promise.all([this.nodes.A.close(), this.nodes.B.close()]);
    this.temp.remove();
  }
}

export interface RawAnswer {
  readonly status: number;
  readonly text: string;
}

/** Any bytes over TLS, with any certificate: what no client of ours would send. */
export function sendRaw(
  place: AgentPlace,
  options: {
    readonly method?: string;
    readonly path: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string | Buffer;
    readonly cert?: string;
    readonly key?: string;
  },
): Promise<RawAnswer> {
  if ('socket' in place) throw new Error('over TLS only');
  const { method = 'GET', path, headers = {}, body, ...identity } = options;
  return new Promise((resolve, reject) => {
    const { host, port } = place;
    const sent = request(
      { host, port, method, path, headers, ...identity, rejectUnauthorized: false, agent: false },
      (message) => {
        let text = '';
        message.on('data', (chunk) => (text += String(chunk)));
        message.on('end', () => resolve({ status: message.statusCode ?? 0, text }));
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}
