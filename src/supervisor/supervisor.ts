/**
 * The supervisor of one node: keeps the configured modules running and answers on its control socket. It is the smallest
 * program here because everything else may die and be helped by it. It never looks into a module's data or state.
 *
 * Invariants: one supervisor per run-time directory (file lock, dropped by the kernel with the process). A configuration
 * that cannot be used keeps only its own module from running. Its own end leaves the modules running.
 */
import { mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import type { Clock } from '../base/clock.ts';
import { WorldError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type ModuleConfig, readModuleConfig } from '../config/module-config.ts';
import { moduleFilesOf, type NodeConfig, readNodeConfig } from '../config/node-config.ts';
import { ControlServer, noArgs, type VerbTable, verb } from '../platform/control-socket.ts';
import { type ExclusiveLock, takeExclusiveLock } from '../platform/exclusive-lock.ts';
import type { GuestPauser } from './guest-pauser.ts';
import { exitDeadlineMs } from './module-watch.ts';
import { reloadModules, type ReloadReport, type UnusableModule } from './reload.ts';
import { SupervisedModule, type SupervisedStatus } from './supervised-module.ts';

/** How long `stop` waits for the end of a module process, ms: it is asked, then killed. */
export const stopDeadlineMs = exitDeadlineMs + 2000;

export interface SupervisorOptions {
  readonly config: NodeConfig;
  /** Path of the `node.yaml`, handed on to the modules. */
  readonly nodeFile: string;
  /** Program of the module process. */
  readonly moduleProgram: string;
  readonly pauser: GuestPauser;
  readonly clock: Clock;
  readonly log: Log;
}

const moduleArgs = z.strictObject({ module: z.string().max(64) });
const optionalModuleArgs = z.strictObject({ module: z.string().max(64).optional() });
const shutdownArgs = z.strictObject({ stopModules: z.boolean().default(false) });

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #lock: ExclusiveLock;
  readonly #modules = new Map<string, SupervisedModule>();
  readonly #unusable = new Map<string, UnusableModule>();
  #control: ControlServer | undefined;
  #closing = false;
  /** One at a time. */
  #reloading: Promise<unknown> = Promise.resolve();
  #finish: () => void = () => {};
  /** Resolves when the supervisor was shut down. */
  readonly finished: Promise<void>;

  /** Takes the run-time directory, adopts or starts every module and answers. Throws `already-running`. */
  static async start(options: SupervisorOptions): Promise<Supervisor> {
    const { runtimeDir, supervisor } = options.config;
    mkdirSync(runtimeDir, { recursive: true, mode: 0o700 });
    const lock = takeExclusiveLock(join(runtimeDir, 'supervisor.lock'), `supervisor of ${runtimeDir}`);
    const self = new Supervisor(options, lock);
    try {
      const log = options.log;
      self.#control = await ControlServer.listen({
        path: supervisor.controlSocket,
        verbs: self.#verbs(),
        log,
      });
    } catch (error) {
      lock.release();
      throw error;
    }
    await Promise.all(moduleFilesOf(options.config).map((file) => self.#take(file)));
    return self;
  }

  private constructor(options: SupervisorOptions, lock: ExclusiveLock) {
    this.#options = options;
    this.#lock = lock;
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  list(): SupervisedStatus[] {
    const running = [...this.#modules.values()].map((module) => module.status());
    const unusable = [...this.#unusable.values()].map(
      ({ name, file, problem }): SupervisedStatus => ({
        module: name,
        file,
        state: 'failed',
        because: problem.message,
        pid: undefined,
        restarts: 0,
        control: undefined,
      }),
    );
    return [...running, ...unusable];
  }

  /** Ends supervision; the modules run on, unless they are to be stopped too. Idempotent. */
  async shutdown(stopModules: boolean): Promise<void> {
    if (this.#closing) return this.finished;
    if (stopModules) {
      await Promise.all([...this.#modules.values()].map((module) => module.stop(stopDeadlineMs)));
    }
    this.#closing = true;
    this.#options.log.info('supervisor-ends', { stopModules });
    for (const module of this.#modules.values()) module.close();
    await this.#control?.close();
    this.#lock.release();
    this.#finish();
  }

  /** Reads one module's configuration and keeps its process running from then on. */
  async #take(file: string): Promise<void> {
    const { config: node, nodeFile, moduleProgram, pauser, clock, log } = this.#options;
    this.#unusable.delete(file);
    let module: SupervisedModule;
    try {
      const config = this.#read(file);
      if (this.#modules.has(config.name)) throw nameTwice(file, config.name);
      module = new SupervisedModule({
        config,
        file,
        read: (each) => this.#read(each),
        nodeFile,
        runtimeDir: node.runtimeDir,
        moduleProgram,
        pauser,
        clock,
        log,
        decided: (name, decision) => this.#control?.publish({ kind: 'decided', module: name, ...decision }),
      });
      this.#modules.set(module.name, module);
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      const name = basename(file).replace(/\.ya?ml$/, '');
      log.error('module-config-unusable', { file, because: error.message });
      this.#unusable.set(file, { file, name, problem: error });
      return;
    }
    await module.begin();
  }

  /** Throws `config-invalid` or `file-missing`. What the hypervisor's adapter wants of `vm` is not known here. */
  #read(file: string): ModuleConfig {
    const { node } = this.#options.config;
    const config = readModuleConfig(file);
    if (!config.nodes.includes(node)) throw foreignNode(file, config.nodes, node);
    return config;
  }

  /** Takes up what the node configuration says now. Throws `config-invalid` or `file-missing` for that file; then nothing is changed. */
  #reload(): Promise<ReloadReport> {
    const { config, nodeFile, log } = this.#options;
    return reloadModules(config, readNodeConfig(nodeFile), {
      modules: this.#modules,
      unusable: this.#unusable,
      read: (file) => this.#read(file),
      take: (file) => this.#take(file),
      stopDeadlineMs,
      log,
    });
  }

  #verbs(): VerbTable {
    return {
      ping: verb(noArgs, () => ({ pid: process.pid })),
      list: verb(noArgs, () => this.list()),
      status: verb(optionalModuleArgs, ({ module }) => this.#status(module)),
      start: verb(moduleArgs, ({ module }) => this.#start(module)),
      restart: verb(moduleArgs, ({ module }) => {
        const found = this.#find(module);
        // With a file that cannot be used the next process would not start: the one that runs goes on.
        this.#read(found.status().file);
        found.restart();
        return this.#status(module);
      }),
      reload: verb(noArgs, () => {
        const done = this.#reloading.then(() => this.#reload());
        this.#reloading = done.catch(() => undefined);
        return done;
      }),
      stop: verb(moduleArgs, async ({ module }) => {
        await this.#find(module).stop(stopDeadlineMs);
        return this.#status(module);
      }),
      shutdown: verb(shutdownArgs, async ({ stopModules }) => {
        if (stopModules) {
          await Promise.all([...this.#modules.values()].map((module) => module.stop(stopDeadlineMs)));
        }
        // The answer leaves before the socket closes.
        setImmediate(() => void this.shutdown(false));
        return { pid: process.pid };
      }),
    };
  }

  #status(name: string | undefined): unknown {
    const { node, runtimeDir } = this.#options.config;
    if (name === undefined) return { node, runtimeDir, pid: process.pid, modules: this.list() };
    const found = this.list().find((status) => status.module === name);
    if (found === undefined) throw this.#unknown(name);
    return found;
  }

  async #start(name: string): Promise<unknown> {
    const unusable = [...this.#unusable.values()].find((entry) => entry.name === name);
    if (unusable === undefined) this.#find(name).start();
    else await this.#take(unusable.file);
    const again = this.#unusable.get(unusable?.file ?? '');
    if (again !== undefined) throw again.problem;
    return this.#status(name);
  }

  #find(name: string): SupervisedModule {
    const module = this.#modules.get(name);
    if (module !== undefined) return module;
    const unusable = [...this.#unusable.values()].find((entry) => entry.name === name);
    throw unusable?.problem ?? this.#unknown(name);
  }

  #unknown(name: string): WorldError {
    return new WorldError('module-unknown', {
      wanted: `one of the modules ${
        this.list()
          .map(({ module }) => module)
          .join(', ') || '(none)'
      }`,
      found: JSON.stringify(name),
      next: 'Add the file of the module to "modules" in the node configuration, and run `vmpair supervisor reload`.',
    });
  }
}

function foreignNode(file: string, nodes: readonly string[], node: string): WorldError {
  return new WorldError('config-invalid', {
    wanted: `${file}: nodes: this node, ${node}`,
    found: `the nodes ${nodes.join(' and ')}`,
    next: 'Correct the name of the node, or remove the module from this node.',
  });
}

function nameTwice(file: string, name: string): WorldError {
  return new WorldError('config-invalid', {
    wanted: `${file}: module.name: a name that no other module of this node has`,
    found: name,
    next: 'Rename one of the modules; nothing was changed.',
  });
}
