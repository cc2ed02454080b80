/**
 * A whole pair on one machine: two nodes with a supervisor and a module each, and a witness; real processes, real sockets
 * on loopback addresses, real files in one directory. For trying out, tests and benches, in-process or through the CLI.
 *
 * Power-off kills every process of a node at once and gives the node a new boot id. What it does not do: the page cache
 * of the machine survives, so nothing here proves durability; and the kernel closes the connections of killed processes,
 * so a power-off is seen sooner than a real one unless the link was cut first.
 */
import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { resolve } from 'node:path';
import { WorldError } from '../base/errors.ts';
import type { ModuleStatus } from '../base/status.ts';
import type { VmConfig } from '../config/module-config.ts';
import { defaultAgentPort } from '../config/node-config.ts';
import { callOnce } from '../platform/control-client.ts';
import { answersOn } from '../platform/control-socket.ts';
import { networkCutMarker } from '../platform/cut-marker.ts';
import { findFreePort } from '../platform/free-port.ts';
import { findMarkedProcesses, killMarkedProcesses } from '../platform/marked-processes.ts';
import {
  isAlive,
  killVerified,
  parseProcessIdentity,
  type ProcessIdentity,
  readProcessIdentity,
} from '../platform/process-identity.ts';
import { programPath } from '../platform/program-path.ts';
import { systemClock } from '../platform/system-clock.ts';
import { waitUntil } from '../platform/wait-until.ts';
import type { SupervisedStatus } from '../supervisor/supervised-module.ts';
import { type IdentityIssuer, randomHexId, writeLabFiles } from './lab-files.ts';
import {
  labFile,
  labHost,
  type LabMachine,
  labMachines,
  type LabNode,
  labNodes,
  type LabPrograms,
  type LabRecord,
  type LabSeparation,
  nodeLayout,
  type NodeLayout,
  readLabRecord,
  witnessLayout,
  writeLabRecord,
} from './lab-layout.ts';

/** How long a started process may take to answer, ms. */
const startDeadlineMs = 60_000;
/** How long `prim` and `start` may take, ms. */
const commandDeadlineMs = 30_000;
const statusDeadlineMs = 2000;
/** How long a fresh pair may take to be in sync, ms. */
export const inSyncDeadlineMs = 60_000;
/** Where machines with a network namespace of their own listen. */
const separatePort = 7070;
/** Environment variable that marks every process of a machine of a lab. */
const markName = 'VMPAIR_LAB';

export interface LabOptions {
  readonly directory: string;
  readonly sizeBytes: number;
  readonly issuer: (clusterId: string) => Promise<IdentityIssuer>;
  readonly timerProfile?: 'default' | 'fast';
  /** Between the nodes; default 1. */
  readonly networks?: number | undefined;
  /** Of the link; default on. */
  readonly encryption?: 'on' | 'off' | undefined;
  readonly vm?: VmConfig;
  /** Each machine in a network namespace of its own, which must exist when the machine is started; needs root. */
  readonly separation?: LabSeparation;
  /** Whether an agent runs on each node; default no. */
  readonly agents?: boolean | undefined;
  /** Other programs than the shipped ones. */
  readonly programs?: Partial<LabPrograms>;
}

/** What a user of the lab needs to know of a node. */
export interface LabNodeFacts {
  readonly nbd: string;
  readonly file: string;
  readonly meta: string;
  readonly pids: readonly number[];
  readonly control: string;
  readonly supervisor: string;
  readonly log: string;
  /** Address of the agent's API; absent: there is no agent. */
  readonly agent?: string;
}

export interface LabFacts {
  readonly directory: string;
  readonly nodes: Readonly<Record<LabNode, LabNodeFacts>>;
  readonly witness: { readonly host: string; readonly port: number; readonly pids: readonly number[] };
}

export interface LabNodeStatus {
  readonly powered: boolean;
  /** The link as a whole. */
  readonly cut: boolean;
  /** Networks that are cut alone, counted from 1. */
  readonly networksCut: readonly number[];
  /** `undefined`: the module does not answer. */
  readonly module: ModuleStatus | undefined;
}

export interface LabStatus {
  readonly nodes: Readonly<Record<LabNode, LabNodeStatus>>;
  readonly witness: { readonly powered: boolean };
}

export class LabCluster {
  readonly directory: string;
  readonly nodes: Readonly<Record<LabNode, NodeLayout>>;

