/**
 * Starting from a copy that is not up to date, because the better one is lost: by an explicit command that names what is lost and says
 * that the peer is off. Three kinds: the kept image of an unfinished resync, which first replaces the half-copied disk; an
 * outdated copy as it is; a half-resynchronised one as it is, which is a mixture of two times and may be of no use. Then this
 * node asks the arbiter, like every other start alone, from whatever the record says now.
 *
 * Why the peer must be off: it went on by the word of this node that its copy is of no use, or by the record, and asks nobody
 * again. Why the lineage loses its last entry: the peer may have written under it since, so this copy goes on from a point before;
 * the two copies have diverged, and no later meeting may take one for the past of the other. Why the bitmaps are filled before an
 * image is put in place: the peer cleared bits for blocks that the disk had and the image has not.
 */
import { WorldError } from '../base/errors.ts';
import type { Arbiter } from '../arbiter/arbiter.ts';
import type { OperationId } from '../base/identity.ts';
import {
  type ArbiterRecord,
  pathEntriesMax,
  type PersistentState,
  type PendingOperation,
} from '../disk/state.ts';
import { forEachReplica, type Replica } from '../engine/replica.ts';
import type { SecondaryEngine } from '../engine/secondary-engine.ts';
import type { DecisionLog } from './decision-log.ts';
import { type CommandDone, questionOpen, refusal } from './departure.ts';
import type { KeptImage, KeptImageFacts } from './kept-image.ts';

/** What is started from, and the worth of the copy that it is for. */
export type ForcedKind = 'kept-image' | 'outdated' | 'inconsistent';

/** What the operator must have written. */
export interface ForcedConsent {
  readonly kind: ForcedKind;
  /** The time that the refusal names: everything that was written later is given up. */
  readonly loseSince: string | undefined;
  /** Name of the peer node, which does not run the VM and will not by itself. */
  readonly peerIsOff: string | undefined;
}

/** Stands for a time where none is known: this copy never held every write. */
const neverInSync = 'the-beginning';

export interface ForcedStartHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly serving: boolean;
    readonly run: 'started' | 'stopped';
    readonly leaving: boolean;
    readonly config: { readonly bootId: string; readonly timers: { readonly claimAfterMs: number } };
    readonly decisions: DecisionLog;
    readonly disk: { readonly present: boolean; readonly doubt: string };
    persist(patch: Partial<PersistentState>, then: () => void): void;
  };
  readonly image: KeptImage;
  /** The peer is connected, and its copy is up to date or not known yet. */
  betterPeer(): boolean;
  connected(): boolean;
  /** How long the peer has not been heard, ms. */
  unheardMs(): number;
  operationOpen(): boolean;
  operationId(): OperationId;
  /** Asks the arbiter, `durable` is called before; without one, it is granted. */
  begin(operation: PendingOperation, durable: () => void): void;
  /** What this node would say of itself has changed. */
  changed(): void;
}

export class ForcedStart {
  readonly #host: ForcedStartHost;
  readonly #arbiter: Arbiter | undefined;
  readonly #replicas: readonly Replica[];
  readonly #secondary: SecondaryEngine;
  #underWay = false;

  constructor(
    host: ForcedStartHost,
    arbiter: Arbiter | undefined,
    replicas: readonly Replica[],
    secondary: SecondaryEngine,
  ) {
    this.#host = host;
    this.#arbiter = arbiter;
    this.#replicas = replicas;
    this.#secondary = secondary;
  }

  /** While it is, no handshake completes and nothing else is asked of the arbiter. */
  get underWay(): boolean {
    return this.#underWay;
  }

