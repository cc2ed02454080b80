/**
 * The start of one VM in its turn among all VMs of the node: says on the board what this module is about to do, reads what the
 * others say, decides by the turn table, and holds one of the slots while the VM starts.
 *
 * Invariants: only the start of a VM waits here; taking over, serving the volumes and a VM that runs already do not. When nothing else
 * starts, the first question is answered with yes. A slot is held until the VM runs or is not to run any more, and at the
 * longest `slotHeldMaxMs`; then the VM goes behind those that have had no turn.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { restartedSince, startsOf } from './decide-restart-with.ts';
import {
  decideTurn,
  delayRestMs,
  missingDependencies,
  runs,
  slotHeldMaxMs,
  slotsNeeded,
  type TurnDecision,
  type TurnSituation,
} from './decide-turn.ts';
import { type ExpectationFacts, expectedWithinMs } from './expected-start.ts';
import type { StartNotice, VmNeeds } from './start-notice.ts';
import type { Slot, SlotState, StartBoard } from './start-ports.ts';
import type { StartSettings } from './start-settings.ts';

/** How often a module that waits looks whether its turn has come, ms. */
const turnIntervalMs = 50;
/** How often a module looks how those are that its VM starts after, ms. */
const othersIntervalMs = 1000;

export interface OrderFacts extends ExpectationFacts {
  /** Where the VM of the pair runs, as far as this node knows. */
  readonly vm: StartNotice['vm'];
  /** The start of the VM that runs at the peer. */
  readonly peerVmStart: string | undefined;
}

export interface StartOrderOptions {
  readonly module: string;
  readonly settings: StartSettings;
  /** How many VMs of this node may start at the same time. */
  readonly concurrent: number;
  readonly needs: VmNeeds | undefined;
  readonly newStartId: () => string;
}

export interface StartOrderEvents {
  facts(): OrderFacts;
  /** The VM that was refused a start before may start now. */
  turnCame(): void;
  decided(rule: string, action: string, because: string): void;
  /** A VM that this one is restarted with was started anew. */
  restartVm(because: string): void;
}

export class StartOrder {
  readonly #options: StartOrderOptions;
  readonly #board: StartBoard;
  readonly #clock: Clock;
  readonly #events: StartOrderEvents;
  #settings: StartSettings;
  /** Since when the VM is to start; `undefined`: it is not. */
  #wantedSinceMs: number | undefined;
  #phase: 'waiting' | 'ready';
  #afterRunSinceMs: number | undefined;
  /** The start of the VM that ran at the peer; `undefined`: it was started here since. */
  #movedFrom: string | undefined;
  /** The restart that was asked for: of which start of this VM, for which starts of others. */
  #restartAsked = '';
  #lookedAtOthersMs = Number.NEGATIVE_INFINITY;
  #failedTurns = 0;
  #slot: Slot | undefined;
  #slotEnd: Timer | undefined;
  #turnLook: Timer | undefined;
  /** By when the VM is expected to be started; fixed when this node begins to expect it, so that nobody waits for ever. */
  #expected: { readonly claimOpen: boolean; readonly byMs: number } | undefined;
  #waits: TurnDecision | undefined;
  /** What was said of the wait: once for other VMs, once for a slot. */
  #saidFor: string | undefined;

  constructor(options: StartOrderOptions, board: StartBoard, clock: Clock, events: StartOrderEvents) {
    this.#options = options;
    this.#board = board;
    this.#clock = clock;
    this.#events = events;
    this.#settings = options.settings;
    this.#phase = this.#firstPhase;
  }

  /** These count from the next look on; a VM that starts or runs is not touched. */
  configure(settings: StartSettings): void {
    this.#settings = settings;
    this.#afterRunSinceMs = undefined;
  }

  /** Why the VM does not start yet, for people; `undefined`: it is not kept waiting. */
  get waits(): string | undefined {
    return this.#waits?.because;
  }

  /** The start of the VM that runs now, wherever it runs; `undefined`: not known. */
  get vmStart(): string | undefined {
    const { vm, peerVmStart } = this.#events.facts();
    if (vm === 'at-peer') return peerVmStart;
    return vm === 'here' ? this.#board.vmStart()?.id : undefined;
  }

