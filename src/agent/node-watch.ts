/**
 * Everything that the agent knows of its own node: the supervisor, and each module that it lists or that the configuration
 * names, so that modules are seen while the supervisor is dead. It asks and never tells; what changes goes to the journal.
 */
import { statSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { ModuleStatus } from '../base/status.ts';
import type { Endpoint } from '../config/link-config.ts';
import { readModuleConfig } from '../config/module-config.ts';
import { defaultAgentPort, type NodeConfig } from '../config/node-config.ts';
import { modulePaths } from '../config/runtime-paths.ts';
import type { SupervisedStatus } from '../supervisor/supervised-module.ts';
import { ModuleFollower } from './follow/module-follower.ts';
import { SupervisorFollower } from './follow/supervisor-follower.ts';
import type { EventJournal } from './journal/event-journal.ts';
import type { ModuleReport, NodeReport } from './view/reports.ts';

export interface NodeWatchOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly journal: Pick<EventJournal, 'add' | 'lastStateOf' | 'newDecisions'>;
  readonly changed: (status: ModuleStatus) => void;
}

/** The other node, as the files of the modules name it. */
export interface OtherNode {
  readonly node: string;
  readonly address: Endpoint;
}

/** What a file of a module says. */
interface ModuleFacts {
  readonly name: string;
  readonly other: OtherNode;
}

interface ReadFile {
  /** When it was changed last; it is read again when that differs. */
  readonly changedMs: number;
  /** `undefined`: it cannot be used. */
  readonly facts: ModuleFacts | undefined;
}

export class NodeWatch {
  readonly #options: NodeWatchOptions;
  readonly #supervisor: SupervisorFollower;
  readonly #followers = new Map<string, ModuleFollower>();
  readonly #files = new Map<string, ReadFile>();

  constructor(options: NodeWatchOptions) {
    this.#options = options;
    this.#supervisor = new SupervisorFollower({
      control: options.config.supervisor.controlSocket,
      clock: options.clock,
      listed: (modules) => this.#listed(modules),
      decided: (module, { action, rule, because }) =>
        options.journal.add({ kind: 'process', module, action, rule, because }),
      turned: (answers, because) =>
        options.journal.add({
          kind: 'supervisor',
          to: answers ? 'answers' : 'silent',
          because: answers ? 'the supervisor answers' : `the supervisor does not answer: ${because}`,
        }),
    });
  }

  begin(): void {
    this.#followConfigured();
    this.#supervisor.begin();
  }

  close(): void {
    this.#supervisor.close();
    for (const follower of this.#followers.values()) follower.close();
  }

  get supervisorAnswers(): boolean {
    return this.#supervisor.answers;
  }

  follower(module: string): ModuleFollower | undefined {
    return this.#followers.get(module);
  }

  get followers(): readonly ModuleFollower[] {
    return [...this.#followers.values()];
  }

  /** `undefined`: no module names another node. */
  get otherNode(): OtherNode | undefined {
    return [...this.#files.values()].find(({ facts }) => facts !== undefined)?.facts?.other;
  }

  report(): Pick<NodeReport, 'node' | 'supervisor' | 'modules'> {
    const { answers, because, modules: processes } = this.#supervisor;
    const names = new Set([...this.#followers.keys(), ...processes.map(({ module }) => module)]);
    return {
      node: this.#options.config.node,
      supervisor: { answers, because },
      modules: [...names].sort().map((name) => this.#moduleReport(name)),
    };
  }

  #moduleReport(module: string): ModuleReport {
    const follower = this.#followers.get(module);
    // What a dead supervisor said of a process counts no longer.
    const process = this.#supervisor.answers
      ? this.#supervisor.modules.find((each) => each.module === module)
      : undefined;
    const { status, heardAgoMs, arbiter } = follower ?? {};
    const problem = follower === undefined ? (process?.because ?? 'it does not run') : follower.problem;
    const { clock } = this.#options;
    return {
      module,
      ...(process === undefined ? {} : { process }),
      ...(status === undefined ? {} : { status }),
      ...(heardAgoMs === undefined ? {} : { heardAgoMs: Math.round(heardAgoMs) }),
      ...(problem === undefined ? {} : { problem }),
      ...(arbiter === undefined
        ? {}
        : {
            arbiter: {
              verdict: arbiter.verdict,
              because: arbiter.because,
              askedAgoMs: Math.round(clock.nowMs() - arbiter.askedMs),
            },
          }),
    };
  }

  /** The supervisor decides which modules there are; files are read for their names and the other node. */
  #listed(modules: readonly SupervisedStatus[]): void {
    for (const { module, control, file } of modules) {
      this.#read(file);
      if (control !== undefined) this.#follow(module, control);
    }
    const files = new Set(modules.map(({ file }) => file));
    for (const file of this.#files.keys()) if (!files.has(file)) this.#files.delete(file);
    const listed = new Set(modules.map(({ module }) => module));
    for (const [name, follower] of this.#followers) {
      if (listed.has(name)) continue;
      follower.close();
      this.#followers.delete(name);
    }
  }

  #followConfigured(): void {
    const { modules, runtimeDir } = this.#options.config;
    for (const file of modules) {
      const name = this.#read(file);
      if (name !== undefined) this.#follow(name, modulePaths(runtimeDir, name).control);
    }
  }

  /** Name of the module of a file; `undefined`: it cannot be used, which the supervisor tells. */
  #read(file: string): string | undefined {
    const changedMs = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    let known = this.#files.get(file);
    if (known?.changedMs !== changedMs) {
      known = { changedMs, facts: this.#readFile(file) };
      this.#files.set(file, known);
    }
    return known.facts?.name;
  }

  #readFile(file: string): ModuleFacts | undefined {
    const { config, log } = this.#options;
    try {
      const module = readModuleConfig(file);
      const node = module.nodes.find((each) => each !== config.node);
      const host = module.links[node ?? '']?.[0]?.host;
      if (node === undefined || host === undefined) return undefined;
      const address = config.agent.peer ?? { host, port: config.agent.listen[0]?.port ?? defaultAgentPort };
      return { name: module.name, other: { node, address } };
    } catch (error) {
      log.warn('module-config-unusable', { file, because: String(error) });
      return undefined;
    }
  }

  #follow(module: string, control: string): void {
    const known = this.#followers.get(module);
    if (known?.control === control) return;
    known?.close();
    const { clock } = this.#options;
    const follower = new ModuleFollower({
      control,
      clock,
      changed: (status, before) => this.#changed(status, before),
    });
    this.#followers.set(module, follower);
    follower.begin();
  }

  #changed(status: ModuleStatus, before: ModuleStatus | undefined): void {
    const { journal } = this.#options;
    const { module, because } = status;
    if (before !== undefined && before.instance !== status.instance) {
      journal.add({
        kind: 'process',
        module,
        because: `the module process was started again (pid ${status.pid})`,
      });
    }
    // Also what was decided while no agent was there.
    for (const decision of journal.newDecisions(module, status.decisions))
      journal.add({ kind: 'decision', module, ...decision });
    const to = shortState(status);
    // The first status of this agent counts against what an earlier one wrote down.
    const from = before === undefined ? journal.lastStateOf(module) : shortState(before);
    if (from !== to)
      journal.add({ kind: 'module-state', module, ...(from === undefined ? {} : { from }), to, because });
    this.#options.changed(status);
  }
}

/** `PRIM ready`, and the VM where there is one. */
function shortState({ state, readiness, axes }: ModuleStatus): string {
  return `${state} ${readiness}${axes.vm === 'none' ? '' : `, VM ${axes.vm}`}`;
}
