/**
 * etcd as the arbiter of one module: one key, changed by transactions that are guarded by its modification revision. No connection is kept:
 * each operation dials, logs in unless it did so a short time ago, reads, and changes, so a pair in sync causes no traffic at all.
 *
 * Invariants: `answered` is called exactly once, within the deadline, and not from inside the call; `sent: false` only when no transaction
 * that changes the record was posted. The record is read and changed on one connection, so by one process, so in one store. It does not
 * repeat an operation: that is the decision of the caller.
 *
 * Why an operation may be asked again at another member while an earlier attempt may still be under way: both attempts carry the same
 * guard or a later one. A modification revision never comes back, so of all attempts at most one changes the key; the others
 * find the record with the id of their operation, which is granted, or another one, and then no attempt can succeed any more.
 *
 * etcd cannot tell which node asks, so it does not keep one node from claiming for the other; the nodes themselves do not.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Arbiter, ArbiterAnswer, ReadAnswer } from '../arbiter/arbiter.ts';
import { decideSwap } from '../arbiter/compare-and-swap.ts';
import { assertNever } from '../base/assert.ts';
import { WorldError } from '../base/errors.ts';
import type { PendingOperation, StoreId } from '../disk/state.ts';
import { EtcdConnection, type EtcdTls } from './etcd-connection.ts';
import {
  authenticateRequest,
  etcdPaths,
  type KeptValue,
  type KeyState,
  logSurplus,
  noQuorum,
  parsePut,
  parseRange,
  parseToken,
  putRequest,
  rangeRequest,
} from './etcd-protocol.ts';
import { firstOf } from './staggered.ts';

/** From the call to its answer, ms. */
export const etcdDeadlineMs = 2000;
/** After this without an answer of one endpoint the next one is asked too, ms. */
const staggerMs = 400;
/** How often a log that seems too short is looked at: a member counts its entries and its revisions one after the other. */
const surplusLooks = 3;
const storeIdHexDigits = 32;

export interface EtcdArbiterOptions {
  /** All of one cluster, `https://HOST:PORT`. */
  readonly endpoints: readonly URL[];
  readonly tls: EtcdTls;
  /** Absent: etcd asks for none. */
  readonly user?: { readonly name: string; readonly password: string } | undefined;
  /** Of this module alone, the same on both nodes. */
  readonly key: string;
  readonly deadlineMs?: number;
}

/** A member that answered, and the key as it has it. */
interface Session {
  readonly endpoint: number;
  readonly connection: EtcdConnection;
  readonly token: string | undefined;
  readonly state: KeyState;
}

/** The key once its store has an identity. */
interface Kept extends KeyState {
  readonly value: KeptValue;
}

export class EtcdArbiter implements Arbiter {
  readonly #options: EtcdArbiterOptions;
  #tls: EtcdTls;
  /** The endpoint that is asked first: the last that answered; at the beginning another one for each module, to share the load. */
  #first: number;
  /** Of the last login. Kept because a login costs etcd a tenth of a second of work, and many modules may ask at once. */
  #token: string | undefined;

  constructor(options: EtcdArbiterOptions) {
    this.#options = options;
    this.#tls = options.tls;
    this.#first = digest(options.key).readUInt32BE() % options.endpoints.length;
  }

  /** From the next operation on, etcd is met with these. */
  useTls(tls: EtcdTls): void {
    this.#tls = tls;
  }