  /** What this module says of itself, and what the others say. */
  get notices(): readonly StartNotice[] {
    return [this.#notice(), ...this.#board.others()];
  }

  /** Tells the other modules what this one is about to do, and looks after those that it depends on. Several times a second. */
  look(): void {
    this.#lookForLiveMove();
    this.#board.publish(this.#notice());
    const settings = this.#settings;
    const nowMs = this.#board.nowMs();
    if (settings.after.length === 0 || nowMs - this.#lookedAtOthersMs < othersIntervalMs) return;
    this.#lookedAtOthersMs = nowMs;
    const others = this.#board.others();
    this.#observeAfter(() => others, nowMs);
    if (settings.restartWith) this.#lookForRestarts(others);
  }

  /** Whether the VM may start now. After a no, `turnCame` follows when it may. */
  mayStart(): boolean {
    if (this.#slot !== undefined) return true;
    this.#wantedSinceMs ??= this.#board.nowMs();
    this.#turnLook?.cancel();
    const situation = this.#situation(this.#wantedSinceMs);
    const decision = decideTurn(situation);
    const slot = decision.action === 'take-slot' ? this.#board.takeSlot(situation.slots.length) : undefined;
    if (slot === undefined) {
      // Somebody else was faster with the slot: then there is nothing new to say.
      if (decision.action === 'wait') this.#wait(decision);
      this.#turnLook = this.#clock.after(turnIntervalMs, () => {
        if (this.mayStart()) this.#events.turnCame();
      });
      return false;
    }
    this.#hold(slot, decision, situation);
    return true;
  }

  /** The VM runs, or is not to start any more. */
  end(): void {
    if (this.#wantedSinceMs === undefined) return;
    this.#turnLook?.cancel();
    this.#giveSlotBack();
    this.#wantedSinceMs = undefined;
    this.#failedTurns = 0;
    this.#phase = this.#firstPhase;
    this.#waits = undefined;
    this.#saidFor = undefined;
    this.#board.publish(this.#notice());
  }

  /** Before the others were looked at. One that has nothing to wait for is seen as ready by those that come at the same time. */
  get #firstPhase(): 'waiting' | 'ready' {
    const { after, delayMs } = this.#settings;
    return after.length === 0 && delayMs === 0 ? 'ready' : 'waiting';
  }

  #observeAfter(others: () => readonly StartNotice[], nowMs: number): void {
    const allRun = this.#settings.after.every(({ module }) => runs(module, others()));
    this.#afterRunSinceMs = allRun ? (this.#afterRunSinceMs ?? nowMs) : undefined;
  }

