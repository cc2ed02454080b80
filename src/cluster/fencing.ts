/**
 * When the peer is switched off, and what waits for the proof that it is off.
 *
 * - A fence beside an arbiter that keeps a record: the record says who may write; the proof says that the peer's VM does not run. So
 *   the claim comes first, then the fence, then the start of the VM. A primary that stays switches nothing off: its VM runs
 *   already, and without the record the peer starts none.
 * - A fence alone: no record, so nobody goes on alone without proof; see `decide-fence.ts`.
 *
 * Invariants: a peer that answers is not switched off, and a proof from before it answered is worth nothing; one attempt at a time,
 * with a pause before the next; a VM waits as long as its host calls `serve` and is told no.
 */
import type { Fence, FenceAnswer, FenceAttempt, FenceTest } from '../arbiter/fence.ts';
import type { Clock } from '../base/clock.ts';
import type { Decision } from '../base/decision.ts';
import type { FenceStatus } from '../base/status.ts';
import type { PersistentState } from '../disk/state.ts';
import type { AloneAction, AloneSituation, PeerSight, Timers } from './decide-alone.ts';
import { byHand, decideFence } from './decide-fence.ts';
import type { DecisionLog } from './decision-log.ts';
import { type CommandDone, refusal } from './departure.ts';
import type { PairPhase } from './pairing.ts';

/** Pause between two attempts to switch the peer off, ms. */
export const fencePauseMs = 2000;
/** The first check after a start, ms. */
const firstCheckMs = 5000;
/** The first checks of many modules that start together are spread over this, ms. */
const checkSpreadMs = 60_000;

/** How a module is to use its fence. */
export interface FenceSetup {
  readonly fence: Fence;
  /** For people: `ipmi`, `ssh`, `command`. */
  readonly kind: string;
  /** No VM starts without proof. Off, only beside a record keeper: it starts after one attempt. */
  readonly required: boolean;
  /** How often the fence is asked whether it answers, ms; `undefined`: only when somebody wants to know. */
  readonly checkIntervalMs: number | undefined;
}

export interface FencingHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly serving: boolean;
    readonly vm: string;
    readonly leaving: boolean;
    readonly config: { readonly hasVm: boolean; readonly timers: Timers };
    readonly decisions: DecisionLog;
    readonly disk: { readonly present: boolean };
    readonly pairing: { readonly phase: PairPhase };
  };
  hasRecordKeeper(): boolean;
  connected(): boolean;
  peerSight(): PeerSight;
  /** How long the peer has not been heard, ms. */
  unheardMs(): number;
  /** The VM that waited may start. */
  serve(): void;
  changed(): void;
  wallTime(): string;
}

/** In these the peer has agreed to be the other half, after its VM had stopped. */
const pairedPhases: ReadonlySet<PairPhase> = new Set([
  'resync-source',
  'compare-source',
  'finishing',
  'in-sync',
]);

export class Fencing {
  readonly #host: FencingHost;
  readonly #mirror: FencingHost['mirror'];
  readonly #clock: Clock;
  readonly #setup: FenceSetup | undefined;
  /** Why the peer is off, since it was heard last. */
  #proof: string | undefined;
  #attempt: FenceAttempt | undefined;
  /** Changes whenever an attempt under way is worth nothing any more. */
  #turn = 0;
  #notBeforeMs = 0;
  /** The VM waits for proof; the number of attempts since it began to. */
  #holding: { attempts: number } | undefined;
  /** In sync in this process, and it has given the peer no reason since to go on without it. */
  #sawSync = false;
  /** By the word of the peer that this node persisted, the peer's copy is one that never starts. */
  #peerCannotStart = false;
  #lastResult: FenceStatus['lastResult'];
  #lastTest: FenceStatus['lastTest'];
  #testing: ((test: FenceTest) => void)[] = [];

  constructor(host: FencingHost, clock: Clock, setup: FenceSetup | undefined) {
    this.#host = host;
    this.#mirror = host.mirror;
    this.#clock = clock;
    this.#setup = setup;
    if (setup?.checkIntervalMs !== undefined) {
      const spread = Number.parseInt(host.mirror.state.moduleId.slice(0, 8), 16) % checkSpreadMs;
      this.#checkAfter(firstCheckMs + (Number.isNaN(spread) ? 0 : spread), setup.checkIntervalMs);
    }
  }

  /** There is no record, and the fence is what allows this node to go on alone. */
  get standsAlone(): boolean {
    return this.#setup !== undefined && !this.#host.hasRecordKeeper();
  }

