/** A lab of real processes for a test file, with guests that write into it, and the questions that tests ask of a pair. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, fsyncSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { journalBytesMax } from '../../hypervisors/simulated/journal.ts';
import type { ModuleState, ModuleStatus, Readiness, ResyncProgress } from '../../src/base/status.ts';
import type { VmConfig } from '../../src/config/module-config.ts';
import { createLabIssuer } from '../../src/lab/lab-identities.ts';
import { type LabNode, labNodes, type LabSeparation, labVolume } from '../../src/lab/lab-layout.ts';
import { LabCluster } from '../../src/lab/pair.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';
import { packageRoot } from '../../src/platform/program-path.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';
import { type ReadCopy, WriteJournal } from './write-journal.ts';

const loadProgram = fileURLToPath(new URL('load-main.ts', import.meta.url));
/** How long a pair may take to be in sync again, ms. */
const againInSyncDeadlineMs = 40_000;
/** How long a change of state that follows from an event may take, ms: the longest timers and the machine's load. */
const stateDeadlineMs = 25_000;
/** How long the process of a guest may take until it has written a little, ms: it compiles its sources first. */
const loadStartDeadlineMs = 60_000;
const toolDeadlineMs = 60_000;

/** Compiles the programs of the lab, unless that was done. */
export function buildPrograms(): void {
  if (existsSync(join(packageRoot, 'dist/src/cli/main.js'))) return;
  const { status } = spawnSync('npm', ['run', '--silent', 'build'], { cwd: packageRoot, stdio: 'inherit' });
  expect(status, 'npm run build').to.equal(0);
}

/** A figure of a test, on the console. */
export function report(what: string): void {
  console.log(`        ${what}`);
}

/** Runs a tool that must succeed; resolves to its standard output. */
export async function runTool(command: string, ...args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: toolDeadlineMs });
  let output = '';
  let errors = '';
  child.stdout.on('data', (text) => (output += String(text)));
  child.stderr.on('data', (text) => (errors += String(text)));
  const [code] = (await once(child, 'close')) as [number | null];
  expect(code, `${command} ${args.join(' ')}: ${output}${errors}`).to.equal(0);
  return output;
}

export interface LoadHabits {
  /** It writes from here on. */
  readonly firstBytes: number;
  /** What each of its writers waits between two writes. */
  readonly thinkMs: number;
}

/** A guest in a process of its own. */
export class Load {
  readonly journal: WriteJournal;
  readonly #child: ChildProcess;
  #errors = '';

  constructor(journal: WriteJournal, socketPath: string, sizeBytes: number, habits: LoadHabits) {
    this.journal = journal;
    const args = ['--socket', socketPath, '--export', labVolume];
    args.push('--size', String(sizeBytes), '--journal', journal.file);
    args.push('--first', String(habits.firstBytes), '--think-ms', String(habits.thinkMs));
    this.#child = spawn(process.execPath, ['--import', 'tsx', loadProgram, ...args], {
      cwd: packageRoot,
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    this.#child.stdin?.on('error', () => {});
    this.#child.stderr?.on('data', (text) => (this.#errors += String(text)));
  }

