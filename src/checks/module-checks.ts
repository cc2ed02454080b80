/**
 * The checks and rules of one module, beside its mirror: they look, and ask for what an operator could ask for as well. Pure: probes,
 * clock, VM and storage are ports. The rules of `src/cluster` are never overridden; what they refuse is not done, and said.
 *
 * Order that must hold: a restart is counted durably before the VM is ended for it; that the node waits, or was stopped by a rule, is
 * durable after it has left, so that one that dies in between goes on as it was.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { WorldError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { ChecksStatus } from '../base/status.ts';
import type { DecisionLog } from '../cluster/decision-log.ts';
import type { CommandDone } from '../cluster/departure.ts';
import type { VmState } from '../cluster/mirror-ports.ts';
import type { ModuleNotes } from '../cluster/module-notes.ts';
import type { Pairing } from '../cluster/pairing.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import { type ActionDecision, type ActionSituation, decideAction, type FiredRule } from './decide-action.ts';
import type { CheckWatch } from './check-watch.ts';
import type { KeptFactsStore, KeptReason } from './kept-facts.ts';
import { Ledger, swapDwellMs } from './ledger.ts';
import { notesOf, ruleWords } from './notes-of.ts';
import { type ChecksMessage, healthObstacle, PeerWord } from './peer-word.ts';
import { type AskCheck, Probing, type VmSituation } from './probing.ts';
import { firedRules, startObstacle } from './rule-state.ts';
import { type CheckSettings, type ChecksSettings, type RuleSettings, rulesOf } from './settings.ts';

/** How often the rules are looked at when nothing happens, ms. */
export const lookIntervalMs = 1000;
/** From an action that was refused to the next attempt, ms. */
const retryAfterMs = 10_000;
/** A restart that has not come to a running VM by then is over, ms: longer than a guest may take to shut down. */
const restartDeadlineMs = 300_000;

/** How the VM ends before it is started again: asked to shut down, or destroyed because it would not hear. */
export type RestartManner = 'in-order' | 'at-once';

/** What the checks see of the mirror, and ask of it. */
export interface CheckedMirror {
  readonly state: { readonly peer: string };
  readonly run: 'started' | 'stopped';
  readonly serving: boolean;
  readonly leaving: boolean;
  readonly vm: VmState;
  readonly decisions: Pick<DecisionLog, 'add'>;
  readonly pairing: Pick<Pairing, 'phase' | 'peerHello'>;
  readonly primary: { readonly gate: string };
  readonly channel: PeerChannel | undefined;
  notes: ModuleNotes;
  start(done: CommandDone): void;
  stop(done: CommandDone, because: string): void;
  swap(done: CommandDone, because: string): void;
}

export interface ChecksPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly ask: AskCheck;
  readonly store: KeptFactsStore;
  readonly mirror: CheckedMirror;
  /** Ends the VM and starts it again under the same wish; one that has ended is only started. */
  restartVm(manner: RestartManner): void;
  /** The module is to stay stopped, also when its process is started again; `then` when that is durable. */
  stayStopped(then: () => void): void;
  /** The time of day, `afterMs` from now, for people. */
  wallTime(afterMs: number): string;
}

/** The VM is being ended and started again. */
interface Restart {
  readonly sinceMs: number;
  /** It was seen not to run since. */
  down: boolean;
  /** It is counted, durably: the VM may be started. */
  counted: boolean;
}

export class ModuleChecks {
  readonly #ports: ChecksPorts;
  readonly #probing: Probing;
  readonly #ledger: Ledger;
  readonly #peer: PeerWord;
  #settings: ChecksSettings;
  #rules: readonly RuleSettings[] = [];
  #timer: Timer | undefined;
  #vmStartedMs: number | undefined;
  #vmEnded = false;
  #restart: Restart | undefined;
  /** A stop, swap or start that a rule asked for has not been answered. */
  #acting = false;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  /** What the rules ask for and is not done; said once. */
  #stays = '';
  #staysAbout = '';
  /** It is leaving, and why: for people, until it has left. */
  #leaving: { readonly waiting?: KeptReason; readonly stopped?: KeptReason } | undefined;