  get status(): FenceStatus | undefined {
    if (this.#setup === undefined) return undefined;
    const { kind, required } = this.#setup;
    return {
      kind,
      required,
      waits: this.waits,
      lastTest: this.#lastTest,
      lastResult: this.#lastResult,
    };
  }

  /** Why the VM of this node does not start although the node may write; `undefined`: nothing waits. */
  get waits(): string | undefined {
    if (this.#holding === undefined) return undefined;
    const { peer } = this.#mirror.state;
    if (this.#host.connected()) return `${peer} answers and is not switched off; the VM waits for its word`;
    if (this.#holding.attempts === 0) return `the VM waits for proof that ${peer} is off`;
    return `the VM waits for proof that ${peer} is off: ${this.#lastProblem}. ${byHand(peer)}`;
  }

  /** An administrator is needed, as far as this node can see. */
  get isStuck(): boolean {
    return this.#holding !== undefined && this.#holding.attempts > 0;
  }

  /** The orange sentence: the fence would not answer when it is needed. */
  get warning(): string | undefined {
    if (this.#lastTest?.kind !== 'no-answer') return undefined;
    const { because } = this.#lastTest;
    return `the fence of ${this.#mirror.state.peer} does not answer (${because}): repair it, then run \`vmpair fence test VM\``;
  }

  get #lastProblem(): string {
    return this.#lastResult?.kind === 'no-proof' ? this.#lastResult.because : '';
  }

  // ---- the situation, again and again -----------------------------------------------------------------------------------

  observe(): void {
    if (this.#setup === undefined) return;
    const { pairing, disk, leaving, state, config } = this.#mirror;
    if (disk.present || leaving) this.#sawSync = false;
    else if (pairing.phase === 'in-sync') this.#sawSync = true;
    if (pairing.phase === 'in-sync') this.#peerCannotStart = false;
    else if (state.peerData === 'outdated' || state.peerData === 'inconsistent') this.#peerCannotStart = true;
    if (this.#holding === undefined) return;
    if (this.#reasonToStart() !== undefined) return this.#host.serve();
    const isLost = this.#host.unheardMs() >= config.timers.lostAfterMs;
    if (!this.#host.connected() && isLost)
      this.#seek('this node was named the only one that may write; the VM starts after it');
  }

  /** What a node with a fence alone does where an arbiter would be asked. */
  review(decision: Decision<AloneAction>, situation: AloneSituation, timers: Timers): Decision<AloneAction> {
    const setup = this.#setup;
    const isDelay = decision.rule === 'claim-delay';
    if (setup === undefined || !this.standsAlone || (decision.action !== 'claim' && !isDelay))
      return decision;
    const { state, serving, vm, config } = this.#mirror;
    const verdict = decideFence(
      {
        node: state.self,
        peer: state.peer,
        primary: situation.primary,
        running: this.#sawSync || (serving && config.hasVm && (vm === 'running' || vm === 'paused')),
        forced: situation.forced,
        sight: situation.peer,
        namedHolder: situation.namedHolder,
        proof: this.#proof,
        silenceMs: situation.silenceMs,
        lastProblem: this.#lastProblem,
      },
      { ...timers, attemptMs: setup.fence.deadlineMs },
    );
    const { rule, because } = verdict;
    if (verdict.action === 'wait') return { action: 'wait', rule, because };
    if (isDelay) return decision;
    if (verdict.action === 'claim') return { action: 'claim', rule, because };
    this.#seek(because);
    return { action: 'wait', rule, because };
  }

  /**
   * This node may write; may its VM start? If not, the host's `serve` is called again as soon as it may. Not asked for a VM that
   * runs here already.
   */
  mayStartVm(): boolean {
    if (this.#setup === undefined) return true;
    const reason = this.#reasonToStart();
    const { decisions, state } = this.#mirror;
    if (reason !== undefined) {
      if (this.#holding !== undefined) decisions.add('fence-settled', 'start the VM', reason);
      this.#holding = undefined;
      return true;
    }
    if (this.#holding === undefined) {
      this.#holding = { attempts: 0 };
      const because = `nobody knows whether ${state.peer} still runs its VM`;
      decisions.add('fence-before-start', 'wait with the VM', because);
    }
    return false;
  }

  #reasonToStart(): string | undefined {
    const { pairing, state } = this.#mirror;
    const sight = this.#host.peerSight();
    if (this.#proof !== undefined) return this.#proof;
    if (this.#host.connected() && pairedPhases.has(pairing.phase))
      return `${state.peer} has agreed that this node is primary`;
    if (sight === 'out' || sight === 'new') return `${state.peer} said that no VM runs there`;
    if (this.#peerCannotStart)
      return `the copy of ${state.peer} is not up to date and never starts by itself`;
    if (this.#setup?.required === false && (this.#holding?.attempts ?? 0) > 0)
      return `no proof is required, and there was none: ${this.#lastProblem}`;
    return undefined;
  }

  // ---- attempts -----------------------------------------------------------------------------------------------------------

  #seek(because: string): void {
    const { fence } = this.#setup as FenceSetup;
    if (this.#attempt !== undefined || this.#clock.nowMs() < this.#notBeforeMs) return;
    const { decisions, state } = this.#mirror;
    // Of many attempts, those that say something new.
    if (this.#lastResult?.kind !== 'no-proof') decisions.add('fence', `switch ${state.peer} off`, because);
    const turn = this.#turn;
    this.#attempt = fence.proveOff((answer) => this.#answered(turn, answer));
  }

  #answered(turn: number, { kind, because }: FenceAnswer): void {
    const { decisions, state } = this.#mirror;
    this.#attempt = undefined;
    this.#notBeforeMs = this.#clock.nowMs() + fencePauseMs;
    const isNews = this.#lastResult?.kind !== kind || this.#lastResult.because !== because;
    this.#lastResult = { kind, because, at: this.#host.wallTime() };
    // From before the peer answered: it may have booted since.
    if (this.#turn !== turn) return;
    if (kind === 'off') {
      this.#proof = `${state.peer} is off: ${because}`;
      decisions.add('fence-proof', 'go on', this.#proof);
    } else {
      if (this.#holding !== undefined) this.#holding.attempts += 1;
      if (isNews) decisions.add('fence-no-proof', 'try again', because);
    }
    this.#host.changed();
  }

  /** A connection to the peer was made: what was known of its power is over. */
  peerIsBack(): void {
    if (this.#attempt !== undefined) {
      const { decisions, state } = this.#mirror;
      decisions.add('fence-abandoned', 'switch nothing off', `${state.peer} answers again`);
    }
    this.#forget();
  }

  /** The node stands down: no VM waits any more. */
  standsDown(): void {
    this.#holding = undefined;
  }

  /** The module stops. */
  stop(): void {
    this.#forget();
    this.#sawSync = false;
  }

  #forget(): void {
    this.#turn += 1;
    this.#proof = undefined;
    this.#lastResult = undefined;
    this.#attempt?.abandon();
  }

  // ---- administrator ------------------------------------------------------------------------------------------------------

  /** The administrator has made sure by hand that the peer is off and stays off: as good as a proof, until the peer answers. */
  confirmPeerOff(node: string | undefined, done: CommandDone): void {
    const { state, config } = this.#mirror;
    const problem = (wanted: string, found: string, next: string): void => done(refusal(wanted, found, next));
    if (this.#setup === undefined)
      return problem('a fence', 'none', 'without one, nothing waits for this word');
    if (node !== state.peer) {
      const next = `make sure that ${state.peer} is off, then give the command again with this option`;
      return problem(
        `--peer-is-off ${state.peer}`,
        node === undefined ? 'no --peer-is-off' : `--peer-is-off ${node}`,
        next,
      );
    }
    if (this.#host.connected())
      return problem('a peer that is off', `that ${node} answers`, 'look at `vmpair status VM`');
    const { claimAfterMs } = config.timers;
    if (this.#host.unheardMs() < claimAfterMs)
      return problem(
        `a peer that is silent for ${claimAfterMs} ms`,
        'that it was heard a moment ago',
        'wait',
      );
    this.believe(node);
    done(undefined);
  }

  /** A command that was carried out said so, and had been refused if the peer had been heard: nothing waits for a fence after it. */
  believe(node: string): void {
    if (this.#setup === undefined || node !== this.#mirror.state.peer || this.#host.connected()) return;
    this.#proof = `the operator says that ${node} is off and stays off`;
    this.#mirror.decisions.add('peer-off-confirmed', 'go on', this.#proof);
    this.#host.changed();
  }

  /** Asks whether the fence answers; switches nothing. `done` exactly once. */
  test(done: (test: FenceTest) => void): void {
    if (this.#setup === undefined) return done({ kind: 'not-testable', because: 'no fence is configured' });
    this.#testing.push(done);
    if (this.#testing.length > 1) return;
    this.#setup.fence.test((test) => {
      const before = this.#lastTest?.kind;
      this.#lastTest = { ...test, at: this.#host.wallTime() };
      if (test.kind === 'no-answer' && before !== 'no-answer')
        this.#mirror.decisions.add('fence-test', 'warn', test.because);
      for (const waiter of this.#testing.splice(0)) waiter(test);
      this.#host.changed();
    });
  }

  #checkAfter(delayMs: number, intervalMs: number): void {
    this.#clock.after(delayMs, () => {
      // One that works is not to be disturbed.
      if (this.#attempt === undefined) this.test(() => {});
      this.#checkAfter(intervalMs, intervalMs);
    });
  }
}
