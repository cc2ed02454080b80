/**
 * A simulated world: two hosts with the shipped replication core, a network, an arbiter, guests and checkers. One seed
 * decides everything. A violation ends it; the transcript tells what happened before.
 */
import type { ChecksSettings } from '../../src/checks/settings.ts';
import type { Timers } from '../../src/cluster/decide-alone.ts';
import type { VolumeIdentity } from '../../src/disk/state.ts';
import { Checkers } from './checkers.ts';
import { GuestHistory } from './guest-history.ts';
import { Random } from './random.ts';
import { SimulatedArbiter } from './simulated-arbiter.ts';
import { sectorBytes } from './simulated-disk.ts';
import type { GuestWorld } from './simulated-guest.ts';
import { SimulatedFences } from './simulated-fence.ts';
import { SimulatedHost } from './simulated-host.ts';
import { SimulatedNetworks } from './simulated-networks.ts';
import { SimulatedTime } from './simulated-time.ts';

const mebibyte = 1024 * 1024;

export interface WorldOptions {
  readonly volumeSizesBytes?: readonly number[];
  /** Part of the volumes that holds data before the first synchronisation. */
  readonly filledBytes?: number;
  readonly guestThinkMs?: number;
  readonly guestSweeps?: boolean;
  /** False: `arbiter: none`. */
  readonly hasArbiter?: boolean;
  /** Both nodes may go on alone; only without an arbiter. The checkers of one writer and of lost writes do not look then. */
  readonly allowSplitBrain?: boolean;
  /** The hosts can switch each other off; whether a VM starts only with proof. */
  readonly fence?: 'required' | 'not-required';
  /** False: whoever connects to the exports is the guest. */
  readonly hasVm?: boolean;
  /** Between the two hosts; default 1. */
  readonly networks?: number;
  /** `undefined`: the modules check nothing, and a VM that ended is started again at once. */
  readonly checks?: ChecksSettings;
  /** The clocks of the hosts differ by this share: 0.02 is 2 %. */
  readonly clockDrift?: number;
}

export const defaultTimers: Timers = {
  heartbeatIntervalMs: 500,
  lostAfterMs: 3000,
  pauseAfterMs: 5000,
  claimAfterMs: 6000,
  diskHungAfterMs: 7000,
};

/** Lines of the transcript that are kept. */
const transcriptLinesMax = 600;

export class Violation extends Error {
  override readonly name = 'Violation';
}

export class World implements GuestWorld {
  readonly seed: number;
  readonly random: Random;
  readonly time = new SimulatedTime();
  readonly timers = defaultTimers;
  readonly nodes = ['A', 'B'] as const;
  readonly clusterId: string;
  readonly moduleId: string;
  readonly volumes: readonly VolumeIdentity[];
  readonly volumeSizeBytes: readonly number[];
  readonly link: SimulatedNetworks;
  readonly arbiter: SimulatedArbiter;
  readonly hosts: readonly [SimulatedHost, SimulatedHost];
  readonly histories: readonly GuestHistory[];
  readonly checkers: Checkers;
  readonly transcript: string[] = [];
  readonly hasArbiter: boolean;
  readonly allowSplitBrain: boolean;
  readonly hasVm: boolean;
  readonly fence: WorldOptions['fence'];
  readonly fences: SimulatedFences;
  readonly checks: ChecksSettings | undefined;
  guestsRest = false;
  guestThinkMs: number;
  readonly guestSweeps: boolean;
  events = 0;
  /** Grows when everything is healed: faults of an earlier era end. */
  era = 0;
  /** Requests that any guest had an answer for. */
  acknowledgedCount = 0;
  #order = 0;
  #tag = 1_000_000;

  constructor(seed: number, options: WorldOptions = {}) {
    this.seed = seed;
    this.random = new Random(seed);
    this.clusterId = this.random.hexId();
    this.moduleId = this.random.hexId();
    this.guestSweeps = options.guestSweeps ?? false;
    this.guestThinkMs = options.guestThinkMs ?? 30;
    this.volumeSizeBytes = options.volumeSizesBytes ?? [4 * mebibyte];
    this.volumes = this.volumeSizeBytes.map((sizeBytes, index) => ({ name: `disk${index}`, sizeBytes }));
    this.link = new SimulatedNetworks(options.networks ?? 1, this.nodes, this.time, this.random, seed);
    this.arbiter = new SimulatedArbiter(this.time, this.random, (text) => this.log(text));
    this.checkers = new Checkers(this);
    this.arbiter.onChange = ({ holder }) => this.checkers.recordChanged(holder);
    this.hasArbiter = options.hasArbiter ?? true;
    this.allowSplitBrain = options.allowSplitBrain ?? false;
    this.hasVm = options.hasVm ?? true;
    this.fence = options.fence;
    this.checks = options.checks;
    this.fences = new SimulatedFences(this);
    this.hosts = [new SimulatedHost(this, 'A', 0), new SimulatedHost(this, 'B', 1)];
    const drift = (options.clockDrift ?? 0) / 2;
    this.hosts[0].clockRate = 1 + drift;
    this.hosts[1].clockRate = 1 - drift;
    const filled = (options.filledBytes ?? mebibyte) / sectorBytes;
    this.histories = this.hosts[0].disks.map((disk, volume) => {
      const tags = new Uint32Array(Math.min(filled, disk.seen.length)).map(() => this.nextTag());
      disk.fill(0, tags);
      return new GuestHistory(volume, disk.seen);
    });
  }

