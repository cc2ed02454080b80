/**
 * How this node comes to be allowed to write alone: it asks the arbiter, or asks whether the record still names it, and makes the
 * answer durable before anything follows from it. One question at a time.
 *
 * Order that must hold: what this node holds is flushed before it asks; the intent is durable before it is sent; while it is open, and
 * while the node becomes alone, no handshake completes; the granted generation is durable, what the peer may lack is marked, and
 * the own copy is flushed before the first write is acknowledged alone.
 * When to ask is decided by `decideAlone`; what is served is the mirror's.
 */
import type { Arbiter } from '../arbiter/arbiter.ts';
import { assertNever } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import type { NodeName, OperationId } from '../base/identity.ts';
import {
  type ArbiterRecord,
  pathEntriesMax,
  type PersistentState,
  type PendingOperation,
  type StoreId,
} from '../disk/state.ts';
import type { PrimaryEngine } from '../engine/primary-engine.ts';
import { completion, forEachReplica, type Replica } from '../engine/replica.ts';
import type { SecondaryEngine } from '../engine/secondary-engine.ts';
import { ArbiterOperation, type OperationOutcome, retryIntervalMs } from './arbiter-operation.ts';
import { decideRecord } from './decide-record.ts';
import type { DecisionLog } from './decision-log.ts';
import { type CommandDone, refusal } from './departure.ts';
import type { DiskTrouble } from './disk-trouble.ts';
import type { KeptImage } from './kept-image.ts';
import type { Pairing } from './pairing.ts';
import { lineageAfter } from './forced-start.ts';

/** How often a node that was answered by another store looks whether its own is back, ms. */
export const storeRetryIntervalMs = 5000;

const again = 'look at `vmpair status VM`, and give the command again';

/** Why a node whose operator said `second` asks for nothing. */
export const waitsAsSecondary =
  'the operator asked this node to be secondary; waiting for the peer, or for `vmpair prim VM`';

export interface ClaimsHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly run: 'started' | 'stopped';
    readonly serving: boolean;
    readonly rebooted: boolean;
    readonly config: { readonly bootId: string };
    readonly decisions: DecisionLog;
    readonly pairing: Pairing;
    readonly disk: DiskTrouble;
    readonly keptImage: KeptImage;
    persist(patch: Partial<PersistentState>, then: () => void): void;
  };
  /** Connected to a peer that can take part. */
  peerAnswers(): boolean;
  /** This node leaves, or hands its role over, now. */
  handing(): boolean;
  /** Another part of the module uses the arbiter. */
  arbiterInUse(): boolean;
  operationId(): OperationId;
  /** Ends everything this node serves; `then` when its VM provably does not run. */
  standDown(because: string, then: () => void): void;
  serve(): void;
  changed(): void;
}

export interface ClaimsParts {
  readonly clock: Clock;
  readonly replicas: readonly Replica[];
  readonly primary: PrimaryEngine;
  readonly secondary: SecondaryEngine;
  /** `undefined`: no arbiter. */
  readonly arbiter: Arbiter | undefined;
}

export class Claims {
  readonly #host: ClaimsHost;
  readonly #mirror: ClaimsHost['mirror'];
  readonly #parts: ClaimsParts;
  readonly #operation: ArbiterOperation;
  /** Why the arbiter does not answer, for people; empty when it does. */
  problem = '';
  /** Why this node asks for nothing by itself, for people: the operator's wish, or a record that does not fit. */
  obstacle: string | undefined;
  #readingRecord = false;
  /** Allowed to go on alone, and not there yet: nothing more is asked of anybody. */
  #becomingAlone = false;
  /** Grows when the node stands down or stops: what was on its way to a question or to serving is over. */
  #turn = 0;
  /** The flush before a claim is under way. */
  #flushing = false;
  /** Grows with every connection to the peer: a reason to go on without it from before is none any more. */
  #meetings = 0;
  #readNotBeforeMs = 0;
  /** `prim` was said to this process, and nothing was heard of the peer since. */
  #primSaid = false;

