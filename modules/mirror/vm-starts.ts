/**
 * The order of starts and the capacity of this node, put to work for one module: it tells the other modules of the node and the
 * peer what they need to know, and gives the VM its turn.
 */
import { randomBytes } from 'node:crypto';
import type { VmNeeds } from '../../hypervisors/port.ts';
import type { Clock } from '../../src/base/clock.ts';
import type { Log } from '../../src/base/log.ts';
import type { StartStatus } from '../../src/base/status.ts';
import type { Mirror } from '../../src/cluster/mirror.ts';
import type { ModuleConfig } from '../../src/config/module-config.ts';
import type { NodeConfig } from '../../src/config/node-config.ts';
import { modulePaths, startsDirectory } from '../../src/config/runtime-paths.ts';
import { hostFacts } from '../../src/platform/host-facts.ts';
import { FileStartBoard } from '../../src/platform/start-board.ts';
import { capacityProblem } from '../../src/starts/decide-capacity.ts';
import { type OrderFacts, StartOrder } from '../../src/starts/start-order.ts';
import type { StartSettings } from '../../src/starts/start-settings.ts';
import type { StartTurn } from './vm-driver.ts';

/** How often the node looks whether it could run the VM, ms. */
const capacityIntervalMs = 5000;
/** From one look at what the others are told to the next, ms. */
const noticeIntervalMs = 200;

export interface VmStartsOptions {
  readonly config: ModuleConfig;
  readonly node: NodeConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly needs: VmNeeds | undefined;
  readonly mirror: () => Mirror;
  readonly turnCame: () => void;
  readonly restartVm: (rule: string, because: string) => void;
}

export class VmStarts implements StartTurn {
  readonly #options: VmStartsOptions;
  readonly #order: StartOrder;
  #settings: StartSettings;
  #problem: string | undefined;
  /** What the last look found, when it was another answer than the one that counts. */
  #unconfirmed: string | undefined;
  /** That memory is short was said for this start. */
  #shortageSaid = false;

  constructor(options: VmStartsOptions) {
    const { config, node, clock, log, needs, mirror } = options;
    this.#options = options;
    this.#settings = config.start;
    const board = new FileStartBoard({
      directory: startsDirectory(node.runtimeDir),
      module: config.name,
      vmStartFile: modulePaths(node.runtimeDir, config.name).vmStart,
      log,
    });
    this.#order = new StartOrder(
      {
        module: config.name,
        settings: config.start,
        concurrent: node.starts.concurrent,
        needs,
        newStartId: () => randomBytes(16).toString('hex'),
      },
      board,
      clock,
      {
        facts: () => this.#facts(),
        turnCame: options.turnCame,
        decided: (rule, action, because) => mirror().decisions.add(rule, action, because),
        restartVm: (because) => options.restartVm('restart-with', because),
      },
    );
  }

  /** Begins to tell the others; when the mirror is there. */
  begin(): void {
    this.#look();
    this.#lookAtCapacity();
  }

  /** What the configuration says of the start counts from now on. */
  configure(start: StartSettings): void {
    this.#settings = start;
    this.#order.configure(start);
  }

  mayStart(): boolean {
    const may = this.#order.mayStart();
    if (may && this.#problem !== undefined && !this.#shortageSaid) {
      this.#shortageSaid = true;
      this.#options.mirror().decisions.add('capacity-short', 'start the VM all the same', this.#problem);
    }
    return may;
  }

  end(): void {
    this.#shortageSaid = false;
    this.#order.end();
  }

  get status(): StartStatus {
    const { priority, after } = this.#settings;
    return {
      priority,
      after: after.map(({ module }) => module),
      waits: this.#order.waits,
      capacity: this.#warning,
    };
  }

  /** Which node could not start the VM, and why. */
  get #warning(): string | undefined {
    const { state, serving, vmReports } = this.#options.mirror();
    const [node, problem] = serving ? [state.peer, vmReports.peer?.problem] : [state.self, this.#problem];
    return problem && `${node} could not start ${this.#options.config.name}: ${problem}`;
  }

  #facts(): OrderFacts {
    const mirror = this.#options.mirror();
    const { timers, failover, hasVm } = mirror.config;
    const connected = mirror.session.channel !== undefined;
    const { peer } = mirror.vmReports;
    const atPeer = !mirror.serving && connected && peer?.runs === true;
    return {
      hasVm,
      started: mirror.run === 'started',
      serving: mirror.serving,
      upToDate: mirror.state.data === 'up-to-date',
      failover,
      connected,
      claimOpen: mirror.operationOpen,
      unheardMs: mirror.session.watch.unheardMs,
      lostAfterMs: timers.lostAfterMs,
      claimAfterMs: timers.claimAfterMs,
      vm: this.#runsHere ? 'here' : atPeer ? 'at-peer' : 'off',
      peerVmStart: peer?.start,
    };
  }

  /** Without a VM of its own, what is served counts as one that runs. */
  get #runsHere(): boolean {
    const { config, vm, serving } = this.#options.mirror();
    return config.hasVm ? vm === 'running' : serving;
  }

  #look(): void {
    this.#order.look();
    const runs = this.#runsHere;
    const start = runs ? this.#order.vmStart : undefined;
    const problem = this.#problem?.slice(0, 500);
    this.#options.mirror().vmReports.say({
      runs,
      ...(start === undefined ? {} : { start }),
      ...(problem === undefined ? {} : { problem }),
    });
    this.#options.clock.after(noticeIntervalMs, () => this.#look());
  }

  #lookAtCapacity(): void {
    const { clock, config, node } = this.#options;
    const found = capacityProblem(config.name, this.#order.notices, hostFacts(), node.starts);
    // Free memory comes and goes: a change counts when it was seen twice, but for the figures in the sentence.
    const isChange = (found === undefined) !== (this.#problem === undefined);
    const isConfirmed = (found === undefined) === (this.#unconfirmed === undefined);
    if (!isChange || isConfirmed) this.#problem = found;
    this.#unconfirmed = found;
    clock.after(capacityIntervalMs, () => this.#lookAtCapacity());
  }
}