  /** Makes the files of a new lab in an empty or missing directory; starts nothing. Throws `lab-unusable`. */
  static async create(options: LabOptions): Promise<LabCluster> {
    const directory = resolve(options.directory);
    const self = new LabCluster(directory);
    refuseUsedDirectory(directory);
    const programs = {
      supervisor: options.programs?.supervisor ?? programPath('src/supervisor/main'),
      witness: options.programs?.witness ?? programPath('src/witness/main'),
      module: options.programs?.module ?? programPath('modules/mirror/main'),
      agent: options.programs?.agent ?? programPath('src/agent/main'),
    };
    const networks = Array.from({ length: options.networks ?? 1 }, (_none, index) => index);
    const freePort = async (machine: LabMachine, index = 0): Promise<number> =>
      options.separation === undefined ? findFreePort(labHost(machine, index)) : separatePort;
    const portsOf = (node: LabNode): Promise<number[]> =>
      Promise.all(networks.map((index) => freePort(node, index)));
    const [portsA, portsB, portWitness] = await Promise.all([
      portsOf('A'),
      portsOf('B'),
      freePort('witness'),
    ]);
    const record: LabRecord = {
      version: 1,
      clusterId: randomHexId(),
      moduleId: randomHexId(),
      sizeBytes: options.sizeBytes,
      ports: { A: portsA, B: portsB, witness: portWitness },
      ...(options.agents === true ? { agents: await agentPorts(options.separation) } : {}),
      programs,
      ...(options.separation === undefined ? {} : { separation: options.separation }),
      processes: {},
    };
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    await writeLabFiles({
      directory,
      record,
      issuer: await options.issuer(record.clusterId),
      timerProfile: options.timerProfile ?? 'default',
      encryption: options.encryption,
      vm: options.vm ?? { kind: 'none' },
    });
    writeLabRecord(directory, record);
    return self;
  }

  /** A lab that another invocation made. Throws `lab-unusable`. */
  static open(directory: string): LabCluster {
    const self = new LabCluster(resolve(directory));
    readLabRecord(self.directory);
    return self;
  }

  private constructor(directory: string) {
    this.directory = directory;
    this.nodes = { A: nodeLayout(directory, 'A'), B: nodeLayout(directory, 'B') };
  }

  /** Starts everything, makes A primary and waits until the pair is in sync. */
  async start(): Promise<void> {
    await this.startMachine('witness');
    await Promise.all(labNodes.map((node) => this.startMachine(node)));
    // Without an arbiter somebody has to say that nothing runs on the other one.
    await this.call('A', 'prim', { peerIsOff: 'B' }, commandDeadlineMs);
    await this.call('B', 'start', {}, commandDeadlineMs);
    await this.waitInSync(inSyncDeadlineMs);
  }

  /** Powers a machine on and waits until its programs answer. */
  async startMachine(machine: LabMachine): Promise<void> {
    const record = readLabRecord(this.directory);
    const running = record.processes[machine];
    if (running !== undefined && isAlive(running)) {
      throw this.#unusable(`${machine} to be off`, `process ${running.pid}, which runs`, 'Kill it first.');
    }
    const { supervisor, witness, module } = record.programs;
    const { log: witnessLog, configFile } = witnessLayout(this.directory);
    if (machine === 'witness') {
      rmSync(witnessLog, { force: true });
      const process = this.#spawn(machine, [witness, '--config', configFile], witnessLog);
      return this.#waitForWitness(process, witnessLog);
    }
    const { nodeFile, supervisorLog } = this.nodes[machine];
    const args = [supervisor, '--node', nodeFile, '--module-program', module];
    const process = this.#spawn(machine, args, supervisorLog);
    await this.#waitForNode(machine, process);
    if (record.agents !== undefined) await this.startAgent(machine);
  }

  /** Starts the agent of a node whose agent does not run, and waits until it answers. */
  async startAgent(node: LabNode): Promise<void> {
    const { agentLog, agentSocket, nodeFile } = this.nodes[node];
    const { programs } = readLabRecord(this.directory);
    const agent = this.#spawnOn(node, [programs.agent, '--node', nodeFile], agentLog);
    const ready = await waitUntil(systemClock, startDeadlineMs, async () => {
      if (!isAlive(agent)) return false;
      return (await answersOn(agentSocket)) || undefined;
    });
    if (ready === true) return;
    throw this.#unusable(`the agent of node ${node} to answer`, lastLines(agentLog), `Read ${agentLog}.`);
  }

