/**
 * What an operator may ask of one node beside starting, stopping and moving it: to be primary, to be secondary, to use a disk in
 * doubt. Each refuses what would lose data, and says what is in the way and what to do next; `done` is called once.
 * It moves nothing by itself: the rules for a node alone, the handshake and the arbiter follow.
 */
import type { PersistentState } from '../disk/state.ts';
import type { Claims } from './claims.ts';
import type { DecisionLog } from './decision-log.ts';
import { type CommandDone, refusal } from './departure.ts';
import { doubtSentence } from './disk-file-facts.ts';
import type { DiskTrouble } from './disk-trouble.ts';
import type { KeptImage } from './kept-image.ts';
import type { Pairing } from './pairing.ts';
import type { ImageConsent, StartFromImage } from './start-from-image.ts';

export interface OperatorHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly serving: boolean;
    readonly claims: Claims;
    readonly decisions: DecisionLog;
    readonly disk: DiskTrouble;
    readonly keptImage: KeptImage;
    readonly pairing: Pairing;
    start(done: CommandDone): void;
    evaluate(): void;
  };
  readonly fromImage: StartFromImage;
}

export class OperatorCommands {
  readonly #mirror: OperatorHost['mirror'];
  readonly #fromImage: StartFromImage;

  constructor({ mirror, fromImage }: OperatorHost) {
    this.#mirror = mirror;
    this.#fromImage = fromImage;
  }

  /** Makes this node primary. Refuses what would lose data. */
  prim(done: CommandDone): void {
    const { state, serving } = this.#mirror;
    if (serving) return done(undefined);
    const problem = this.#primProblem();
    if (problem !== undefined) return done(problem);
    this.#mirror.start((error) => {
      if (error !== undefined) return done(error);
      const { claims } = this.#mirror;
      claims.obstacle = undefined;
      this.#mirror.decisions.add('prim', 'be primary', 'the operator asked for it');
      if (state.data === 'fresh') claims.claim('prim', 'the operator says that this node has the good copy');
      else claims.forced = true;
      this.#mirror.evaluate();
      done(undefined);
    });
  }

  #primProblem() {
    const { state, disk, keptImage, pairing } = this.#mirror;
    if (state.data === 'outdated' || state.data === 'inconsistent') {
      const image =
        keptImage.facts === undefined ? '' : '; if it is lost: `vmpair prim VM --from-kept-image`';
      const next = `start the peer, which has the newer copy${image}`;
      return refusal('a copy that is up to date on this node', `it is ${state.data}`, next);
    }
    if (disk.doubt !== 'none')
      return refusal('a disk whose content is known', doubtSentence(disk.doubt), 'do as it says');
    const { phase } = pairing;
    if (phase !== 'down' && phase !== 'handshake') {
      const next = 'run `vmpair swap VM` to move the VM here';
      return refusal('no primary on the peer', `the peer is connected (${phase})`, next);
    }
    const peerHasData = pairing.peerHello !== undefined && pairing.peerHello.facts.data !== 'fresh';
    if (state.data === 'fresh' && peerHasData) {
      const next = 'run `vmpair prim VM` on the peer';
      return refusal('a good copy on this node', 'it is empty and the peer has data', next);
    }
    return undefined;
  }

  /** The operator has checked a disk that is in doubt, and takes its content as it is. */
  acceptDisk(done: CommandDone): void {
    const { disk, pairing } = this.#mirror;
    const next = 'look at `vmpair status VM`';
    if (disk.doubt === 'none') return done(refusal('a disk in doubt', 'none', next));
    const { phase } = pairing;
    if (phase !== 'down' && phase !== 'handshake')
      return done(refusal('a copy that is not being resynchronised', `the link is ${phase}`, next));
    this.#mirror.start((error) => {
      if (error !== undefined) return done(error);
      disk.accept(() => done(undefined));
    });
  }

  /** Makes this node primary with the image from before an unfinished resync, whose source is lost. */
  primFromImage(consent: ImageConsent, done: CommandDone): void {
    this.#fromImage.start(consent, done);
  }

  /** Starts this node so that it waits for its peer and never takes over before it was in sync. */
  second(done: CommandDone): void {
    const { serving, claims } = this.#mirror;
    if (serving)
      return done(refusal('a node that is not primary', 'it is primary', 'run `vmpair swap VM` first'));
    this.#mirror.start((error) => {
      if (error !== undefined) return done(error);
      claims.obstacle = 'the operator asked this node to be secondary; waiting for the peer';
      done(undefined);
    });
  }
}
