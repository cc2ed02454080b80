/**
 * What an operator may ask of one node beside starting, stopping and moving it: to be primary, to be secondary, to use a disk in
 * doubt. Each refuses what would lose data unless the loss is named, and says what is in the way and what to do next; `done` is
 * called once, and without an error only when what was asked for is durable.
 * It moves nothing by itself: the rules for a node alone, the handshake and the arbiter follow.
 */
import type { Arbiter } from '../arbiter/arbiter.ts';
import type { WorldError } from '../base/errors.ts';
import type { PersistentState } from '../disk/state.ts';
import { forEachReplica, type Replica } from '../engine/replica.ts';
import type { Claims } from './claims.ts';
import type { DecisionLog } from './decision-log.ts';
import { type CommandDone, type Departure, questionOpen, refusal } from './departure.ts';
import { doubtSentence } from './disk-file-facts.ts';
import type { DiskTrouble } from './disk-trouble.ts';
import type { KeptImage } from './kept-image.ts';
import type { Pairing } from './pairing.ts';

export interface OperatorHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly serving: boolean;
    readonly leaving: boolean;
    readonly run: 'started' | 'stopped';
    readonly operationOpen: boolean;
    readonly config: { readonly timers: { readonly claimAfterMs: number } };
    readonly claims: Claims;
    readonly decisions: DecisionLog;
    readonly departure: Departure;
    readonly disk: DiskTrouble;
    readonly keptImage: KeptImage;
    readonly pairing: Pairing;
    start(done: CommandDone): void;
    stop(done: CommandDone): void;
    evaluate(): void;
    persist(patch: Partial<PersistentState>, then: () => void): void;
  };
  connected(): boolean;
  /** How long the peer has not been heard, ms. */
  unheardMs(): number;
  /** May write without the peer already. */
  alone(): boolean;
}

export class OperatorCommands {
  readonly #host: OperatorHost;
  readonly #mirror: OperatorHost['mirror'];
  readonly #arbiter: Arbiter | undefined;
  readonly #replicas: readonly Replica[];

  constructor(host: OperatorHost, arbiter: Arbiter | undefined, replicas: readonly Replica[]) {
    this.#host = host;
    this.#mirror = host.mirror;
    this.#arbiter = arbiter;
    this.#replicas = replicas;
  }

  /** Makes this node primary. Refuses what would lose data. `peerIsOff` is needed where no arbiter keeps a record. */
  prim(done: CommandDone, peerIsOff?: string): void {
    if (this.#mirror.serving) return done(undefined);
    const problem = this.#primProblem() ?? this.#unrecordedProblem(peerIsOff);
    if (problem !== undefined) return done(problem);
    this.#mirror.start((error) => {
      const found = error ?? this.#primProblem();
      if (found !== undefined) return done(found);
      const { claims, state } = this.#mirror;
      claims.primIsSaid();
      this.#mirror.decisions.add('prim', 'be primary', 'the operator asked for it');
      const goOn: CommandDone = (problemFound) => {
        this.#mirror.evaluate();
        done(problemFound);
      };
      if (state.data !== 'fresh') return this.#mirror.persist({ wish: 'prim' }, () => goOn(undefined));
      if (!this.#mirror.operationOpen)
        return claims.claim('prim', 'the operator says that this node has the good copy', goOn);
      // The answer to an earlier one follows.
      goOn(undefined);
    });
  }

