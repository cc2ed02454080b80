/**
 * Starting from the kept image of an unfinished resync, because its source is lost: by an explicit command that names what is lost
 * and says that the peer is off. The image replaces the half-copied disk; then this node asks the arbiter, like every other start
 * alone, from whatever the record says now.
 *
 * Why the peer must be off: it went on by the word of this node that its copy is of no use, or by the record, and asks nobody
 * again. Why the bitmaps are filled first: the peer cleared bits for blocks that the disk had and the image has not. Why the lineage
 * loses its last entry: the peer may have written under it since the image was made, so the image goes on from a point before;
 * the two copies have diverged, and no later meeting may take one for the past of the other.
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
import { type CommandDone, refusal } from './departure.ts';
import type { KeptImage, KeptImageFacts } from './kept-image.ts';

/** What the operator must have written. */
export interface ImageConsent {
  /** `contentOf` of the image, as it is shown: everything that was written later is given up. */
  readonly loseSince: string | undefined;
  /** Name of the peer node, which does not run the VM and will not by itself. */
  readonly peerIsOff: string | undefined;
}

export interface StartFromImageHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly serving: boolean;
    readonly run: 'started' | 'stopped';
    readonly leaving: boolean;
    readonly config: { readonly bootId: string; readonly timers: { readonly claimAfterMs: number } };
    readonly decisions: DecisionLog;
    persist(patch: Partial<PersistentState>, then: () => void): void;
  };
  readonly image: KeptImage;
  connected(): boolean;
  /** How long the peer has not been heard, ms. */
  unheardMs(): number;
  operationOpen(): boolean;
  operationId(): OperationId;
  /** Asks the arbiter; without one, it is granted. */
  begin(operation: PendingOperation): void;
  /** What this node would say of itself has changed. */
  changed(): void;
}

export class StartFromImage {
  readonly #host: StartFromImageHost;
  readonly #arbiter: Arbiter | undefined;
  readonly #replicas: readonly Replica[];
  readonly #secondary: SecondaryEngine;
  #underWay = false;

  constructor(
    host: StartFromImageHost,
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

  /** `done` when the image is in place and the arbiter is being asked; the start follows its answer. */
  start(consent: ImageConsent, done: CommandDone): void {
    const problem = this.#problem(consent);
    if (problem !== undefined) return done(problem);
    const image = this.#host.image.facts as KeptImageFacts;
    this.#underWay = true;
    const end: CommandDone = (error) => {
      this.#underWay = false;
      done(error);
      this.#host.changed();
    };
    this.#readRecord(image, (outcome) => {
      if (outcome instanceof WorldError) return end(outcome);
      const found = this.#problem(consent);
      if (found !== undefined) return end(found);
      this.#secondary.whenIdle(() => this.#replace(image, outcome, end));
    });
  }

  /** The record that is to be swapped; `undefined` without an arbiter. */
  #readRecord(image: KeptImageFacts, then: (outcome: ArbiterRecord | undefined | WorldError) => void): void {
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
        return then(refusal('the records of the arbiter that this copy knows', found, 'bring them back'));
      }
      if (record !== undefined && record.generation >= image.generation) return then(record);
      const found = record === undefined ? 'no record' : `generation ${record.generation}`;
      const next = 'see "both servers wait" in docs/setup.md: the history of this module was lost';
      then(refusal(`a record of generation ${image.generation} or later at the arbiter`, found, next));
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
    const found = this.#host.connected() ? peerConnected() : undefined;
    if (found !== undefined) return end(found);
    const { state } = this.#host.mirror;
    const generation = (record?.generation ?? state.generation) + 1;
    const next = { generation, holder: state.self, operationId: this.#host.operationId() };
    this.#underWay = false;
    this.#host.begin({ expected: record, next });
    end(undefined);
  }

  #problem({ loseSince, peerIsOff }: ImageConsent): WorldError | undefined {
    const { mirror, image } = this.#host;
    const { state, config } = mirror;
    if (mirror.serving || state.data === 'up-to-date' || state.data === 'fresh')
      return refusal('a copy that is half resynchronised', `it is ${state.data}`, 'run `vmpair prim VM`');
    const facts = image.facts;
    if (facts === undefined) {
      const because = image.statusFor(state.data)?.because ?? `this copy is ${state.data}`;
      return refusal('an earlier image of this copy', because, 'bring the peer back: it has the newer copy');
    }
    if (mirror.run === 'stopped' || mirror.leaving)
      return refusal('a module that runs', 'it is stopped', 'run `vmpair start VM`, then this again');
    if (this.#host.operationOpen())
      return refusal('no open question to the arbiter', 'one', 'wait until it is answered');
    if (this.#host.connected()) return peerConnected();
    const { claimAfterMs } = config.timers;
    if (this.#host.unheardMs() < claimAfterMs) {
      const found = 'that it was heard, or this module started, a moment ago';
      return refusal(
        `a peer that is silent for ${claimAfterMs} ms`,
        found,
        'make sure that it is off, and wait',
      );
    }
    if (loseSince === facts.contentOf && peerIsOff === state.peer) return undefined;
    return refusal(
      `--lose-since ${facts.contentOf} --peer-is-off ${state.peer}`,
      `${loseSince === undefined ? 'no --lose-since' : loseSince}, ${peerIsOff === undefined ? 'no --peer-is-off' : peerIsOff}`,
      `everything that the guest wrote after ${facts.contentOf} is on ${state.peer} alone and is given up by this start. ` +
        `Switch ${state.peer} off first, and keep it off until its disk was looked at: its VM may still run. ` +
        'Then give the command again with these two options',
    );
  }
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
 * The lineage after the arbiter granted `next`. A claim of a copy that was not up to date was made from a kept image: it goes on
 * from a point before the last operation of its path, and has nothing in common that bits could count from.
 */
export function lineageAfter(
  state: PersistentState,
  next: ArbiterRecord,
): Pick<PersistentState, 'path' | 'generation' | 'holder' | 'base'> {
  const isFromImage = state.data === 'outdated' || state.data === 'inconsistent';
  const before = isFromImage ? state.path.slice(0, -1) : state.path;
  return {
    path: [...before, next.operationId].slice(-pathEntriesMax),
    generation: next.generation,
    holder: next.holder,
    base: isFromImage ? undefined : state.base,
  };
}
