/**
 * The witness as the arbiter of one module. No connection is kept: each operation dials, asks, and hangs up,
 * so a pair in sync causes no traffic at all.
 *
 * Invariants: `answered` is called exactly once, within the deadline, and not from inside the call; `sent:
 * false` only when the operation was never written to any connection. It does not repeat: sending again is
 * the decision of the caller.
 */
import { sameRecord } from '../arbiter/compare-and-swap.ts';
import type { Arbiter, ArbiterAnswer, ReadAnswer } from '../arbiter/arbiter.ts';
import {
  encodeLine,
  LineCutter,
  parseHello,
  parseResponse,
  type WitnessRequest,
  type WitnessResponse,
  witnessProtocolVersion,
} from '../arbiter/witness-protocol.ts';
import { WorldError } from '../base/errors.ts';
import type { ArbiterRecord, PendingOperation, StoreId } from '../disk/state.ts';
import { type TlsIdentity } from './tls.ts';
import { dialParty, type SocketAddress } from './tls-sockets.ts';
import type { TLSSocket } from 'node:tls';

/** From the call to its answer: connect, handshake, the witness's disk and the way back. */
export const operationDeadlineMs = 2000;

export interface WitnessArbiterOptions {
  readonly address: SocketAddress;
  /** Of this node; its cluster is the cluster of the records. */
  readonly identity: TlsIdentity;
  readonly moduleId: string;
  /** The name that the witness's certificate must carry; left out, any witness of the cluster will do. */
  readonly witness?: string;
  readonly deadlineMs?: number;
}

/** `sent`: whether any byte of the request was handed to the operating system. */
type Outcome =
  | { readonly kind: 'response'; readonly response: WitnessResponse; readonly store: StoreId }
  | { readonly kind: 'nothing'; readonly sent: boolean; readonly because: string };

/** Id of the only request of a connection. */
const requestId = 1;

export class WitnessArbiter implements Arbiter {
  readonly #options: WitnessArbiterOptions;
  #identity: TlsIdentity;

  constructor(options: WitnessArbiterOptions) {
    this.#options = options;
    this.#identity = options.identity;
  }

  /** From the next operation on this is `identity`. */
  useIdentity(identity: TlsIdentity): void {
    this.#identity = identity;
  }

  swap({ store, expected, next }: PendingOperation, answered: (answer: ArbiterAnswer) => void): void {
    const { moduleId } = this.#options;
    const named = { store: store ?? null, expected: expected ?? null };
    const request = { id: requestId, op: 'swap', moduleId, ...named, next } as const;
    this.#ask(request, (outcome) => answered(swapAnswer(outcome, next)));
  }

  read(answered: (answer: ReadAnswer) => void): void {
    this.#ask({ id: requestId, op: 'read', moduleId: this.#options.moduleId }, (outcome) => {
      if (outcome.kind === 'response' && outcome.response.kind === 'record') {
        const { response, store } = outcome;
        return answered({ kind: 'record', record: response.record ?? undefined, store });
      }
      answered({ kind: 'no-answer', because: whyNothing(outcome) });
    });
  }

  #ask(request: WitnessRequest, done: (outcome: Outcome) => void): void {
    const { address, witness, deadlineMs = operationDeadlineMs } = this.#options;
    const identity = this.#identity;
    const { clusterId } = identity.self;
    const named = witness === undefined ? {} : { name: witness };
    const expected = { clusterId, role: 'witness', ...named } as const;
    const startedMs = performance.now();
    dialParty({ address, identity, expected, deadlineMs }, (result) => {
      if (result instanceof WorldError)
        return done({ kind: 'nothing', sent: false, because: asArbiter(result).message });
      converse(result, request, Math.max(1, deadlineMs - (performance.now() - startedMs)), done);
    });
  }
}

/** Of a party in general, the code says "peer": this one is the arbiter. */
function asArbiter(error: WorldError): WorldError {
  return error.code === 'peer-unreachable' ? new WorldError('arbiter-unreachable', error, error) : error;
}

/** Hears the hello, writes the request once, hears one response, hangs up. Calls `done` exactly once. */
function converse(
  socket: TLSSocket,
  request: WitnessRequest,
  deadlineMs: number,
  done: (outcome: Outcome) => void,
): void {
  const lines = new LineCutter();
  let sent = false;
  let settled = false;
  let store: StoreId = '';
  const settle = (outcome: Outcome): void => {
    if (settled) return;
    settled = true;
    clearTimeout(deadline);
    socket.destroy();
    done(outcome);
  };
  const giveUp = (because: string): void => settle({ kind: 'nothing', sent, because });
  const heard = (line: Uint8Array): void => {
    if (settled) return;
    if (!sent) {
      const hello = parseHello(line);
      if (!hello.ok) return giveUp(`protocol-violation: hello of the witness: ${hello.problem}`);
      const { protocol } = hello.value.hello;
      store = hello.value.hello.store;
      if (protocol < witnessProtocolVersion)
        return giveUp(`the witness speaks only version ${protocol} of the protocol`);
      sent = true;
      socket.write(encodeLine(request));
      return;
    }
    const response = parseResponse(line);
    if (!response.ok) return giveUp(`protocol-violation: answer of the witness: ${response.problem}`);
    if (response.value.kind !== 'failure' && response.value.id !== request.id) {
      return giveUp('protocol-violation: the witness answered another request');
    }
    settle({ kind: 'response', response: response.value, store });
  };
  const deadline = setTimeout(
    () => giveUp(`no answer within the deadline (${sent ? 'sent' : 'not sent'})`),
    deadlineMs,
  );
  socket.on('data', (bytes: Uint8Array) => {
    if (!lines.push(bytes, heard)) giveUp('protocol-violation: the witness sent a line that is too long');
  });
  socket.on('error', (error) => giveUp(`the connection to the witness failed: ${error.message}`));
  socket.on('close', () =>
    giveUp(
      sent
        ? 'the witness closed the connection before it answered'
        : 'the witness closed the connection before its hello: it rejected us, or is stopping; see its log',
    ),
  );
}

function whyNothing(outcome: Outcome): string {
  if (outcome.kind === 'nothing') return outcome.because;
  const { response } = outcome;
  return response.kind === 'failure'
    ? `${response.code}: ${response.message}`
    : `protocol-violation: the witness answered with ${response.kind}`;
}

/**
 * A failure says nothing about the record: the caller sends again. So does an answer that does not fit the
 * question.
 */
function swapAnswer(outcome: Outcome, next: ArbiterRecord): ArbiterAnswer {
  if (outcome.kind === 'response') {
    const { response, store } = outcome;
    if (response.kind === 'granted' && sameRecord(response.record, next)) {
      return { kind: 'granted', record: response.record, store };
    }
    if (response.kind === 'refused') return { kind: 'refused', record: response.record ?? undefined, store };
    if (response.kind === 'other-store') return { kind: 'other-store', store };
  }
  return {
    kind: 'no-answer',
    sent: outcome.kind === 'response' || outcome.sent,
    because: whyNothing(outcome),
  };
}
