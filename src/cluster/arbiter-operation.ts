/**
 * One operation on the arbiter's record at a time: decided, persisted, and then sent again until the arbiter answers for
 * its id. While it is open no handshake completes. An operation that provably never left this node may be withdrawn, durably.
 */
import { assertInvariant } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Arbiter } from '../arbiter/arbiter.ts';
import type { ArbiterRecord, PendingOperation, StoreId } from '../disk/state.ts';

/** Pause between two attempts to reach the arbiter. */
export const retryIntervalMs = 500;
/**
 * Head start of a peer whose VM waits for the same arbiter, from its first answer after it was away: an attempt of the peer that
 * runs then ends within 2 s, and the next one begins after the pause.
 */
export const headStartMs = 3000;

export type OperationOutcome =
  | {
      readonly kind: 'granted';
      readonly operation: PendingOperation;
      /** Absent: there is no arbiter. */
      readonly store: StoreId | undefined;
    }
  | {
      readonly kind: 'refused';
      readonly operation: PendingOperation;
      readonly record: ArbiterRecord | undefined;
      readonly store: StoreId;
    }
  | { readonly kind: 'other-store'; readonly operation: PendingOperation; readonly store: StoreId };

export interface ArbiterOperationPort {
  /** Makes the intent (or, with `undefined`, its withdrawal) durable in the superblock. */
  persistPending(pending: PendingOperation | undefined, done: () => void): void;
  /** The arbiter has answered. The receiver persists the consequence and the end of the intent in one step. */
  resolved(outcome: OperationOutcome): void;
  /** For people: the arbiter does not answer. */
  unanswered(because: string): void;
  /**
   * The VM does not wait on this node, and may wait on the other one: when a switch was away, and both come back to the arbiter, the VM
   * should go on where it is, and not boot on the other node.
   */
  yields(): boolean;
}

export class ArbiterOperation {
  readonly #arbiter: Arbiter;
  readonly #clock: Clock;
  readonly #port: ArbiterOperationPort;
  #open: PendingOperation | undefined;
  /** A byte of it may have left this node. */
  #maybeSent = false;
  #attemptRunning = false;
  /** The last attempt was not answered. */
  #unanswered = false;
  #withdrawing: (() => void) | undefined;
  #retry: Timer | undefined;
  /** Changes with every operation and every stop: an answer to something earlier is nobody's. */
  #turn = 0;

  constructor(arbiter: Arbiter, clock: Clock, port: ArbiterOperationPort) {
    this.#arbiter = arbiter;
    this.#clock = clock;
    this.#port = port;
  }

  get open(): PendingOperation | undefined {
    return this.#open;
  }

  /** A new intent: persisted first, `durable` is called, then it is sent. */
  begin(operation: PendingOperation, durable: () => void = () => {}): void {
    assertInvariant(this.#open === undefined, 'one arbiter operation at a time');
    const turn = this.#beginTurn(operation);
    this.#attemptRunning = true;
    this.#port.persistPending(operation, () => {
      if (this.#turn !== turn) return;
      this.#attemptRunning = false;
      durable();
      this.#attempt();
    });
  }

  /** An intent that was found in the superblock: nobody knows whether it was sent. */
  continue(operation: PendingOperation): void {
    assertInvariant(this.#open === undefined, 'one arbiter operation at a time');
    this.#beginTurn(operation);
    this.#maybeSent = true;
    this.#attempt();
  }

  /** Gives the intent up if it provably never left this node; `done` when it is durably gone. Otherwise nothing happens. */
  withdrawIfUnsent(done: () => void): void {
    if (this.#open === undefined || this.#maybeSent || this.#withdrawing !== undefined) return;
    this.#withdrawing = done;
    if (!this.#attemptRunning) this.#withdraw();
  }

  /** Nothing is sent any more and no answer counts; the intent stays in the superblock, to be continued after a start. */
  stop(): void {
    this.#beginTurn(undefined);
  }

  #beginTurn(operation: PendingOperation | undefined): number {
    this.#turn += 1;
    this.#retry?.cancel();
    this.#open = operation;
    this.#maybeSent = false;
    this.#attemptRunning = false;
    this.#unanswered = false;
    this.#withdrawing = undefined;
    return this.#turn;
  }

  #attempt(): void {
    const operation = this.#open;
    if (operation === undefined || this.#attemptRunning) return;
    if (this.#withdrawing !== undefined && !this.#maybeSent) return this.#withdraw();
    if (this.#unanswered && this.#port.yields()) return this.#askFirst(operation.expected);
    this.#attemptRunning = true;
    const turn = this.#turn;
    this.#arbiter.swap(operation, (answer) => {
      if (this.#turn !== turn) return;
      this.#attemptRunning = false;
      if (answer.kind === 'no-answer') {
        this.#maybeSent ||= answer.sent;
        this.#noAnswer(answer.because);
        return;
      }
      this.#open = undefined;
      this.#withdrawing = undefined;
      this.#port.resolved({ ...answer, operation });
    });
  }

  /**
   * Changes nothing until the arbiter answers again. While the record is what the operation expects, the peer has its head start; otherwise
   * this one has arrived already, or can only be refused.
   */
  #askFirst(expected: ArbiterRecord | undefined): void {
    this.#attemptRunning = true;
    const turn = this.#turn;
    this.#arbiter.read((answer) => {
      if (this.#turn !== turn) return;
      this.#attemptRunning = false;
      if (answer.kind === 'no-answer') return this.#noAnswer(answer.because);
      this.#unanswered = false;
      const isOpen = answer.record?.operationId === expected?.operationId;
      this.#again(isOpen ? headStartMs : 0);
    });
  }

  #noAnswer(because: string): void {
    this.#unanswered = true;
    this.#port.unanswered(because);
    this.#again(retryIntervalMs);
  }

  #again(delayMs: number): void {
    if (this.#withdrawing !== undefined && !this.#maybeSent) return this.#withdraw();
    this.#retry = this.#clock.after(delayMs, () => this.#attempt());
  }

  #withdraw(): void {
    const done = this.#withdrawing;
    this.#withdrawing = undefined;
    this.#retry?.cancel();
    // No attempt may start while the withdrawal becomes durable.
    this.#attemptRunning = true;
    const turn = this.#turn;
    this.#port.persistPending(undefined, () => {
      if (this.#turn !== turn) return;
      this.#attemptRunning = false;
      this.#open = undefined;
      done?.();
    });
  }
}