  constructor(settings: ChecksSettings, ports: ChecksPorts) {
    this.#settings = settings;
    this.#ports = ports;
    this.#ledger = new Ledger(ports.clock, ports.store);
    this.#peer = new PeerWord(ports.clock);
    this.#probing = new Probing({
      clock: ports.clock,
      log: ports.log,
      ask: ports.ask,
      vm: () => this.#vmSituation,
      changed: () => this.look(),
    });
    this.configure(settings);
    this.#setNotes();
  }

  /** Takes these settings from now on; checks that are as they were keep what they found. */
  configure(settings: ChecksSettings): void {
    this.#settings = settings;
    this.#rules = rulesOf(settings);
    this.#probing.configure(settings.checks);
  }

  /** A rule made this node leave; it is not to be started before its checks are well. */
  get waits(): boolean {
    return this.#ledger.waiting !== undefined;
  }

  // ---- what happens ---------------------------------------------------------------------------------------------------

  vmChanged(vm: VmState): void {
    if (this.#restart !== undefined && vm !== 'running') this.#restart.down = true;
    if (vm === 'running') {
      if (this.#vmStartedMs === undefined) {
        this.#vmStartedMs = this.#nowMs;
        this.#probing.vmStarted();
      }
      if (this.#restart?.down === true) this.#restart = undefined;
      this.#vmEnded = false;
      if (this.#ledger.endedInMaintenance) this.#noteEndedInMaintenance(false);
      this.#vmWatch?.observe({ ok: true, because: 'it runs' }, this.#nowMs);
    } else if (vm === 'stopped' || vm === 'none' || vm === 'unknown') this.#vmStartedMs = undefined;
  }

  /**
   * Asked before every start of the VM, again and again until it is started. `again`: it ran under the same wish and has ended. A string says
   * why it must not be started now.
   */
  vmMayStart(again: boolean): string | undefined {
    if (again) this.#noteEnded();
    if (again && !this.#startIsGranted) {
      this.look();
      if (!this.#startIsGranted)
        return this.#stays || 'the rules of its checks decide whether it is started again';
    }
    if (!again && this.#ledger.endedInMaintenance && this.#inMaintenance)
      return 'the VM was shut down in maintenance and stays off until its end';
    return this.#inMaintenance ? undefined : this.#waitsFor;
  }

  get #startIsGranted(): boolean {
    return this.#restart?.counted === true;
  }

  #noteEnded(): void {
    if (this.#vmEnded) return;
    this.#vmEnded = true;
    this.#vmWatch?.observe({ ok: false, because: 'the VM ended although it should run' }, this.#nowMs);
    if (this.#inMaintenance && this.#restart === undefined) this.#noteEndedInMaintenance(true);
  }

  /** The peer said what its checks found. */
  observe(message: ChecksMessage): void {
    const { mirror } = this.#ports;
    this.#peer.observe(message, mirror.channel);
    this.#ledger.observe(message, mirror.serving);
  }

  // ---- the operator ---------------------------------------------------------------------------------------------------

  /** Somebody looks after the VM: restarts count from zero, and nothing is waited for. `then` when that is durable. */
  operatorStarts(then: () => void): void {
    this.#ledger.budget.reset();
    this.#ledger.waiting = undefined;
    this.#ledger.stopped = undefined;
    this.#notBeforeMs = Number.NEGATIVE_INFINITY;
    this.#setNotes();
    this.#ledger.endedInMaintenance = false;
    this.#ledger.keep(then);
  }

  operatorStops(then: () => void): void {
    this.#ledger.waiting = undefined;
    this.#ledger.stopped = undefined;
    this.#setNotes();
    this.#ledger.keep(then);
  }

  /** Maintenance from now on for so long, 0: its end. `then` when that is durable. */
  maintain(forMs: number, then: () => void): void {
    const { decisions } = this.#ports.mirror;
    this.#ledger.maintenance.set(forMs, this.#nowMs);
    if (forMs === 0) decisions.add('maintenance', 'let the rules act', 'the operator ended the maintenance');
    else {
      const until = this.#ports.wallTime(forMs);
      decisions.add('maintenance', 'let no rule act', `the operator asked for it, until ${until}`);
    }
    this.#ledger.keep(() => {
      this.look();
      then();
    });
  }

  // ---- again and again ------------------------------------------------------------------------------------------------

  /** Looks now, and from then on. */
  look(): void {
    this.#timer?.cancel();
    this.#timer = this.#ports.clock.after(lookIntervalMs, () => this.look());
    const { mirror } = this.#ports;
    if (mirror.run === 'started' || this.waits) this.#probing.start();
    else this.#probing.stop();
    if (!mirror.serving) this.#notServing();
    this.#lookAtRestart();
    this.#act(decideAction(this.#situation));
    this.#setNotes();
    this.#tellPeer();
  }

  /** One that has ended the VM and must not start it is over: the rule that makes the node wait acts. */
  #lookAtRestart(): void {
    if (this.#restart === undefined) return;
    const { sinceMs, down } = this.#restart;
    const waits = this.#situation.fired.some(({ action }) => action === 'wait') && !this.#inMaintenance;
    if ((down && waits) || this.#nowMs - sinceMs > restartDeadlineMs) this.#restart = undefined;
  }

  #notServing(): void {
    this.#vmEnded = false;
    this.#restart = undefined;
    this.#vmWatch?.forget('idle');
    // The peer runs the VM: what was shut down here is over.
    if (this.#ledger.endedInMaintenance && this.#ports.mirror.pairing.phase === 'in-sync')
      this.#noteEndedInMaintenance(false);
  }

  #noteEndedInMaintenance(ended: boolean): void {
    this.#ledger.endedInMaintenance = ended;
    this.#ledger.keep(() => {});
  }

  get #nowMs(): number {
    return this.#ports.clock.nowMs();
  }
  get #inMaintenance(): boolean {
    return this.#ledger.maintenance.leftMs(this.#nowMs) > 0;
  }
  get #vmWatch(): CheckWatch | undefined {
    const check = this.#settings.checks.find(({ kind }) => kind === 'vm');
    return check && this.#probing.watchOf(check.name);
  }
  get #vmSituation(): VmSituation {
    const { serving, vm, primary } = this.#ports.mirror;
    // A guest whose writes are held may look dead.
    const works = serving && vm === 'running' && primary.gate === 'open' && this.#restart === undefined;
    return { works, startedMs: serving ? this.#vmStartedMs : undefined };
  }
  #stateOf(name: string): CheckWatch | undefined {
    return this.#probing.watchOf(name);
  }
  get #waitsFor(): string | undefined {
    return startObstacle(this.#rules, (name) => this.#stateOf(name));
  }

  get #situation(): ActionSituation {
    const { mirror } = this.#ports;
    const unsettled = mirror.serving && mirror.primary.gate !== 'open';
    return {
      run: mirror.run,
      waiting: this.waits,
      waitsFor: this.#waitsFor,
      primary: mirror.serving,
      busy:
        this.#acting ||
        mirror.leaving ||
        unsettled ||
        this.#restart !== undefined ||
        this.#nowMs < this.#notBeforeMs,
      maintenance: this.#inMaintenance,
      vmEnded: this.#vmEnded,
      endedInMaintenance: this.#ledger.endedInMaintenance,
      fired: firedRules(this.#rules, (name) => this.#stateOf(name)).map(
        ({ rule, failing, because }): FiredRule => ({
          name: rule.name,
          action: rule.action,
          because,
          swapObstacle: rule.action === 'swap' ? this.#swapObstacle(failing) : undefined,
        }),
      ),
      restarts: this.#ledger.budget.count(this.#nowMs),
      restartsMax: this.#settings.restartsMax,
    };
  }

  /** Why the VM would not be better off on the peer. */
  #swapObstacle(failing: readonly string[]): string | undefined {
    const { mirror } = this.#ports;
    if (mirror.pairing.phase !== 'in-sync') return 'the pair is not in sync';
    const concerned = this.#settings.checks.filter(({ on, name }) => on === 'host' && failing.includes(name));
    const aboutHost = concerned.map(({ name }) => name);
    if (concerned.some((check) => !this.#peerHasAsked(check)))
      return 'the peer is given the time to notice the same';
    const word = this.#peer.current(mirror.channel);
    const obstacle = healthObstacle(aboutHost, this.#failingHere, word);
    if (obstacle !== undefined) return obstacle;
    return this.#ledger.dwells ? `a rule moved it less than ${swapDwellMs / 60_000} minutes ago` : undefined;
  }

  /** What fails for both nodes fails there a little later: the peer has asked since it failed here, and had time to say so. */
  #peerHasAsked({ name, intervalMs, timeoutMs }: CheckSettings): boolean {
    const sinceMs = this.#nowMs - (this.#stateOf(name)?.firstBadMs ?? this.#nowMs);
    return sinceMs >= intervalMs + timeoutMs + 2 * lookIntervalMs;
  }

  /** Checks about this host that fail and lead to more than a word. */
  get #failingHere(): readonly string[] {
    const acting = this.#rules.filter(({ action }) => action !== 'notify').flatMap(({ when }) => when.checks);
    return this.#settings.checks
      .filter(({ on, name }) => on === 'host' && acting.includes(name))
      .map(({ name }) => name)
      .filter((name) => this.#stateOf(name)?.state === 'failing');
  }

  // ---- what the rules ask for -----------------------------------------------------------------------------------------

  #act({ action, rule, row, because, swapObstacle }: ActionDecision): void {
    const { mirror } = this.#ports;
    const { decisions } = mirror;
    const asked = { rule, because };
    if (action !== 'stay' && action !== 'nothing') this.#stays = '';
    switch (action) {
      case 'nothing':
        // What an action under way hides is not over.
        if (row !== 'busy') this.#stays = '';
        return;
      case 'stay': {
        // What a check finds may be worded anew each time.
        const about = `${rule}: ${swapObstacle ?? ''}`;
        if (this.#staysAbout !== about || this.#stays === '')
          decisions.add(rule, row === 'notify' ? 'notify' : 'leave the VM where it is', because);
        this.#staysAbout = about;
        this.#stays = `rule ${rule}: ${because}`;
        return;
      }
      case 'start':
        decisions.add(rule, 'start again', because);
        return this.#command(
          (done) => {
            const before = this.#ledger.waiting;
            this.#ledger.waiting = undefined;
            this.#ledger.keep(() =>
              mirror.start((error) => {
                if (error !== undefined) this.#ledger.waiting = before;
                done(error);
              }),
            );
          },
          () => {},
        );
      case 'leave':
        decisions.add(rule, 'leave and wait', because);
        this.#leaving = { waiting: asked };
        return this.#command(
          (done) => mirror.stop(done, ruleWords(asked)),
          () => {
            this.#ledger.waiting = asked;
            this.#ledger.keep(() => this.look());
          },
        );
      case 'stop':
      case 'stop-at-limit':
        decisions.add(rule, 'stop', because);
        this.#leaving = { stopped: asked };
        return this.#command(
          (done) => mirror.stop(done, ruleWords(asked)),
          () => {
            this.#ledger.stopped = asked;
            this.#ledger.keep(() => this.#ports.stayStopped(() => this.look()));
          },
        );
      case 'swap':
        decisions.add(rule, 'hand the VM over', because);
        return this.#command(
          (done) => {
            const before = this.#ledger.swapMs;
            this.#ledger.swapMs = this.#nowMs;
            // Before the peer has the VM: it counts the dwell from this word.
            this.#tellPeer();
            this.#ledger.keep(() =>
              mirror.swap((error) => {
                if (error !== undefined) this.#ledger.swapMs = before;
                done(error);
              }, ruleWords(asked)),
            );
          },
          () => {},
        );
      case 'restart':
        decisions.add(rule, 'restart the VM', because);
        this.#ledger.budget.spend(this.#nowMs);
        return this.#restartVm(rule);
      case 'start-vm':
        decisions.add(rule, 'start the VM', because);
        this.#noteEndedInMaintenance(false);
        return this.#restartVm(rule);
    }
  }

  /** One command to the mirror at a time; a refusal is said, and it is tried again after a while. */
  #command(give: (done: CommandDone) => void, done: () => void): void {
    this.#acting = true;
    give((error: WorldError | undefined) => {
      this.#acting = false;
      this.#leaving = undefined;
      if (error === undefined) {
        done();
        return this.#setNotes();
      }
      this.#notBeforeMs = this.#nowMs + retryAfterMs;
      this.#ports.log.warn('rule-refused', { wanted: error.wanted, found: error.found });
      this.#stays = `what a rule asked for was refused: wanted ${error.wanted}; found ${error.found}`;
    });
  }

  #restartVm(ruleName: string): void {
    const restart: Restart = { sinceMs: this.#nowMs, down: this.#vmEnded, counted: false };
    this.#restart = restart;
    const checks = this.#rules.find(({ name }) => name === ruleName)?.when.checks ?? [];
    const failing = checks.filter((name) => this.#stateOf(name)?.state === 'failing');
    const isHung = this.#settings.checks.some(({ kind, name }) => kind === 'guest' && failing.includes(name));
    this.#probing.forget(checks.filter((name) => this.#stateOf(name) !== this.#vmWatch));
    this.#ledger.keep(() => {
      if (this.#restart !== restart || !this.#ports.mirror.serving) return;
      restart.counted = true;
      this.#ports.restartVm(isHung ? 'at-once' : 'in-order');
    });
  }

  // ---- what is said -----------------------------------------------------------------------------------------------------

  #tellPeer(): void {
    const { channel, pairing } = this.#ports.mirror;
    const hostChecks = this.#settings.checks.filter(({ on }) => on === 'host').map(({ name }) => name);
    const well = hostChecks.filter((name) => this.#stateOf(name)?.isSteady === true);
    const failing = this.#failingHere;
    const news = [this.#ledger.shared, ...well, '/', ...failing].join(' ');
    this.#peer.tell(channel, pairing.peerHello?.protocols, news, () => ({
      type: 'checks',
      well,
      failing: [...failing],
      ...this.#ledger.word,
    }));
  }

  // ---- for people -----------------------------------------------------------------------------------------------------

  #setNotes(): void {
    const failing = this.#settings.checks.flatMap(({ name }) => {
      const watch = this.#stateOf(name);
      return watch?.state === 'failing' ? [{ name, because: watch.because }] : [];
    });
    this.#ports.mirror.notes = notesOf({
      maintenanceUntil: this.#maintenanceUntil,
      failing,
      stays: this.#stays,
      waiting: this.#ledger.waiting ?? this.#leaving?.waiting,
      stopped: this.#ledger.stopped ?? this.#leaving?.stopped,
    });
  }

  get #maintenanceUntil(): string | undefined {
    const leftMs = this.#ledger.maintenance.leftMs(this.#nowMs);
    return leftMs > 0 ? this.#ports.wallTime(leftMs) : undefined;
  }

  get status(): ChecksStatus {
    return {
      checks: this.#settings.checks.map(({ name, kind, on, action }) => {
        const watch = this.#stateOf(name);
        return { name, kind, on, action, state: watch?.state ?? 'unknown', because: watch?.because ?? '' };
      }),
      restarts: this.#ledger.budget.count(this.#nowMs),
      restartsMax: this.#settings.restartsMax,
      waiting: this.waits,
      maintenanceUntil: this.#maintenanceUntil,
    };
  }
}
