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
import type { ArbiterRecord, PersistentState, PendingOperation, StoreId } from '../disk/state.ts';
import type { PrimaryEngine } from '../engine/primary-engine.ts';
import { completion, forEachReplica, type Replica } from '../engine/replica.ts';
import type { SecondaryEngine } from '../engine/secondary-engine.ts';
import { ArbiterOperation, type OperationOutcome, retryIntervalMs } from './arbiter-operation.ts';
import { decideRecord } from './decide-record.ts';
import type { DecisionLog } from './decision-log.ts';
import type { DiskTrouble } from './disk-trouble.ts';
import type { KeptImage } from './kept-image.ts';
import type { Pairing } from './pairing.ts';
import { lineageAfter } from './start-from-image.ts';

/** How often a node that was answered by another store looks whether its own is back, ms. */
export const storeRetryIntervalMs = 5000;

export interface ClaimsHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly run: 'started' | 'stopped';
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
  /** The operator asked for `prim`, and it is not yet granted or refused. */
  forced = false;
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
    });
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

  /** Asks for the record, or without an arbiter goes on. */
  claim(rule: string, because: string): void {
    const { state, decisions } = this.#mirror;
    const last = state.path.at(-1);
    const isAsked = this.#parts.arbiter !== undefined;
    if (isAsked && last !== undefined && state.holder === state.self) return this.#confirmRecord();
    decisions.add(rule, isAsked ? 'ask the arbiter' : 'go on alone', because);
    const expected =
      last === undefined || state.holder === undefined
        ? undefined
        : { generation: state.generation, holder: state.holder, operationId: last };
    const generation = isAsked ? (expected?.generation ?? 0) : state.generation;
    const next = nextRecord(generation, state.self, this.#host.operationId());
    this.#flushThenBegin({ store: state.arbiterStore, expected, next });
  }

  /** An operation that was prepared elsewhere, for the store that this copy knows unless it names another; without an arbiter it is granted. */
  begin(operation: PendingOperation): void {
    if (this.#parts.arbiter === undefined && operation.next.holder !== 'both')
      this.#granted(operation, undefined);
    else this.#operation.begin({ store: this.#mirror.state.arbiterStore, ...operation });
  }

  /** An intent that an earlier process left. */
  continue(operation: PendingOperation): void {
    this.#operation.continue(operation);
  }

  /** The peer is back: a claim that provably never left this node is given up. */
  peerIsBack(): void {
    this.#meetings += 1;
    // The operator's choice of the first copy does not depend on the peer.
    if (this.#operation.open?.expected === undefined) return;
    this.#operation.withdrawIfUnsent(() => {
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

  /** The module stops: nothing is sent any more, and an open intent stays in the superblock. */
  stop(): void {
    this.standsDown();
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
  #flushThenBegin(operation: PendingOperation): void {
    const { replicas, secondary, arbiter } = this.#parts;
    const meetings = this.#meetings;
    this.#flushing = true;
    const turn = this.#turn;
    secondary.whenIdle(() =>
      forEachReplica(
        replicas,
        (replica, flushed) => replica.device.flush(completion(flushed)),
        (ok) => {
          const isCurrent = this.#turn === turn;
          if (isCurrent) this.#flushing = false;
          const { state, disk, run, pairing } = this.#mirror;
          if (!ok) return disk.failed('every volume', 'the flush before asking the arbiter');
          if (!isCurrent) return;
          const stillWanted =
            state.path.at(-1) === operation.expected?.operationId && !this.#host.arbiterInUse();
          if (run === 'stopped' || this.#host.handing() || disk.present || !stillWanted) return;
          if (operation.expected !== undefined && this.#host.peerAnswers()) return;
          if (arbiter === undefined) {
            // Nobody else would see that the reason is gone; the operator's choice of the first copy needs none.
            const isReason = this.#meetings === meetings || operation.expected === undefined;
            if (isReason) this.#granted(operation, undefined);
            return;
          }
          this.#operation.begin(operation);
          // A connected peer that cannot take part now may be able to before the arbiter has answered.
          pairing.sayHello();
        },
      ),
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
        return this.#follow(outcome.record, outcome.store);
      case 'other-store':
        return this.#follow(undefined, outcome.store);
      default:
        assertNever(outcome, 'outcome of an arbiter operation');
    }
  }

  #granted({ next }: PendingOperation, arbiterStore: StoreId | undefined): void {
    const { state, pairing, decisions, config, disk } = this.#mirror;
    const lineage = {
      ...lineageAfter(state, next),
      arbiterStore,
      pending: undefined,
      peerData: 'unknown' as const,
    };
    this.forced = false;
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
    // A claim of an earlier process: the record is right, and the disk has to be accepted before anything is served from it.
    if (disk.doubt !== 'none') return this.#mirror.persist(patch, () => this.#host.changed());
    this.#becomingAlone = true;
    const turn = this.#turn;
    // Nothing that was proposed before may complete beside it: a peer that was out may be back just now.
    pairing.sayHello();
    this.#mirror.persist(patch, () => {
      this.#mirror.keptImage.discard();
      if (this.#turn === turn) this.becomeAlone();
    });
  }

  /** What the record means for this copy, and that it happens. */
  #follow(record: ArbiterRecord | undefined, store: StoreId): void {
    const { state, pairing, decisions } = this.#mirror;
    const { action, rule, because } = decideRecord({ copy: state, record, store });
    switch (action) {
      case 'go-on-alone':
        decisions.add(rule, 'go on alone', because);
        this.forced = false;
        return this.becomeAlone();
      case 'stand-down': {
        decisions.add(rule, 'destroy the VM and wait', because);
        const data = state.data === 'up-to-date' ? 'outdated' : state.data;
        return this.#host.standDown(because, () => {
          this.#mirror.persist({ pending: undefined, data, role: 'secondary' }, () => {
            pairing.sayHello();
            this.#host.changed();
          });
        });
      }
      case 'wait':
        this.#wait(rule, because);
        // The way to the arbiter may have led to a wrong one for a while only.
        if (rule === 'other-store') this.#awaitOwnStore();
        return;
      default:
        assertNever(action, 'what a record means');
    }
  }

  #wait(rule: string, because: string): void {
    this.obstacle = because;
    this.forced = false;
    this.#mirror.decisions.add(rule, 'wait', because);
    this.#mirror.persist({ pending: undefined }, () => {
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