  constructor(host: ClaimsHost, parts: ClaimsParts) {
    this.#host = host;
    this.#mirror = host.mirror;
    this.#parts = parts;
    this.#operation = new ArbiterOperation(parts.arbiter ?? noArbiter, parts.clock, {
      // From the intent on only its store counts for this copy.
      persistPending: (pending, done) =>
        this.#mirror.persist(
          pending?.store === undefined ? { pending } : { pending, arbiterStore: pending.store },
          done,
        ),
      resolved: (outcome) => this.#resolved(outcome),
      unanswered: (because) => {
        this.problem = because;
      },
      yields: () => !this.#mirror.serving,
    });
  }

  /**
   * The operator asked for `prim`, and it is not yet granted or refused. Where nobody keeps a record it is the operator who knows that the
   * peer does not run the VM and did not go on since: that is true when it is said, and not for a later process, nor after the
   * peer was there.
   */
  get forced(): boolean {
    return this.#mirror.state.wish === 'prim' && (this.#primSaid || this.#parts.arbiter !== undefined);
  }
  /** Writes alone by the word of the operator; the arbiter has not confirmed it yet. */
  get isUnconfirmed(): boolean {
    const { path, self } = this.#mirror.state;
    const { open } = this.#operation;
    return open !== undefined && open.next.holder === self && open.next.operationId === path.at(-1);
  }
  /** What is asked of the arbiter now. */
  get open(): PendingOperation | undefined {
    return this.#operation.open;
  }
  /** An operation may have reached the arbiter and has no answer yet. */
  get isOpen(): boolean {
    return this.#operation.open !== undefined;
  }
  /** On the way to a question, or from its answer to writing alone. */
  get underWay(): boolean {
    return this.isOpen || this.#flushing || this.#becomingAlone;
  }
  get isFlushing(): boolean {
    return this.#flushing;
  }
  get becomingAlone(): boolean {
    return this.#becomingAlone;
  }

  /** The operator says `prim`; the wish is persisted by the caller. */
  primIsSaid(): void {
    this.obstacle = undefined;
    this.#primSaid = true;
  }

  /** The module begins to run: of what was in the way before, only the wish of the operator is left. */
  began(): void {
    this.obstacle = this.#mirror.state.wish === 'second' ? waitsAsSecondary : undefined;
  }

  /** Whatever kept this node from going on alone, and what the operator wanted of it, was from before. */
  pairIsInSync(): void {
    this.obstacle = undefined;
    this.problem = '';
    if (this.#mirror.state.wish !== undefined) this.#mirror.persist({ wish: undefined }, () => {});
  }

  /** Asks for the record, or without an arbiter goes on. `done` when the intent is durable, or cannot become so. */
  claim(rule: string, because: string, done: CommandDone = () => {}): void {
    const { state, decisions } = this.#mirror;
    const last = state.path.at(-1);
    const isAsked = this.#parts.arbiter !== undefined;
    if (isAsked && last !== undefined && state.holder === state.self) {
      this.#confirmRecord();
      return done(undefined);
    }
    decisions.add(rule, isAsked ? 'ask the arbiter' : 'go on alone', because);
    this.#flushThenBegin(this.#nextOperation(), done);
  }

  /** An operation that was prepared elsewhere, for the store that this copy knows unless it names another; without an arbiter it is granted. */
  begin(operation: PendingOperation, durable: () => void = () => {}): void {
    if (this.#parts.arbiter === undefined && operation.next.holder !== 'both')
      this.#granted(operation, undefined, durable);
    else this.#operation.begin({ store: this.#mirror.state.arbiterStore, ...operation }, durable);
  }

  /**
   * The operator says that the peer is off, and the arbiter does not answer: goes on alone with a claim that is open until the arbiter
   * has answered it. The lineage is that of the claim from the first write on; so whatever the arbiter says later, no handshake takes
   * one of the copies for the past of the other. `done` when that is durable.
   */
  goOnUnconfirmed(done: CommandDone): void {
    // Of an open claim, everything has been flushed.
    if (this.#operation.open !== undefined) return this.#goOnWith(this.#operation.open, done);
    this.#flushing = true;
    const turn = this.#turn;
    this.#flushOwn((ok) => {
      const given = (found: string): void => done(refusal('to go on alone', found, again));
      if (!ok) this.#mirror.disk.failed('every volume', 'the flush before going on alone');
      if (this.#turn !== turn) return given('that this node stood down meanwhile');
      this.#flushing = false;
      if (!ok) return given('that the flush before it failed');
      this.#goOnWith(this.#operation.open ?? this.#nextOperation(), done);
    });
  }

  #goOnWith(pending: PendingOperation, done: CommandDone): void {
    const { state, config, decisions } = this.#mirror;
    const { operationId, generation, holder } = pending.next;
    decisions.add(
      'prim-without-arbiter',
      'go on alone',
      `the operator says that ${state.peer} is off; the arbiter is asked until it answers, and its word counts then`,
    );
    this.#becomingAlone = true;
    const turn = this.#turn;
    const path = [...state.path, operationId].slice(-pathEntriesMax);
    const alone = {
      role: 'primary',
      data: 'up-to-date',
      bootId: config.bootId,
      peerData: 'unknown',
    } as const;
    this.#mirror.persist({ path, generation, holder, pending, wish: undefined, ...alone }, () => {
      if (this.#turn !== turn) return;
      if (this.#operation.open === undefined && this.#mirror.state.pending !== undefined)
        this.#operation.continue(pending);
      this.obstacle = undefined;
      this.becomeAlone();
      done(undefined);
    });
  }

  /** The claim that follows from what this copy knows of the record. */
  #nextOperation(): PendingOperation {
    const { path, holder, generation, self, arbiterStore: store } = this.#mirror.state;
    const operationId = path.at(-1);
    const expected =
      operationId === undefined || holder === undefined ? undefined : { generation, holder, operationId };
    // Nobody else could say so: it goes on in the lineage in which it was alone already.
    const staysAlone = this.#parts.arbiter === undefined && holder === self;
    if (staysAlone && expected !== undefined) return { store, expected, next: expected };
    return { store, expected, next: nextRecord(expected?.generation ?? 0, self, this.#host.operationId()) };
  }

  /** An intent that an earlier process left. */
  continue(operation: PendingOperation): void {
    this.#operation.continue(operation);
    // It wrote alone by the word of the operator until its process ended a moment ago.
    const { serving, rebooted, state, disk } = this.#mirror;
    if (this.isUnconfirmed && serving && !rebooted && state.data === 'up-to-date' && disk.doubt === 'none')
      this.becomeAlone();
  }

  /** The peer is back: a claim that provably never left this node is given up. */
  peerIsBack(): void {
    this.#meetings += 1;
    this.#primSaid = false;
    // The operator's choice of the first copy does not depend on the peer.
    if (this.#operation.open?.expected === undefined || this.isUnconfirmed) return;
    this.#operation.withdrawIfUnsent(() => {
      this.problem = '';
      this.#mirror.decisions.add(
        'claim-withdrawn',
        'withdraw',
        'the peer is back and the arbiter was never reached',
      );
      this.#mirror.pairing.sayHello();
    });
  }

  /** The node stands down: whatever was on its way to serving is over. */
  standsDown(): void {
    this.#turn += 1;
    this.#becomingAlone = false;
    this.#flushing = false;
    this.#readingRecord = false;
  }

  /** The connection ended: what the operator said while the peer was there is no word about a peer that is not. */
  peerIsLost(): void {
    this.#primSaid = false;
  }

  /** The module stops: nothing is sent any more, and an open intent stays in the superblock. */
  stop(): void {
    this.standsDown();
    this.#primSaid = false;
    this.#operation.stop();
  }

  /** Allowed to write alone, durably. What the peer may lack becomes dirty, the own copy is flushed, then it goes on. */
  becomeAlone(): void {
    const { primary, secondary } = this.#parts;
    // The peer's word that it left may come while this module stops.
    this.#becomingAlone = this.#mirror.run !== 'stopped';
    if (!this.#becomingAlone) return;
    this.#mirror.pairing.resumeWithBoot = undefined;
    const turn = this.#turn;
    secondary.whenIdle(() => {
      if (this.#turn !== turn) return;
      primary.hold();
      const goOn = (): void => {
        this.#becomingAlone = false;
        this.#host.serve();
        // A peer that came back meanwhile learns the new generation.
        this.#mirror.pairing.sayHello();
      };
      if (primary.soloAllowed) {
        primary.allowSolo();
        return goOn();
      }
      primary.goAlone((ok) => {
        if (ok) goOn();
      });
    });
  }

  /**
   * What this node acknowledged or confirmed must be on its stable storage before it can be named holder: from then on the
   * other copy does not count, and this host may lose power before it could do anything else.
   */
  #flushThenBegin(operation: PendingOperation, done: CommandDone): void {
    const meetings = this.#meetings;
    this.#flushing = true;
    const turn = this.#turn;
    this.#flushOwn((ok) => {
      const isCurrent = this.#turn === turn;
      if (isCurrent) this.#flushing = false;
      const { state, disk, run, pairing } = this.#mirror;
      const given = (found: string): void => done(refusal('to ask the arbiter', found, again));
      if (!ok) {
        disk.failed('every volume', 'the flush before asking the arbiter');
        return given('that the flush before it failed');
      }
      if (!isCurrent) return given('that this node stood down meanwhile');
      const stillWanted = state.path.at(-1) === operation.expected?.operationId && !this.#host.arbiterInUse();
      const isBusy = run === 'stopped' || this.#host.handing() || disk.present;
      if (isBusy || !stillWanted || (operation.expected !== undefined && this.#host.peerAnswers()))
        return given('that something else came first');
      if (this.#parts.arbiter === undefined) {
        // Nobody else would see that the reason is gone; the operator's choice of the first copy needs none.
        const isReason = this.#meetings === meetings || operation.expected === undefined;
        if (!isReason) return given('that the peer was back meanwhile');
        return this.#granted(operation, undefined, () => done(undefined));
      }
      this.#operation.begin(operation, () => done(undefined));
      // A connected peer that cannot take part now may be able to before the arbiter has answered.
      pairing.sayHello();
    });
  }

  #flushOwn(then: (ok: boolean) => void): void {
    const { replicas, secondary } = this.#parts;
    secondary.whenIdle(() =>
      forEachReplica(replicas, (replica, flushed) => replica.device.flush(completion(flushed)), then),
    );
  }

  /** This node was alone by the record when it stopped or crashed: it may go on if the record still says so. */
  #confirmRecord(): void {
    const { clock, arbiter } = this.#parts;
    if (this.#readingRecord || clock.nowMs() < this.#readNotBeforeMs) return;
    this.#readingRecord = true;
    const turn = this.#turn;
    arbiter?.read((answer) => {
      if (this.#turn !== turn) return;
      const { run, disk } = this.#mirror;
      this.#readingRecord = false;
      this.#readNotBeforeMs = clock.nowMs() + retryIntervalMs;
      if (run === 'stopped' || this.#host.peerAnswers() || this.#host.arbiterInUse() || disk.present) return;
      if (answer.kind === 'no-answer') {
        this.problem = answer.because;
        return;
      }
      this.problem = '';
      this.#follow(answer.record, answer.store);
    });
  }

  #resolved(outcome: OperationOutcome): void {
    this.problem = '';
    switch (outcome.kind) {
      case 'granted':
        return this.#granted(outcome.operation, outcome.store);
      case 'refused':
        if (this.#isOfCopyGivenUp(outcome.operation, outcome.record))
          return this.#askForBothAfter(outcome.record, outcome.operation);
        return this.#follow(outcome.record, outcome.store, outcome.operation);
      case 'other-store':
        return this.#follow(undefined, outcome.store, outcome.operation);
      default:
        assertNever(outcome, 'outcome of an arbiter operation');
    }
  }

  /**
   * At the end of a resync the peer's copy is durably inconsistent, and it has agreed to be the target: a record that names it is of a copy
   * that was given up (by a `resolve` of which this node has not heard).
   */
  #isOfCopyGivenUp({ next }: PendingOperation, record: ArbiterRecord | undefined): record is ArbiterRecord {
    const { pairing, state } = this.#mirror;
    return next.holder === 'both' && pairing.phase === 'finishing' && record?.holder === state.peer;
  }

  #askForBothAfter(expected: ArbiterRecord, { store, next }: PendingOperation): void {
    const generation = Math.max(expected.generation, this.#mirror.state.generation) + 1;
    const again = { ...next, generation, operationId: this.#host.operationId() };
    this.#operation.begin({ store, expected, next: again });
  }

  #granted(
    { next }: PendingOperation,
    arbiterStore: StoreId | undefined,
    durable: () => void = () => {},
  ): void {
    const { state, pairing, decisions, config, disk } = this.#mirror;
    const isConfirmed = state.path.at(-1) === next.operationId;
    const lineage = {
      ...lineageAfter(state, next),
      arbiterStore,
      pending: undefined,
      peerData: 'unknown' as const,
      wish: undefined,
    };
    this.obstacle = undefined;
    if (next.holder === 'both') {
      // After a first synchronisation: the peer will have this lineage even if its confirmation is lost.
      const base = state.base ?? state.path.at(-1);
      this.#mirror.persist({ ...lineage, base }, () => {
        pairing.recordSaysBoth();
        pairing.sayHello();
        this.#host.changed();
      });
      return;
    }
    decisions.add(
      'arbiter-granted',
      'go on alone',
      `the arbiter's record names this node (generation ${next.generation})`,
    );
    const patch = { ...lineage, role: 'primary', data: 'up-to-date', bootId: config.bootId } as const;
    // It writes alone already: now the record says so too.
    if (isConfirmed && this.#parts.primary.soloAllowed) {
      return this.#mirror.persist(patch, () => {
        pairing.sayHello();
        this.#host.changed();
      });
    }
    // A claim of an earlier process: the record is right, and the disk has to be accepted before anything is served from it.
    if (disk.doubt !== 'none')
      return this.#mirror.persist(patch, () => {
        durable();
        this.#host.changed();
      });
    this.#becomingAlone = true;
    const turn = this.#turn;
    // Nothing that was proposed before may complete beside it: a peer that was out may be back just now.
    pairing.sayHello();
    this.#mirror.persist(patch, () => {
      durable();
      this.#mirror.keptImage.discard();
      if (this.#turn === turn) this.becomeAlone();
    });
  }

  /** What the record means for this copy, and that it happens. */
  #follow(record: ArbiterRecord | undefined, store: StoreId, asked?: PendingOperation): void {
    const { state, pairing, decisions } = this.#mirror;
    // It went on by the word of the operator, and nobody else says so.
    const wasUnconfirmed = asked !== undefined && asked.next.operationId === state.path.at(-1);
    const { action, rule, because } = decideRecord({ copy: state, record, store });
    switch (action) {
      case 'go-on-alone':
        decisions.add(rule, 'go on alone', because);
        if (this.forced) return this.#mirror.persist({ wish: undefined }, () => this.becomeAlone());
        return this.becomeAlone();
      case 'stand-down': {
        decisions.add(rule, 'destroy the VM and wait', because);
        const data = state.data === 'up-to-date' ? 'outdated' : state.data;
        return this.#host.standDown(because, () => {
          this.#mirror.persist({ pending: undefined, ...primIsOver(state), data, role: 'secondary' }, () => {
            pairing.sayHello();
            this.#host.changed();
          });
        });
      }
      case 'wait':
        if (wasUnconfirmed) this.#host.standDown(because, () => this.#wait(rule, because));
        else this.#wait(rule, because);
        // The way to the arbiter may have led to a wrong one for a while only.
        if (rule === 'other-store') this.#awaitOwnStore();
        return;
      default:
        assertNever(action, 'what a record means');
    }
  }

  #wait(rule: string, because: string): void {
    this.obstacle = because;
    this.#mirror.decisions.add(rule, 'wait', because);
    this.#mirror.persist({ pending: undefined, ...primIsOver(this.#mirror.state) }, () => {
      this.#mirror.pairing.sayHello();
      this.#host.changed();
    });
  }

  #awaitOwnStore(): void {
    const { arbiter, clock } = this.#parts;
    const { obstacle } = this;
    clock.after(storeRetryIntervalMs, () => {
      if (this.#mirror.run === 'stopped' || obstacle === undefined || this.obstacle !== obstacle) return;
      arbiter?.read((answer) => {
        if (this.obstacle !== obstacle) return;
        const { arbiterStore } = this.#mirror.state;
        if (answer.kind === 'no-answer' || answer.store !== arbiterStore) return this.#awaitOwnStore();
        this.obstacle = undefined;
        this.#host.changed();
      });
    });
  }
}

/** A `prim` was answered; that the operator wants a secondary goes on. */
function primIsOver({ wish }: PersistentState): Pick<PersistentState, 'wish'> {
  return wish === 'prim' ? { wish: undefined } : {};
}

function nextRecord(generation: number, holder: NodeName, operationId: OperationId): ArbiterRecord {
  return { generation: generation + 1, holder, operationId };
}

/**
 * Without an arbiter nobody else keeps a record: the primary that has resynchronised its peer decides by itself that both hold it.
 * Going on alone is decided before anything is asked, see `decideAlone`.
 */
const noArbiter: Arbiter = {
  swap: ({ next }, answered) => answered({ kind: 'granted', record: next, store: undefined }),
  read: (answered) => answered({ kind: 'no-answer', because: 'no arbiter is configured' }),
};