  get a(): SimulatedHost {
    return this.hosts[0];
  }
  get b(): SimulatedHost {
    return this.hosts[1];
  }

  otherThan(host: SimulatedHost): SimulatedHost {
    return host === this.hosts[0] ? this.hosts[1] : this.hosts[0];
  }

  nextEvent(): number {
    this.#order += 1;
    return this.#order;
  }

  nextTag(): number {
    this.#tag += 1;
    return this.#tag;
  }

  log(text: string): void {
    this.transcript.push(`${((this.time.nowMs - 1_000_000) / 1000).toFixed(3).padStart(9)}  ${text}`);
    if (this.transcript.length > transcriptLinesMax) this.transcript.shift();
  }

  violation(text: string): never {
    this.log(`VIOLATION ${text}`);
    throw new Violation(`seed ${this.seed}: ${text}`);
  }

  /** Runs until `condition` holds. False: it did not within `limitMs`. */
  runUntil(condition: () => boolean, limitMs: number): boolean {
    const endMs = this.time.nowMs + limitMs;
    while (!condition()) {
      if (!this.time.step(endMs)) return false;
      this.events += 1;
      this.checkers.afterEvent();
    }
    return true;
  }

  run(ms: number): void {
    this.runUntil(() => false, ms);
  }

  /** Runs until `condition` holds and ends the simulation when it does not in time. */
  expect(what: string, condition: () => boolean, limitMs = 30_000): void {
    if (!this.runUntil(condition, limitMs))
      this.violation(`not within ${limitMs} ms: ${what}; ${this.describe()}`);
  }

  /** Both modules run and the operator has chosen the copy of A. */
  firstStart(): void {
    for (const host of this.hosts) host.startProcess();
    this.expect('both modules run', () => this.hosts.every((host) => host.mirror?.run === 'started'));
    this.a.command('prim');
  }

  inSync(): boolean {
    return this.hosts.every(({ mirror }) => mirror?.pairing.phase === 'in-sync');
  }

  /** The host whose VM runs and whose module may write. */
  primary(): SimulatedHost | undefined {
    return this.hosts.find(({ mirror, vm, guest }) => {
      const runs = this.hasVm ? vm.state === 'running' : guest !== undefined;
      return runs && mirror?.primary.gate === 'open';
    });
  }

  /** A pair in sync with a guest that works. */
  startPair(): void {
    this.firstStart();
    this.expect('the pair is in sync', () => this.inSync());
    this.expect('the guest works', () => (this.primary()?.guest?.acknowledgedCount ?? 0) > 5);
  }

  /** Lets the guests end what they began, and compares. */
  checkAtRest(): void {
    this.guestsRest = true;
    const open = (): boolean => this.hosts.some(({ guest }) => (guest?.outstanding.size ?? 0) > 0);
    this.expect('the guest has its answers', () => !open() && this.inSync(), 60_000);
    this.run(100);
    this.checkers.equalCopies();
    this.guestsRest = false;
  }

  describe(): string {
    return this.hosts
      .map(({ name, mirror, vm, processAlive, guest }) => {
        if (mirror === undefined)
          return `${name}: ${processAlive ? 'opens its metadata' : 'no process'}, vm ${vm.state}`;
        const { state, pairing, primary, run } = mirror;
        const open = guest === undefined ? 'no guest' : `${guest.outstanding.size} open`;
        return (
          `${name}: ${run} ${state.role} ${state.data} generation ${state.generation}/${state.holder ?? '-'} ` +
          `${pairing.phase} (${pairing.waiting}) gate ${primary.gate} solo ${primary.soloAllowed} vm ${vm.state} ${open}; ` +
          `alone: ${mirror.aloneBecause}; ${mirror.linkProblem}; ${mirror.notes.warnings.join('; ')}`
        );
      })
      .join('\n          ');
  }
}