  #situation(sinceMs: number): TurnSituation {
    const { concurrent } = this.#options;
    const settings = this.#settings;
    const nowMs = this.#board.nowMs();
    // Said before the others are read: of two that come at the same time, each sees the other.
    this.#board.publish(this.#notice());
    let read: readonly StartNotice[] | undefined;
    const others = (): readonly StartNotice[] => (read ??= this.#board.others());
    this.#observeAfter(others, nowMs);
    const self = { ...this.#notice(), sinceMs };
    const slots = this.#slots(nowMs);
    const afterRunSinceMs = this.#afterRunSinceMs;
    const situation: TurnSituation = {
      self,
      settings,
      slots,
      concurrent,
      nowMs,
      afterRunSinceMs,
      get others() {
        return others();
      },
    };
    const missing = missingDependencies(situation);
    const waits = missing.required.length > 0 || missing.other.length > 0 || delayRestMs(situation) > 0;
    const phase = waits ? 'waiting' : 'ready';
    if (phase !== this.#phase) {
      this.#phase = phase;
      this.#board.publish(this.#notice());
    }
    return situation;
  }

  /** As many slots as are needed for `concurrent` that work. */
  #slots(nowMs: number): readonly SlotState[] {
    let slots = this.#board.slots(this.#options.concurrent);
    for (;;) {
      const needed = slotsNeeded(slots, this.#options.concurrent, nowMs);
      if (needed <= slots.length) return slots;
      slots = this.#board.slots(needed);
    }
  }

  #wait(decision: TurnDecision): void {
    this.#waits = decision;
    if (this.#saidFor === this.#phase) return;
    this.#saidFor = this.#phase;
    this.#events.decided(decision.rule, 'wait with the start of the VM', decision.because);
  }

  #hold(slot: Slot, { rule, because }: TurnDecision, situation: TurnSituation): void {
    const { self, nowMs } = situation;
    this.#slot = slot;
    this.#movedFrom = undefined;
    const waited = this.#waits !== undefined;
    this.#waits = undefined;
    this.#saidFor = undefined;
    this.#slotEnd = this.#clock.after(slotHeldMaxMs, () => this.#slotTimeIsOver());
    this.#board.recordVmStart({
      id: this.#options.newStartId(),
      startedWith: self.after.length === 0 ? {} : startsOf(self, situation.others),
    });
    this.#board.publish(this.#notice());
    const howLong = `; it waited ${((nowMs - self.sinceMs) / 1000).toFixed(1)} s`;
    if (waited || rule !== 'start-turn')
      this.#events.decided(rule, 'start the VM', `${because}${waited ? howLong : ''}`);
  }

  #slotTimeIsOver(): void {
    this.#giveSlotBack();
    this.#failedTurns += 1;
    this.#wantedSinceMs = this.#board.nowMs();
    this.#board.publish(this.#notice());
    this.#events.decided(
      'start-slot-given-back',
      'let other VMs start',
      `the VM did not run within ${slotHeldMaxMs} ms of its start; it is tried again after the others`,
    );
  }

  #giveSlotBack(): void {
    this.#slotEnd?.cancel();
    this.#slot?.release();
    this.#slot = undefined;
  }

  /** A VM that runs here without having been started here since it ran at the peer was moved live: it is the same start. */
  #lookForLiveMove(): void {
    const { vm, peerVmStart } = this.#events.facts();
    if (vm === 'at-peer') this.#movedFrom = peerVmStart;
    if (vm !== 'here' || this.#movedFrom === undefined) return;
    this.#board.recordVmStart({ id: this.#movedFrom, startedWith: {} });
    this.#movedFrom = undefined;
  }

  #lookForRestarts(others: readonly StartNotice[]): void {
    const record = this.#board.vmStart();
    if (record === undefined || this.#events.facts().vm !== 'here') return;
    const now = startsOf(this.#notice(), others);
    // What it was started without and runs now is what it is with from now on.
    const isNew = Object.keys(now).some((name) => !(name in record.startedWith));
    if (isNew) this.#board.recordVmStart({ ...record, startedWith: { ...now, ...record.startedWith } });
    const restarted = restartedSince(record.startedWith, now);
    // The next start of this VM puts it right; a process that dies before leaves it to the next one.
    const asked = JSON.stringify([record.id, ...restarted.map((name) => now[name])]);
    if (restarted.length === 0 || asked === this.#restartAsked) return;
    this.#restartAsked = asked;
    this.#events.restartVm(`${restarted.join(', ')}, which it is restarted with, was started anew`);
  }

  #notice(): StartNotice {
    const { module, needs } = this.#options;
    const settings = this.#settings;
    const facts = this.#events.facts();
    const vmStart = this.vmStart;
    return {
      version: 1,
      module,
      priority: settings.priority,
      after: settings.after.map((each) => each.module),
      phase: this.#phaseNow(facts),
      sinceMs: this.#wantedSinceMs ?? 0,
      expectedByMs: this.#expected?.byMs ?? 0,
      failedTurns: this.#failedTurns,
      vm: facts.vm,
      ...(vmStart === undefined ? {} : { vmStart }),
      wouldRun: facts.hasVm && facts.started,
      ...(needs === undefined ? {} : { needs }),
    };
  }

  #phaseNow(facts: OrderFacts): StartNotice['phase'] {
    const withinMs = expectedWithinMs(facts);
    if (withinMs === undefined) this.#expected = undefined;
    else if (this.#expected?.claimOpen !== facts.claimOpen)
      this.#expected = { claimOpen: facts.claimOpen, byMs: this.#board.nowMs() + withinMs };
    if (this.#slot !== undefined) return 'starting';
    if (this.#wantedSinceMs !== undefined) return this.#phase;
    return this.#expected === undefined ? 'idle' : 'expected';
  }
}