  #primProblem(): WorldError | undefined {
    const { state, disk, keptImage, pairing } = this.#mirror;
    const { phase } = pairing;
    if (phase !== 'down' && phase !== 'handshake') {
      const next = `run \`vmpair swap VM\` on ${state.peer} when the pair is in sync: it moves the VM here`;
      return refusal('no primary on the peer', `the peer is connected (${phase})`, next);
    }
    if (state.data === 'outdated' || state.data === 'inconsistent') {
      const ways = [
        `--accept-${state.data}`,
        ...(keptImage.facts === undefined ? [] : ['--from-kept-image']),
      ];
      const words = ways.map((way) => `\`vmpair prim VM ${way}\``).join(' or ');
      const next = `start the peer, which has the newer copy; if that is lost: ${words}`;
      return refusal('a copy that is up to date on this node', `it is ${state.data}`, next);
    }
    if (disk.doubt !== 'none')
      return refusal('a disk whose content is known', doubtSentence(disk.doubt), 'do as it says');
    const peerHasData = pairing.peerHello !== undefined && pairing.peerHello.facts.data !== 'fresh';
    if (state.data === 'fresh' && peerHasData) {
      const next = 'run `vmpair prim VM` on the peer';
      return refusal('a good copy on this node', 'it is empty and the peer has data', next);
    }
    return undefined;
  }

  /** Where nobody keeps a record, only the operator can know that no VM runs on a peer that is not heard. */
  #unrecordedProblem(peerIsOff: string | undefined): WorldError | undefined {
    const { peer } = this.#mirror.state;
    if (this.#arbiter !== undefined || this.#host.connected() || peerIsOff === peer) return undefined;
    return refusal(
      `--peer-is-off ${peer}`,
      peerIsOff === undefined ? 'no --peer-is-off' : `--peer-is-off ${peerIsOff}`,
      `no arbiter is configured, and ${peer} is not connected: if its VM runs, two VMs will write, and one of the two copies will ` +
        `have to be given up. Switch ${peer} off, then give the command again with this option`,
    );
  }

  /**
   * Goes on alone although neither the peer nor the arbiter answers. The claim stays open, and its answer decides: granted, the record
   * is right; refused, this node stands down, and its copy has diverged.
   */
  primWithoutArbiter(peerIsOff: string | undefined, done: CommandDone): void {
    const problem = this.#withoutArbiterProblem(peerIsOff);
    if (problem !== undefined) return done(problem);
    this.#arbiter?.read((answer) => {
      if (answer.kind === 'record') {
        const next = 'run `vmpair prim VM`: it is answered at once';
        return done(refusal('an arbiter that does not answer', 'that it answers', next));
      }
      const found = this.#withoutArbiterProblem(peerIsOff);
      if (found !== undefined) return done(found);
      this.#mirror.claims.goOnUnconfirmed((error) => {
        this.#mirror.evaluate();
        done(error);
      });
    });
  }

  #withoutArbiterProblem(peerIsOff: string | undefined): WorldError | undefined {
    const { state, run, leaving, disk, claims, config } = this.#mirror;
    if (this.#arbiter === undefined)
      return refusal('an arbiter that does not answer', 'that none is configured', 'run `vmpair prim VM`');
    if (run === 'stopped' || leaving)
      return refusal(
        'a module that runs',
        'it is stopped, or stops',
        'run `vmpair start VM`, then this again',
      );
    if (this.#host.alone())
      return refusal('a node that waits', 'that it writes alone already', 'nothing is to be done');
    if (state.data !== 'up-to-date') {
      const next = 'start the arbiter, or the peer, which has the newer copy';
      return refusal('a copy that is up to date on this node', `it is ${state.data}`, next);
    }
    if (disk.present || disk.doubt !== 'none')
      return refusal('a disk that works', 'that it does not', 'look at `vmpair status VM`');
    if (this.#host.connected())
      return refusal('a peer that is lost', 'that it is connected', 'look at `vmpair status VM`');
    if (claims.open !== undefined && claims.open.next.holder !== state.self) {
      const found = 'that the record may just have been made to say that both hold it';
      return refusal('a claim of this node, or none', found, 'start the arbiter or the peer');
    }
    const { claimAfterMs } = config.timers;
    if (this.#host.unheardMs() < claimAfterMs) {
      const next = 'make sure that it is off, and wait';
      return refusal(`a peer that is silent for ${claimAfterMs} ms`, 'that it was heard a moment ago', next);
    }
    if (peerIsOff === state.peer) return undefined;
    return refusal(
      `--peer-is-off ${state.peer}`,
      peerIsOff === undefined ? 'no --peer-is-off' : `--peer-is-off ${peerIsOff}`,
      `the arbiter may have named ${state.peer}, and nobody can see it: if its VM runs, or ran since the two lost each other, two VMs ` +
        `write, and one of the two copies will have to be given up. Switch ${state.peer} off, then give the command again with this ` +
        'option. When the arbiter answers, its word counts: if it names the other node, this one stops its VM',
    );
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

  /** Starts this node so that it waits for its peer and never takes over before it was in sync; also after a restart of its process. */
  second(done: CommandDone): void {
    if (this.#mirror.serving)
      return done(refusal('a node that is not primary', 'it is primary', 'run `vmpair swap VM` first'));
    this.#mirror.start((error) => {
      // In sync it is what it is asked to be: it takes over when the peer is lost.
      if (error !== undefined || this.#mirror.pairing.phase === 'in-sync') return done(error);
      this.#mirror.persist({ wish: 'second' }, () => {
        this.#mirror.claims.began();
        this.#mirror.evaluate();
        done(undefined);
      });
    });
  }

  /**
   * Gives the copy of this node up; it is made anew from the peer's, every block. `giveUp` repeats the name of this node, so that
   * the command is not given on the wrong one.
   */
  secondFull(giveUp: string | undefined, done: CommandDone): void {
    const problem = this.#giveUpProblem(giveUp);
    if (problem !== undefined) return done(problem);
    // A pair in sync first lets this node go: from then on the peer needs its copy no more.
    this.#mirror.stop((error) => {
      if (error !== undefined) return done(error);
      const { state, decisions } = this.#mirror;
      decisions.add(
        'second-full',
        'give this copy up',
        `the operator wants it made anew from ${state.peer}'s`,
      );
      for (const { bitmap } of this.#replicas) bitmap.setAll();
      forEachReplica(
        this.#replicas,
        (replica, folded) => replica.fold(folded),
        (ok) => {
          // Otherwise this process is about to end.
          if (ok) this.#mirror.persist(asFresh, () => this.second(done));
        },
      );
    });
  }

  #giveUpProblem(giveUp: string | undefined): WorldError | undefined {
    const { state, serving, leaving, run, pairing, operationOpen, disk } = this.#mirror;
    const { phase, peerHello } = pairing;
    if (serving) return refusal('a node that is not primary', 'it is primary', 'run `vmpair swap VM` first');
    if (run === 'stopped' || leaving)
      return refusal(
        'a module that runs',
        'it is stopped, or stops',
        'run `vmpair start VM`, then this again',
      );
    if (operationOpen) return questionOpen();
    if (disk.present)
      return refusal('a disk that works', disk.sentence ?? 'that it does not', 'look at `vmpair status VM`');
    const worth = phase === 'handshake' ? peerHello?.facts.data : phase === 'down' ? undefined : 'up-to-date';
    const inDoubt = phase === 'handshake' && peerHello?.facts.diskDoubt !== undefined;
    if (worth !== 'up-to-date' || inDoubt) {
      const found =
        worth === undefined
          ? 'that it is not connected'
          : `that it is ${worth}${inDoubt ? ', on a disk in doubt' : ''}`;
      const next = 'bring a peer with a good copy back first: this one may be all that there is';
      return refusal(`an up-to-date copy on ${state.peer}`, found, next);
    }
    if (phase === 'handshake' && pairing.verdict?.rule === 'split-brain') {
      const next = `run \`vmpair resolve VM --keep ${state.peer}\`: it keeps what only this copy has, and copies less`;
      return refusal('copies that have not diverged', 'a split brain', next);
    }
    if (giveUp === state.self) return undefined;
    return refusal(
      `--give-up ${state.self}`,
      giveUp === undefined ? 'no --give-up' : `--give-up ${giveUp}`,
      `the copy of ${state.self} is given up, with everything that only it has, and until the new one is complete there is only that ` +
        `of ${state.peer}. Give the command again with this option`,
    );
  }
}

/** A copy that holds nothing. */
const asFresh: Partial<PersistentState> = {
  data: 'fresh',
  path: [],
  generation: 0,
  holder: undefined,
  base: undefined,
  peerData: 'unknown',
  role: 'secondary',
  inSyncAt: undefined,
  aloneSince: undefined,
  splitSince: undefined,
  wish: undefined,
};