  /** Power-off: every process of the machine at once; a node has another boot id afterwards. */
  async powerOff(machine: LabMachine): Promise<void> {
    const first = readLabRecord(this.directory).processes[machine];
    const gone = await killMarkedProcesses(
      this.#mark(machine),
      first === undefined ? [] : [first],
      systemClock,
    );
    this.#recordProcess(machine, undefined);
    if (machine !== 'witness') writeFileSync(this.nodes[machine].bootIdFile, `${randomHexId()}\n`);
    if (!gone)
      throw this.#unusable(
        `all processes of ${machine} to end`,
        'some that did not',
        'Look at them with ps.',
      );
  }

  /** SIGKILL for the module process alone; its supervisor restarts it. Returns its pid. */
  killModule(node: LabNode): number {
    const { processRecord } = this.nodes[node].paths;
    let identity: ProcessIdentity | undefined;
    try {
      identity = parseProcessIdentity(JSON.parse(readFileSync(processRecord, 'utf8')));
    } catch {
      identity = undefined;
    }
    if (identity !== undefined && killVerified(identity, 'SIGKILL')) return identity.pid;
    throw this.#unusable(
      `a running module on node ${node}`,
      'none',
      `Start the node, or read ${processRecord}.`,
    );
  }

  /**
   * Cuts the link, or one of its networks (counted from 1), at one node or at both: from then on nothing passes, and nobody is
   * told. Throws `lab-unusable` when there is no such network.
   */
  cut(from: readonly LabNode[] = labNodes, network?: number): void {
    for (const node of from) writeFileSync(this.#cutMarker(node, network), '');
  }

  /** Without `network`: everything that was cut. */
  heal(from: readonly LabNode[] = labNodes, network?: number): void {
    const markers = (node: LabNode): readonly string[] =>
      network === undefined
        ? [this.nodes[node].cutMarkerFile, ...this.#networks.map((each) => this.#cutMarker(node, each))]
        : [this.#cutMarker(node, network)];
    for (const marker of from.flatMap(markers)) rmSync(marker, { force: true });
  }

  get #networks(): readonly number[] {
    return readLabRecord(this.directory).ports.A.map((_port, index) => index + 1);
  }

  #cutMarker(node: LabNode, network: number | undefined): string {
    const file = this.nodes[node].cutMarkerFile;
    if (network === undefined) return file;
    const { length } = this.#networks;
    if (network > length)
      throw this.#unusable(`network ${network}`, `${length} between the nodes`, 'Name one of them.');
    return networkCutMarker(file, network);
  }

  /** Asks the module of a node. */
  call(
    node: LabNode,
    verbName: string,
    args: object = {},
    deadlineMs: number = statusDeadlineMs,
  ): Promise<unknown> {
    return callOnce(this.nodes[node].paths.control, verbName, args, deadlineMs);
  }

  async moduleStatus(node: LabNode): Promise<ModuleStatus | undefined> {
    try {
      return (await this.call(node, 'status')) as ModuleStatus;
    } catch {
      return undefined;
    }
  }

  async status(): Promise<LabStatus> {
    const { processes } = readLabRecord(this.directory);
    const powered = (machine: LabMachine) => {
      const identity = processes[machine];
      return identity !== undefined && isAlive(identity);
    };
    const nodeStatus = async (node: LabNode): Promise<LabNodeStatus> => ({
      powered: powered(node),
      cut: existsSync(this.nodes[node].cutMarkerFile),
      networksCut: this.#networks.filter((network) => existsSync(this.#cutMarker(node, network))),
      module: await this.moduleStatus(node),
    });
    const [A, B] = await Promise.all([nodeStatus('A'), nodeStatus('B')]);
    return { nodes: { A, B }, witness: { powered: powered('witness') } };
  }

  /** Resolves when both modules say that the pair is in sync and ready; throws `lab-unusable` after the deadline. */
  async waitInSync(deadlineMs: number): Promise<void> {
    let last: (ModuleStatus | undefined)[] = [];
    const reached = await waitUntil(systemClock, deadlineMs, async () => {
      last = await Promise.all(labNodes.map((node) => this.moduleStatus(node)));
      return (
        last.every((status) => status?.axes.link === 'in-sync' && status.readiness === 'ready') || undefined
      );
    });
    if (reached === true) return;
    const found = last.map((status, index) => {
      const said =
        status === undefined ? 'no answer' : `${status.state} ${status.readiness}, ${status.because}`;
      return `${labNodes[index]}: ${said}`;
    });
    throw this.#unusable(
      `the pair in sync within ${deadlineMs} ms`,
      found.join('; '),
      'Read the logs in the lab.',
    );
  }

  describe(): LabFacts {
    const { ports, separation, agents } = readLabRecord(this.directory);
    const facts = (node: LabNode): LabNodeFacts => {
      const layout = this.nodes[node];
      return {
        nbd: layout.nbdUri,
        file: layout.diskFile,
        meta: layout.metadataFile,
        pids: this.pids(node),
        control: layout.paths.control,
        supervisor: layout.supervisorSocket,
        log: layout.paths.log,
        ...(agents === undefined
          ? {}
          : { agent: `https://${labHost(node, 0, separation?.addresses)}:${agents[node]}` }),
      };
    };
    const host = labHost('witness', 0, separation?.addresses);
    return {
      directory: this.directory,
      nodes: { A: facts('A'), B: facts('B') },
      witness: { host, port: ports.witness, pids: this.pids('witness') },
    };
  }

  /** Processes of a machine that run now. */
  pids(machine: LabMachine): number[] {
    return findMarkedProcesses(this.#mark(machine)).map(({ pid }) => pid);
  }

  /** Ends every process of the lab and forgets that there was one; its other files stay for reading. */
  async stop(): Promise<void> {
    const off = await Promise.allSettled(labMachines.map((machine) => this.powerOff(machine)));
    const failed = off.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    rmSync(labFile(this.directory), { force: true });
  }

  #mark(machine: LabMachine): string {
    return `${markName}=${this.directory}/${machine}`;
  }

  /** Starts the first process of a machine. */
  #spawn(machine: LabMachine, args: readonly string[], logFile: string): ProcessIdentity {
    const identity = this.#spawnOn(machine, args, logFile);
    this.#recordProcess(machine, identity);
    return identity;
  }

  #spawnOn(machine: LabMachine, args: readonly string[], logFile: string): ProcessIdentity {
    const log = openSync(logFile, 'a', 0o600);
    const { separation } = readLabRecord(this.directory);
    const enter =
      separation === undefined ? [] : ['nsenter', `--net=/run/netns/${separation.namespaces[machine]}`];
    const [program = process.execPath, ...rest] = [...enter, process.execPath, ...args];
    const child = spawn(program, rest, {
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, [markName]: `${this.directory}/${machine}` },
    });
    closeSync(log);
    child.on('error', () => {});
    child.unref();
    const identity = child.pid === undefined ? undefined : readProcessIdentity(child.pid);
    if (identity === undefined) {
      throw this.#unusable(`to start ${args[0]}`, 'a process that ended at once', `Read ${logFile}.`);
    }
    return identity;
  }

  #recordProcess(machine: LabMachine, identity: ProcessIdentity | undefined): void {
    const record = readLabRecord(this.directory);
    writeLabRecord(this.directory, { ...record, processes: { ...record.processes, [machine]: identity } });
  }

  async #waitForWitness(identity: ProcessIdentity, log: string): Promise<void> {
    const ready = await waitUntil(systemClock, startDeadlineMs, () => {
      if (readFileSync(log, 'utf8').includes('"listening"')) return true;
      return isAlive(identity) ? undefined : false;
    });
    if (ready !== true) throw this.#unusable('the witness to listen', lastLines(log), `Read ${log}.`);
  }

  async #waitForNode(node: LabNode, supervisor: ProcessIdentity): Promise<void> {
    const layout = this.nodes[node];
    let because = 'no answer of the supervisor';
    const ready = await waitUntil(systemClock, startDeadlineMs, async () => {
      if (!isAlive(supervisor)) {
        because = lastLines(layout.supervisorLog);
        return false;
      }
      // Not by name: a module whose configuration cannot be read has none.
      const list = await callOnce(layout.supervisorSocket, 'list').catch(() => []);
      const [status] = list as readonly SupervisedStatus[];
      if (status === undefined) return undefined;
      because = `${status.state}: ${status.because}`;
      return status.state === 'running' ? true : status.state === 'failed' ? false : undefined;
    });
    if (ready === true) return;
    throw this.#unusable(`the module of node ${node} to answer`, because, `Read ${layout.paths.log}.`);
  }

  #unusable(wanted: string, found: string, next: string): WorldError {
    return new WorldError('lab-unusable', { wanted, found: `${found} (lab ${this.directory})`, next });
  }
}

/** A free port on the address of each node. */
async function agentPorts(separation: LabSeparation | undefined): Promise<Record<LabNode, number>> {
  if (separation !== undefined) return { A: defaultAgentPort, B: defaultAgentPort };
  const [A, B] = await Promise.all(labNodes.map((node) => findFreePort(labHost(node))));
  return { A: A ?? defaultAgentPort, B: B ?? defaultAgentPort };
}

function refuseUsedDirectory(directory: string): void {
  if (!existsSync(directory)) return;
  const isDirectory = statSync(directory).isDirectory();
  if (isDirectory && readdirSync(directory).length === 0) return;
  const other = isDirectory ? 'a directory with files in it' : 'something that is no directory';
  throw new WorldError('lab-unusable', {
    wanted: `an empty or missing directory ${directory}`,
    found: existsSync(labFile(directory)) ? 'a lab that was not stopped' : other,
    next: existsSync(labFile(directory))
      ? `Stop it with "vmpair lab stop --dir ${directory}" and remove the directory.`
      : 'Choose another directory.',
  });
}

/** The end of a log, for a message. */
function lastLines(file: string): string {
  const bytesMax = 600;
  return existsSync(file) ? readFileSync(file, 'utf8').trim().slice(-bytesMax) : 'no log';
}