  /** `done` when the copy is in place and the question to the arbiter is durable; the start follows its answer. */
  start(consent: ForcedConsent, done: CommandDone): void {
    const problem = this.#problem(consent);
    if (problem !== undefined) return done(problem);
    const image = consent.kind === 'kept-image' ? this.#host.image.facts : undefined;
    this.#underWay = true;
    const end: CommandDone = (error) => {
      this.#underWay = false;
      done(error);
      this.#host.changed();
    };
    this.#readRecord(image ?? this.#host.mirror.state, (outcome) => {
      if (outcome instanceof WorldError) return end(outcome);
      const found = this.#problem(consent);
      if (found !== undefined) return end(found);
      this.#secondary.whenIdle(() => {
        if (image !== undefined) return this.#replace(image, outcome, end);
        this.#host.mirror.decisions.add(
          `prim-accept-${consent.kind}`,
          'start from this copy as it is',
          `the operator gives up what was written since ${consent.loseSince ?? ''}`,
        );
        this.#ask(outcome, end);
      });
    });
  }

  /** The record that is to be swapped; `undefined` without an arbiter. */
  #readRecord(
    { generation }: { readonly generation: number },
    then: (outcome: ArbiterRecord | undefined | WorldError) => void,
  ): void {
    if (this.#arbiter === undefined) return then(undefined);
    this.#arbiter.read((answer) => {
      if (answer.kind === 'no-answer') {
        const wanted = 'the record of the arbiter, which must name this node before it starts';
        const next = 'start the arbiter or repair the way to it, then give the command again';
        return then(new WorldError('arbiter-unreachable', { wanted, found: answer.because, next }));
      }
      const { record, store } = answer;
      const { arbiterStore } = this.#host.mirror.state;
      if (arbiterStore !== undefined && store !== arbiterStore) {
        const found = 'other records: they were made anew, or restored, or are of another arbiter';
        const next = `bring them back; if they are lost for good, ${historyLost}`;
        return then(refusal('the records of the arbiter that this copy knows', found, next));
      }
      if (record !== undefined && record.generation >= generation) return then(record);
      const found = record === undefined ? 'no record' : `generation ${record.generation}`;
      then(refusal(`a record of generation ${generation} or later at the arbiter`, found, historyLost));
    });
  }

  #replace(image: KeptImageFacts, record: ArbiterRecord | undefined, end: CommandDone): void {
    const { mirror, image: kept } = this.#host;
    mirror.decisions.add(
      'prim-from-kept-image',
      'replace the disk by the kept image',
      `the operator gives up what was written since ${image.contentOf}`,
    );
    for (const replica of this.#replicas) replica.bitmap.setAll();
    forEachReplica(
      this.#replicas,
      (replica, written) => replica.writeBitmap(written),
      (ok) => {
        if (!ok) return end(metadataFailed());
        kept.restore((problem) => {
          if (problem !== undefined) return end(restoreFailed(problem));
          const { path, generation, holder } = image;
          const patch: Partial<PersistentState> = {
            data: 'outdated',
            role: 'secondary',
            path,
            generation,
            holder,
            base: undefined,
            peerData: 'unknown',
            bootId: mirror.config.bootId,
          };
          mirror.persist(patch, () => this.#ask(record, end));
        });
      },
    );
  }

  #ask(record: ArbiterRecord | undefined, end: CommandDone): void {
    // It connected meanwhile: it is not off, and a handshake knows better.
    const found = this.#host.betterPeer() ? peerConnected() : undefined;
    if (found !== undefined) return end(found);
    const { state } = this.#host.mirror;
    const generation = (record?.generation ?? state.generation) + 1;
    const next = { generation, holder: state.self, operationId: this.#host.operationId() };
    this.#underWay = false;
    this.#host.begin({ expected: record, next }, () => end(undefined));
  }

  #problem({ kind, loseSince, peerIsOff }: ForcedConsent): WorldError | undefined {
    const { mirror, image } = this.#host;
    const { state, config, disk } = mirror;
    const fits =
      kind === 'kept-image'
        ? state.data === 'outdated' || state.data === 'inconsistent'
        : state.data === kind;
    if (mirror.serving || !fits) {
      const wanted = kind === 'outdated' ? 'a copy that is outdated' : 'a copy that is half resynchronised';
      return refusal(wanted, `it is ${state.data}`, nextFor(state.data));
    }
    if (kind === 'kept-image' && image.facts === undefined) {
      const because = image.statusFor(state.data)?.because ?? 'that none is kept';
      return refusal(
        'an earlier image of this copy',
        because,
        `bring the peer back, or ${nextFor(state.data)}`,
      );
    }
    if (mirror.run === 'stopped' || mirror.leaving)
      return refusal('a module that runs', 'it is stopped', 'run `vmpair start VM`, then this again');
    if (disk.present || disk.doubt !== 'none')
      return refusal('a disk that works', 'that it does not', 'look at `vmpair status VM`');
    if (this.#host.operationOpen()) return questionOpen();
    if (this.#host.betterPeer()) return peerConnected();
    const { claimAfterMs } = config.timers;
    const isHeard = this.#host.connected();
    if (!isHeard && this.#host.unheardMs() < claimAfterMs) {
      const found = 'that it was heard, or this module started, a moment ago';
      const next = 'make sure that it is off, and wait';
      return refusal(`a peer that is silent for ${claimAfterMs} ms`, found, next);
    }
    const since = kind === 'kept-image' ? (image.facts?.contentOf ?? '') : (state.inSyncAt ?? neverInSync);
    // A peer that is heard, and has nothing better, is not off.
    const peerWanted = isHeard ? undefined : state.peer;
    if (loseSince === since && (isHeard || peerIsOff === peerWanted)) return undefined;
    const option = (name: string, value: string | undefined): string =>
      value === undefined ? `no --${name}` : `--${name} ${value}`;
    return refusal(
      `--lose-since ${since}${isHeard ? '' : ` --peer-is-off ${state.peer}`}`,
      `${option('lose-since', loseSince)}, ${option('peer-is-off', peerIsOff)}`,
      `${lossOf(kind, since, state.peer)}${kind === 'inconsistent' && image.facts !== undefined ? betterImage : ''}` +
        (isHeard ? '' : offFirst(state.peer)) +
        'Then give the command again with what is wanted here',
    );
  }
}

const historyLost = 'see "Both servers wait" in docs/setup.md: the history of this module was lost';

const betterImage =
  'An earlier image of this disk is kept, and that is whole: rather use --from-kept-image. ';

const offFirst = (peer: string): string =>
  `Switch ${peer} off first, and keep it off until its disk was looked at: its VM may still run. `;

function lossOf(kind: ForcedKind, since: string, peer: string): string {
  const given = `everything that the guest wrote after ${since} is on ${peer} alone and is given up by this start. `;
  if (kind !== 'inconsistent') return given;
  return (
    `this disk is a mixture of what it was at ${since} and of what was copied since: its file systems and databases may be ` +
    `corrupt and not even mount. ${given}`
  );
}

function nextFor(data: PersistentState['data']): string {
  if (data === 'outdated') return 'run `vmpair prim VM --accept-outdated`: it says what would be lost';
  if (data === 'inconsistent')
    return 'run `vmpair prim VM --accept-inconsistent`: it says what would be lost';
  return 'run `vmpair prim VM`';
}

function peerConnected(): WorldError {
  return refusal(
    'a peer that is lost',
    'that it is connected',
    'let it finish the resync: it has the newer copy',
  );
}

function metadataFailed(): WorldError {
  const next = 'look at the disk; the copy is as it was, and the image is kept';
  return refusal('to write the metadata file', 'that it cannot be written', next);
}

function restoreFailed(problem: string): WorldError {
  const next = 'look at the disk; the image is kept, and the command can be given again';
  return refusal('to put the kept image in the place of the disk', problem, next);
}

/**
 * The lineage after the arbiter granted `next`. A claim of a copy that was not up to date was forced: it goes on from a point
 * before the last operation of its path. Its bits still count from its base, and so do the peer's: that is what makes it cheap to give
 * one of the copies up later. A half-resynchronised copy has nothing that bits could count from. One that goes on
 * already, by the word of the operator, has its lineage.
 */
export function lineageAfter(
  state: PersistentState,
  next: ArbiterRecord,
): Pick<PersistentState, 'path' | 'generation' | 'holder' | 'base'> {
  const isForced = state.data === 'outdated' || state.data === 'inconsistent';
  const before = isForced ? state.path.slice(0, -1) : state.path;
  const path = state.path.at(-1) === next.operationId ? state.path : [...before, next.operationId];
  return {
    path: path.slice(-pathEntriesMax),
    generation: next.generation,
    holder: next.holder,
    base: state.data === 'inconsistent' ? undefined : state.base,
  };
}
