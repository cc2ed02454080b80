/**
 * Making the record of this module anew, because the store that kept it is gone, was restored from a backup, or is replaced by that
 * of another arbiter. Always by command: a store that has no record cannot know whether the other node went on alone.
 *
 * Pair in sync: the peer persists first that it claims only in the new store, then this node does, together with the intent to
 * make the record there; so at no time can both nodes be named holder, by two stores. Until the record is there, neither can go on
 * alone. Alone: the new record names this node, and that is right only if the peer does not run the VM and cannot be named by the
 * old store any more; the operator says so by the peer's name. At the end of a resync both copies are equal and the target is durably
 * inconsistent until it is told otherwise, with the new store: the new record names both.
 */
import { WorldError } from '../base/errors.ts';
import type { Arbiter, ReadAnswer } from '../arbiter/arbiter.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { OperationId } from '../base/identity.ts';
import type { RecordStatus } from '../base/status.ts';
import type { ArbiterRecord, PendingOperation, PersistentState, StoreId } from '../disk/state.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import type { ControlMessage } from '../link/control-messages.ts';
import { describeRecord } from './decide-record.ts';
import type { DecisionLog } from './decision-log.ts';
import { type CommandDone, questionOpen, refusal } from './departure.ts';
import type { PairPhase } from './pairing.ts';

/** How long the peer may take to ask its arbiter and to persist the answer, ms. */
export const peerDeadlineMs = 5000;

export interface NewRecordHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly serving: boolean;
    readonly run: 'started' | 'stopped';
    readonly leaving: boolean;
    readonly config: { readonly timers: { readonly claimAfterMs: number } };
    readonly decisions: DecisionLog;
    readonly pairing: { readonly phase: PairPhase };
    readonly disk: { readonly present: boolean; readonly doubt: string };
    persist(patch: Partial<PersistentState>, then: () => void): void;
  };
  /** The channel of a pair that is in sync and works; otherwise why there is none. */
  channelOfPair(): PeerChannel | string;
  channel(): PeerChannel | undefined;
  /** How long the peer has not been heard, ms. */
  unheardMs(): number;
  operationOpen(): boolean;
  operationId(): OperationId;
  begin(operation: PendingOperation): void;
}

interface Asked {
  readonly channel: PeerChannel;
  readonly store: StoreId;
  readonly record: ArbiterRecord | undefined;
  readonly done: CommandDone;
  readonly timer: Timer;
}

export class NewRecord {
  readonly #host: NewRecordHost;
  readonly #arbiter: Arbiter | undefined;
  readonly #clock: Clock;
  #reading = false;
  #asked: Asked | undefined;

  constructor(host: NewRecordHost, arbiter: Arbiter | undefined, clock: Clock) {
    this.#host = host;
    this.#arbiter = arbiter;
    this.#clock = clock;
  }