  swap(operation: PendingOperation, answered: (answer: ArbiterAnswer) => void): void {
    let sent = false;
    const work = this.#withSession(async (session, kept) =>
      this.#swap(session, kept, operation, () => {
        sent = true;
      }),
    );
    void work.catch((error: unknown) => noAnswer(error, sent)).then(answered);
  }

  read(answered: (answer: ReadAnswer) => void): void {
    const work = this.#withSession(async (_session, kept): Promise<ReadAnswer> => {
      return { kind: 'record', record: kept.value.record, store: this.#storeOf(kept) };
    });
    void work.catch((error: unknown) => noAnswer(error, false)).then(answered);
  }

  /** Runs `work` with the key as a member has it; everything ends with the deadline. */
  async #withSession<Answer>(work: (session: Session, kept: Kept) => Promise<Answer>): Promise<Answer> {
    const { deadlineMs = etcdDeadlineMs, endpoints } = this.#options;
    const ending = new AbortController();
    const tooLate = noQuorum(`none within ${deadlineMs} ms`);
    const timer = setTimeout(() => ending.abort(tooLate), deadlineMs);
    try {
      const session = await this.#open(ending.signal);
      // Asked next time, unless it answers this time.
      this.#first = (session.endpoint + 1) % endpoints.length;
      const answer = await work(session, await this.#identified(session));
      this.#first = session.endpoint;
      return answer;
    } finally {
      clearTimeout(timer);
      ending.abort(tooLate);
    }
  }

  /** Reads at the first endpoint that answers. Only reads, so several may be asked at once. */
  async #open(signal: AbortSignal): Promise<Session> {
    const { endpoints } = this.#options;
    const order = endpoints.map((_, index) => (this.#first + index) % endpoints.length);
    const attempts = order.map((endpoint) => (own: AbortSignal) => this.#read(endpoint, own));
    try {
      return await firstOf(attempts, staggerMs, signal);
    } catch (error) {
      throw describeFailures(
        order.map((endpoint) => endpoints[endpoint]?.host ?? ''),
        error,
      );
    }
  }

  async #read(endpoint: number, signal: AbortSignal): Promise<Session> {
    const { endpoints, user, key } = this.#options;
    const connection = await EtcdConnection.open(endpoints[endpoint] as URL, this.#tls, signal);
    const read = async (token: string | undefined): Promise<Session> => {
      const state = parseRange(key, await connection.post(etcdPaths.range, rangeRequest(key), token));
      return { endpoint, connection, token, state };
    };
    if (user === undefined) return read(undefined);
    const known = this.#token;
    if (known !== undefined) {
      try {
        return await read(known);
      } catch (error) {
        if (!isRejected(error)) throw error;
        // Tokens end with time, and with the member that gave them.
      }
    }
    const login = authenticateRequest(user.name, user.password);
    this.#token = parseToken(await connection.post(etcdPaths.authenticate, login, undefined));
    return read(this.#token);
  }

  /**
   * Gives the store an identity when it has none yet, and another one when it was restored. The id of the cluster alone is no identity:
   * etcd computes it from addresses and a token, so that a cluster that was made anew or restored at its old place has the same one.
   */
  async #identified(session: Session): Promise<Kept> {
    let { state } = session;
    for (;;) {
      const { value } = state;
      const surplus = await this.#surplus(session, value?.surplus);
      const goesOn = surplus === undefined || value?.surplus === undefined || surplus >= value.surplus;
      if (value !== undefined && goesOn) return { ...state, value };
      const store = randomBytes(storeIdHexDigits / 2).toString('hex');
      const outcome = await this.#put(session, state, { store, surplus, record: value?.record });
      state = outcome.succeeded ? outcome.asPut : outcome.now;
    }
  }

  async #swap(
    session: Session,
    kept: Kept,
    { store: wanted, expected, next }: PendingOperation,
    sending: () => void,
  ): Promise<ArbiterAnswer> {
    const store = this.#storeOf(kept);
    if (wanted !== undefined && wanted !== store) return { kind: 'other-store', store };
    const { action, rule, because } = decideSwap(kept.value.record, expected, next);
    switch (action.kind) {
      case 'already':
        return { kind: 'granted', record: action.record, store };
      case 'refuse':
        return { kind: 'refused', record: action.record, store };
      case 'reject':
        return { kind: 'no-answer', sent: false, because: `${rule}: ${because}` };
      case 'write': {
        const { store: drawn, surplus: known } = kept.value;
        const surplus = (await this.#surplus(session, undefined)) ?? known;
        const value: KeptValue = { store: drawn, surplus, record: action.record };
        sending();
        const outcome = await this.#put(session, kept, value);
        if (outcome.succeeded) return { kind: 'granted', record: action.record, store };
        const { now } = outcome;
        if (now.value === undefined) throw noQuorum('that the key of this module was deleted just now');
        return this.#swap(session, { ...now, value: now.value }, { store, expected, next }, sending);
      }
      default:
        return assertNever(action, 'decision about a swap');
    }
  }

  async #put(session: Session, asRead: KeyState, value: KeptValue) {
    const { connection, token } = session;
    const { key } = this.#options;
    return parsePut(key, value, await connection.post(etcdPaths.txn, putRequest(key, asRead, value), token));
  }

  /** Of the log now; looked at again while it seems to be below `known`. `undefined`: newer versions of etcd tell it only to root. */
  async #surplus({ connection, token }: Session, known: number | undefined): Promise<number | undefined> {
    let surplus = Number.NEGATIVE_INFINITY;
    for (let look = 0; look < surplusLooks; look += 1) {
      try {
        surplus = Math.max(surplus, logSurplus(await connection.post(etcdPaths.status, {}, token)));
      } catch (error) {
        if (isRejected(error)) return undefined;
        throw error;
      }
      if (known === undefined || surplus >= known) break;
    }
    return surplus;
  }

  #storeOf({ clusterId, value }: Kept): StoreId {
    const name = `${clusterId}/${value.store}/${this.#options.key}`;
    return digest(name).toString('hex').slice(0, storeIdHexDigits);
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

function isRejected(error: unknown): boolean {
  return error instanceof WorldError && error.code === 'arbiter-rejected';
}

function noAnswer(error: unknown, sent: boolean): { kind: 'no-answer'; sent: boolean; because: string } {
  if (!(error instanceof WorldError)) throw error;
  return { kind: 'no-answer', sent, because: error.message };
}

/** One error for all endpoints: what is to be done is told by the one that got furthest. */
function describeFailures(hosts: readonly string[], error: unknown): unknown {
  const errors: readonly unknown[] = error instanceof AggregateError ? error.errors : [error];
  const problems = errors.filter((each) => each instanceof WorldError);
  const telling = problems.find(({ code }) => code !== 'arbiter-unreachable') ?? problems[0];
  if (telling === undefined || problems.length !== errors.length) return error;
  const found = problems.map((problem, index) => `${problem.found} (${hosts[index]})`).join(', ');
  return new WorldError(telling.code, { wanted: telling.wanted, found, next: telling.next }, telling);
}