  /** Resolves when `count` more writes were acknowledged. */
  async progress(count: number, deadlineMs = stateDeadlineMs): Promise<void> {
    const wanted = this.journal.update().acknowledgedMs.length + count;
    await until(
      `${count} writes of the guest`,
      () => {
        expect(this.#child.exitCode, this.#errors).to.equal(null);
        return this.journal.update().acknowledgedMs.length >= wanted;
      },
      deadlineMs,
    );
  }

  /** Resolves when the guest has completed all its writes and a flush, and ended. */
  async end(): Promise<void> {
    const ended = this.#ended();
    this.#child.stdin?.write('end\n');
    await until('the guest to end', () => this.#child.exitCode !== null, stateDeadlineMs).catch(() => {});
    if (this.#child.exitCode === null) this.#child.kill('SIGKILL');
    await ended;
    this.journal.update();
    expect(this.#child.exitCode, `the guest ends in good order ${this.#errors}`).to.equal(0);
  }

  /** The guest dies. Idempotent. */
  async kill(): Promise<void> {
    const ended = this.#ended();
    this.#child.kill('SIGKILL');
    await ended;
    this.journal.update();
  }

  async #ended(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'close');
  }
}

export interface RealPairOptions {
  readonly timerProfile?: 'default' | 'fast';
  readonly sizeBytes?: number;
  /** Between the nodes; default 1. */
  readonly networks?: number;
  /** Whether an agent runs on each node; default no. */
  readonly agents?: boolean;
  /** A VM beside the loads, which then keep off its journal at the beginning of the volume. */
  readonly vm?: VmConfig;
  /** Of the loads, between two writes of each writer; default 0. */
  readonly thinkMs?: number;
  readonly separation?: LabSeparation;
  /** Of all files; default on disk. */
  readonly place?: 'on-disk' | 'in-memory';
  /** Changes the files of the lab before anything runs. */
  readonly prepare?: (lab: LabCluster) => void | Promise<void>;
  /** Starts the pair; by default A is made primary, and the pair is in sync afterwards. */
  readonly start?: (lab: LabCluster) => Promise<void>;
}

export class RealPair {
  readonly lab: LabCluster;
  readonly temp: TempDirectory;
  readonly sizeBytes: number;
  /** What all guests of this pair know. */
  readonly journal: WriteJournal;
  readonly #habits: LoadHabits;
  readonly #loads: Load[] = [];

  static async start(options: RealPairOptions = {}): Promise<RealPair> {
    buildPrograms();
    const temp = makeTempDirectory(options.place);
    const sizeBytes = options.sizeBytes ?? 2 * 1024 ** 3;
    const lab = await LabCluster.create({
      directory: temp.file('lab'),
      sizeBytes,
      issuer: createLabIssuer,
      timerProfile: options.timerProfile ?? 'default',
      networks: options.networks,
      agents: options.agents,
      ...(options.vm === undefined ? {} : { vm: options.vm }),
      ...(options.separation === undefined ? {} : { separation: options.separation }),
    });
    const self = new RealPair(lab, temp, sizeBytes, {
      firstBytes: options.vm === undefined ? 0 : journalBytesMax,
      thinkMs: options.thinkMs ?? 0,
    });
    try {
      await options.prepare?.(lab);
      await (options.start ?? ((each: LabCluster) => each.start()))(lab);
    } catch (error) {
      await self.end();
      throw error;
    }
    return self;
  }

  private constructor(lab: LabCluster, temp: TempDirectory, sizeBytes: number, habits: LoadHabits) {
    this.lab = lab;
    this.temp = temp;
    this.sizeBytes = sizeBytes;
    this.#habits = habits;
    this.journal = new WriteJournal(temp.file('journal'));
  }

  async end(): Promise<void> {
    await this.endLoads();
    this.lab.heal();
    try {
      await this.lab.stop();
    } finally {
      this.temp.remove();
    }
  }

  /** Kills guests that a failed test left behind. */
  async endLoads(): Promise<void> {
    await Promise.all(this.#loads.splice(0).map((load) => load.kill()));
  }

  /** Whatever the test before left: everything runs, nothing is cut or frozen, no guest writes, the pair is in sync. */
  async recover(): Promise<void> {
    await this.endLoads();
    this.lab.heal();
    const { nodes, witness } = await this.lab.status();
    if (!witness.powered) await this.lab.startMachine('witness');
    for (const node of labNodes) {
      for (const pid of this.lab.pids(node)) process.kill(pid, 'SIGCONT');
      if (!nodes[node].powered) await this.lab.startMachine(node);
      if (nodes[node].module?.state === 'STOP') await this.lab.call(node, 'start', {}, againInSyncDeadlineMs);
    }
    await this.inSync();
  }

  socketPath(node: LabNode): string {
    return this.lab.nodes[node].paths.nbd(labVolume);
  }

  /** A guest that writes at a node and has written a little; it goes on where the one before it ended. */
  async load(node: LabNode): Promise<Load> {
    const load = new Load(this.journal, this.socketPath(node), this.sizeBytes, this.#habits);
    this.#loads.push(load);
    await load.progress(200, loadStartDeadlineMs);
    return load;
  }

  async status(node: LabNode): Promise<ModuleStatus> {
    const status = await this.lab.moduleStatus(node);
    expect(status, `the module of ${node} answers`).to.not.equal(undefined);
    return status as ModuleStatus;
  }

  async primary(): Promise<LabNode> {
    const found = await until('a primary', async () => {
      for (const node of labNodes) {
        if ((await this.lab.moduleStatus(node))?.axes.role === 'primary') return node;
      }
      return undefined;
    });
    return found;
  }

  waitFor(
    node: LabNode,
    state: ModuleState,
    readiness: Readiness,
    deadlineMs = stateDeadlineMs,
  ): Promise<ModuleStatus> {
    let seen = 'no answer';
    return until(
      `${node} is ${state} ${readiness}`,
      async () => {
        const status = await this.lab.moduleStatus(node);
        if (status === undefined) return undefined;
        seen = `${status.state} ${status.readiness}: ${status.because}`;
        if (status.state === state && status.readiness === readiness) return status;
        throw new Error(seen);
      },
      deadlineMs,
    );
  }

  async inSync(): Promise<void> {
    await this.lab.waitInSync(againInSyncDeadlineMs);
  }

  /** The copy of a node as its file holds it. */
  async lostInFile(node: LabNode): Promise<string[]> {
    const fd = openSync(this.lab.nodes[node].diskFile, 'r');
    const read: ReadCopy = (offsetBytes, lengthBytes) => {
      const bytes = new Uint8Array(lengthBytes);
      expect(readSync(fd, bytes, 0, lengthBytes, offsetBytes)).to.equal(lengthBytes);
      return bytes;
    };
    try {
      return await this.journal.update().findLost(read);
    } finally {
      closeSync(fd);
    }
  }

  /** The copy of a node as it serves it. */
  async lostInExport(node: LabNode): Promise<string[]> {
    const client = await connectNbd({ path: this.socketPath(node) }, labVolume, { clock: systemClock });
    try {
      return await this.journal
        .update()
        .findLost((offsetBytes, lengthBytes) => client.read(offsetBytes, lengthBytes));
    } finally {
      await client.disconnect();
    }
  }

  /** Every acknowledged write of a guest that has ended is in both files, and the files are equal byte for byte. */
  async expectBothHold(): Promise<void> {
    for (const node of labNodes) {
      expect((await this.lostInFile(node)).slice(0, 5), `lost on ${node}`).to.deep.equal([]);
    }
    await this.expectEqualFiles();
  }

  /** Nothing may be writing. */
  async expectEqualFiles(): Promise<void> {
    // The modules hold locks on the files that qemu-img honours, unless it is told not to.
    const images = labNodes.map(
      (node) => `driver=raw,file.driver=file,file.locking=off,file.filename=${this.lab.nodes[node].diskFile}`,
    );
    await runTool('qemu-img', 'compare', '--image-opts', ...images);
  }

  /** Allocated bytes of the disk file of a node. */
  allocatedBytes(node: LabNode): number {
    const file = this.lab.nodes[node].diskFile;
    const fd = openSync(file, 'r+');
    fsyncSync(fd);
    closeSync(fd);
    return statSync(file).blocks * 512;
  }

  /** The last resync of a source examined and sent little of the volume. */
  async expectSmallResync(source: LabNode): Promise<ResyncProgress> {
    const { lastResync } = await this.status(source);
    expect(lastResync?.direction, 'resync as source').to.equal('source');
    const resync = lastResync as ResyncProgress;
    report(
      `resync (${resync.rule}): ${mebibytes(resync.examinedBytes)} examined, ${mebibytes(resync.sentBytes)} sent ` +
        `of ${mebibytes(this.sizeBytes)}`,
    );
    expect(resync.totalBytes, 'bytes to examine').to.be.at.most(this.sizeBytes / 8);
    expect(resync.sentBytes, 'bytes sent').to.be.at.most(this.sizeBytes / 16);
    return resync;
  }
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}