  /** For people: what the arbiter says now, and whether that is what this copy knows. */
  status(done: (status: RecordStatus) => void): void {
    if (this.#arbiter === undefined)
      return done({ verdict: 'no-arbiter', because: 'no arbiter is configured' });
    this.#arbiter.read((answer) => {
      if (answer.kind === 'no-answer') return done({ verdict: 'no-answer', because: answer.because });
      const { record, store } = answer;
      const found = record === undefined ? { store } : { store, record };
      done({ ...judge(this.#host.mirror.state, answer), ...found });
    });
  }

  /** Makes the record anew; `done` when it is being asked for. `peerIsOff` names the peer when this node is alone. */
  recreate(peerIsOff: string | undefined, done: CommandDone): void {
    const problem = this.#problem(peerIsOff);
    if (problem !== undefined) return done(problem);
    this.#reading = true;
    const end: CommandDone = (error) => {
      this.#reading = false;
      done(error);
    };
    this.#arbiter?.read((answer) => {
      if (answer.kind === 'no-answer') {
        const wanted = 'an answer of the arbiter that is to keep the record';
        const next = 'start the arbiter or repair the way to it, then give the command again';
        return end(new WorldError('arbiter-unreachable', { wanted, found: answer.because, next }));
      }
      const found = this.#problem(peerIsOff, true) ?? this.#recordProblem(answer);
      if (found !== undefined) return end(found);
      const { state, pairing } = this.#host.mirror;
      const channel = this.#host.channelOfPair();
      if (typeof channel === 'string') {
        // Connected and in sync: the peer has to say its word, however short the moment is in which it cannot.
        if (pairing.phase === 'in-sync')
          return end(refusal('a pair in sync that works', channel, 'give the command again'));
        this.#ask(answer.record, answer.store, pairing.phase === 'finishing' ? 'both' : state.self);
        return end(undefined);
      }
      const { record, store } = answer;
      const timer = this.#clock.after(peerDeadlineMs, () =>
        this.#endAsked(peerProblem(`no answer within ${peerDeadlineMs} ms`)),
      );
      this.#asked = { channel, store, record, done: end, timer };
      channel.control({ type: 'store-change', store });
    });
  }

  /** A string says why the connection must end. */
  control(message: ControlMessage): string | undefined {
    switch (message.type) {
      case 'store-change':
        return this.#peerAsks(message.store);
      case 'store-changed': {
        const asked = this.#asked;
        if (asked === undefined || asked.store !== message.store) return undefined;
        const channel = this.#host.channelOfPair();
        if (channel !== asked.channel || this.#host.operationOpen())
          return this.#endAsked(peerProblem('that the pair is not in sync any more'));
        this.#ask(asked.record, asked.store, 'both');
        return this.#endAsked(undefined);
      }
      case 'store-change-refused':
        return this.#endAsked(peerProblem(message.because));
      default:
        return `a ${message.type} message that is not expected here`;
    }
  }

  linkLost(): void {
    this.#endAsked(peerProblem('that the link was lost'));
  }

  #endAsked(error: WorldError | undefined): undefined {
    const asked = this.#asked;
    this.#asked = undefined;
    asked?.timer.cancel();
    asked?.done(error);
  }

  /** Secondary: from the answer on it claims nothing in another store. */
  #peerAsks(store: StoreId): string | undefined {
    const { mirror } = this.#host;
    const channel = this.#host.channel();
    const isSecondary = mirror.pairing.phase === 'in-sync' && !mirror.serving;
    if (!isSecondary) return 'a change of the store of records to a node that is not secondary of a pair';
    const refuse = (because: string): undefined => {
      channel?.control({ type: 'store-change-refused', because });
    };
    if (this.#arbiter === undefined || mirror.leaving || this.#host.operationOpen())
      return refuse(`${mirror.state.self} has no arbiter, or does something else just now`);
    this.#arbiter.read((answer) => {
      if (this.#host.channel() !== channel || channel === undefined) return;
      if (mirror.pairing.phase !== 'in-sync' || mirror.serving || this.#host.operationOpen()) return;
      if (answer.kind === 'no-answer') return refuse(`${mirror.state.self}: ${answer.because}`);
      if (answer.store !== store)
        return refuse(`${mirror.state.self} is configured with another arbiter: give both nodes the same`);
      mirror.persist({ arbiterStore: store }, () => {
        if (this.#host.channel() === channel) channel.control({ type: 'store-changed', store });
      });
    });
    return undefined;
  }

  #ask(expected: ArbiterRecord | undefined, store: StoreId, holder: string): void {
    const { mirror } = this.#host;
    const { state } = mirror;
    mirror.decisions.add(
      'arbiter-recreate',
      'make the record anew',
      `the operator asked for it; the arbiter had ${describeRecord(expected)}, this copy has generation ${state.generation}`,
    );
    const generation = Math.max(expected?.generation ?? 0, state.generation) + 1;
    const next = { generation, holder, operationId: this.#host.operationId() };
    this.#host.begin({ store, expected, next });
  }

  #problem(peerIsOff: string | undefined, reading = false): WorldError | undefined {
    const { mirror } = this.#host;
    const { state, pairing } = mirror;
    if (this.#arbiter === undefined)
      return refusal(
        'an arbiter that keeps records',
        'none is configured',
        'set `arbiter` in the module configuration',
      );
    if (mirror.run === 'stopped' || mirror.leaving)
      return refusal(
        'a module that runs',
        'it is stopped, or stops',
        'run `vmpair start VM`, then this again',
      );
    if (this.#host.operationOpen() || (this.#reading && !reading)) return questionOpen();
    if (mirror.disk.present || mirror.disk.doubt !== 'none')
      return refusal('a disk that works', 'that it does not', 'look at `vmpair status VM`');
    if (state.data !== 'up-to-date')
      return refusal(
        'a copy that is up to date on this node',
        `it is ${state.data}`,
        `run it on ${state.peer}; if that is lost for good, \`vmpair prim VM\` says what can be done`,
      );
    const { phase } = pairing;
    if (phase === 'in-sync') {
      return mirror.serving
        ? undefined
        : refusal('the primary', 'the secondary of a pair in sync', `run it on ${state.peer}`);
    }
    if (phase === 'finishing' && state.holder === state.self) return undefined;
    if (phase !== 'down')
      return refusal(
        'a pair in sync, a resync at its end, or a peer that is off',
        `the link is ${phase}`,
        // A handshake that waits for this record would wait for ever.
        phase === 'handshake'
          ? `run \`vmpair stop VM\` on ${state.peer}, then this again with --peer-is-off ${state.peer}`
          : 'wait; `vmpair status VM` says for what',
      );
    const { claimAfterMs } = mirror.config.timers;
    if (this.#host.unheardMs() < claimAfterMs)
      return refusal(
        `a peer that is silent for ${claimAfterMs} ms`,
        'that it was heard a moment ago',
        'make sure that it is off, and wait',
      );
    if (peerIsOff === state.peer) return undefined;
    return refusal(
      `--peer-is-off ${state.peer}`,
      peerIsOff === undefined ? 'no --peer-is-off' : `--peer-is-off ${peerIsOff}`,
      `the arbiter cannot tell whether ${state.peer} went on alone. If its VM ran after the two nodes lost each other, its copy is the newer ` +
        `one: start ${state.peer} instead. Otherwise switch ${state.peer} off, and give the command again with this option; ` +
        `what the guest should have written there alone is given up`,
    );
  }

  #recordProblem(answer: Extract<ReadAnswer, { kind: 'record' }>): WorldError | undefined {
    const { state } = this.#host.mirror;
    const { verdict } = judge(state, answer);
    const next = 'nothing is to be done';
    if (verdict === 'ok') return refusal('a record that is lost or does not fit', 'that it is right', next);
    if (answer.record?.holder !== state.peer) return undefined;
    return refusal(
      `a record that does not name ${state.peer}`,
      `that ${state.peer} went on alone (generation ${answer.record.generation})`,
      `bring ${state.peer} back: it has the newer copy`,
    );
  }
}

function peerProblem(found: string): WorldError {
  const next = 'repair that, then give the command again; until then neither node can go on alone';
  return refusal('the word of the peer that it uses the same arbiter', found, next);
}

function judge(
  state: PersistentState,
  { record, store }: Extract<ReadAnswer, { kind: 'record' }>,
): Pick<RecordStatus, 'verdict' | 'because'> {
  const next = 'run `vmpair arbiter recreate VM` on the node that is primary, or that is to go on alone';
  if (state.arbiterStore !== undefined && state.arbiterStore !== store) {
    const because = `its records were made anew or restored, or are of another arbiter; ${next}`;
    return { verdict: 'other-store', because };
  }
  if (record === undefined) {
    return state.path.length === 0
      ? { verdict: 'ok', because: 'the module has no record yet' }
      : { verdict: 'no-record', because: `it has no record of this module; ${next}` };
  }
  if (record.operationId === state.path.at(-1))
    return { verdict: 'ok', because: `it has ${describeRecord(record)}, as this copy knows` };
  const isNewer = record.holder === state.peer;
  const because =
    `it has ${describeRecord(record)}, and this copy knows generation ${state.generation}; ` +
    (isNewer ? `the copy of ${state.peer} is the newer one: bring ${state.peer} back` : next);
  return { verdict: 'differs', because };
}
