/**
 * Planned departures: a stop of the module, a swap of the VM to the peer, and the peer's side of both.
 *
 * A departure has two stages. `vm`: the VM shuts down, and the pair works as ever, also when the peer is lost meanwhile.
 * `handing`: nothing is served any more, both copies are flushed, and the peer gives its word or takes over; this stage makes no
 * claims and ends at once when the link is lost.
 *
 * Invariants: a copy is marked outdated only after the peer granted the leave; on one connection only one side is granted; the
 * role is given away, durably, before the peer is told to take it. A lost answer never needs one: the claim rules follow.
 * It does not decide who is primary after a failed swap: the handshake or the arbiter does.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { WorldError } from '../base/errors.ts';
import type { PersistentState } from '../disk/state.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import type { PrimaryEngine } from '../engine/primary-engine.ts';
import { completion, forEachReplica, type Replica } from '../engine/replica.ts';
import type { SecondaryEngine } from '../engine/secondary-engine.ts';
import type { ControlMessage } from '../link/control-messages.ts';
import type { DecisionLog } from './decision-log.ts';
import type { Pairing } from './pairing.ts';

/** How long the handing stage waits for the peer before it goes without its word. */
export const handingTimeoutMs = 5000;

const byOperator = 'the operator asked for it';

export type CommandDone = (error: WorldError | undefined) => void;

export interface DepartureHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly config: { readonly bootId: string };
    /** The arbiter has been asked: until it has answered, this node gives nothing away. */
    readonly operationOpen: boolean;
    serving: boolean;
    readonly decisions: DecisionLog;
    readonly pairing: Pairing;
    persist(patch: Partial<PersistentState>, then: () => void): void;
  };
  channel(): PeerChannel | undefined;
  dropLink(because: string): void;
  /** An arbiter operation is open, the disk is in trouble, or that of the peer is: no word is given to the peer. */
  busy(): boolean;
  /** The VM shuts down in order; `then` when it is down. */
  shutVmDown(because: string, then: () => void): void;
  stopExports(because: string): void;
  /** The node serves as primary over the channel that it has. */
  serve(): void;
  becomeAlone(): void;
  /** The module has left: it becomes stopped. */
  end(done: CommandDone): void;
  changed(): void;
}

export interface DepartureParts {
  readonly clock: Clock;
  readonly replicas: readonly Replica[];
  readonly primary: PrimaryEngine;
  readonly secondary: SecondaryEngine;
}

interface Leaving {
  readonly kind: 'stop' | 'swap';
  /** Who asked for it, for people. */
  readonly because: string;
  readonly done: CommandDone;
  stage: 'vm' | 'handing';
  /** Goes on when the link is lost, or the time is over. */
  cutShort: ((because: string) => void) | undefined;
  timer: Timer | undefined;
}

export class Departure {
  readonly #host: DepartureHost;
  readonly #mirror: DepartureHost['mirror'];
  readonly #parts: DepartureParts;
  #leaving: Leaving | undefined;
  /** On this connection the peer was told that it may leave: this side stays up to date. */
  #grantedToPeer = false;

  constructor(host: DepartureHost, parts: DepartureParts) {
    this.#host = host;
    this.#mirror = host.mirror;
    this.#parts = parts;
  }

  /** A stop or swap is under way. */
  get underWay(): boolean {
    return this.#leaving !== undefined;
  }
  /** Why it is; empty: none is. */
  get because(): string {
    return this.#leaving?.because ?? '';
  }
  /** The VM is to stay down: nobody may start it again. */
  get shutsVmDown(): boolean {
    return this.#leaving?.stage === 'vm';
  }
  /** The peer was told that it may leave: this node stays up to date. */
  get promisedToStay(): boolean {
    return this.#grantedToPeer;
  }
  /** This node gives up what it has: it makes no claims and no handshakes. */
  get handing(): boolean {
    return this.#leaving?.stage === 'handing';
  }

  // ---- commands -----------------------------------------------------------------------------------------------------

  /** Planned move of the VM to the peer: stop it here, flush both, hand the role over, start it there. */
  swap(done: CommandDone, because: string = byOperator): void {
    const { phase } = this.#mirror.pairing;
    if (!this.#mirror.serving)
      return done(
        refusal(
          'this node to be primary',
          'it is not',
          `run \`vmpair swap VM\` on ${this.#mirror.state.peer}`,
        ),
      );
    if (phase !== 'in-sync')
      return done(
        refusal('a pair that is in sync', `the link is ${phase}`, 'wait; `vmpair status VM` says for what'),
      );
    if (this.#grantedToPeer)
      return done(refusal('a peer that stays', 'it is about to leave', 'wait until it is back'));
    if (this.#mirror.operationOpen) return done(questionOpen());
    const difference = this.#difference();
    if (difference !== undefined)
      return done(
        refusal('copies that are equal', difference, 'wait some seconds: the pair is making them equal'),
      );
    const leaving = this.#begin('swap', because, done);
    if (leaving === undefined) return;
    this.#mirror.decisions.add('swap', 'hand the VM over', because);
    this.#host.shutVmDown(because, () => {
      if (this.#leaving !== leaving) return;
      if (!this.#mirror.serving || this.#mirror.pairing.phase !== 'in-sync' || this.#grantedToPeer)
        return this.#abortSwap('the pair is not in sync any more');
      if (this.#mirror.operationOpen) return this.#abortSwap('that the arbiter was asked meanwhile');
      this.#enterHanding(leaving, (because) => this.#abortSwap(because));
      this.#flushBoth(leaving, () => {
        const found = this.#difference();
        // A new primary knows nothing of them: nobody would make them equal any more.
        if (found === undefined) this.#handOver(leaving);
        else this.#abortSwap(found);
      });
    });
  }

  /** Why the copies of a pair in sync are not equal; `undefined`: as far as this node knows, they are. */
  #difference(): string | undefined {
    const blocks = this.#parts.replicas.reduce((sum, { bitmap }) => sum + bitmap.count, 0);
    if (blocks === 0) return undefined;
    return `${blocks} blocks that differ: this disk had no room for them, or a verify has found them`;
  }

  /** Stops the module on this node; a primary's VM is shut down and the peer takes over at once. */
  stop(done: CommandDone, because: string = byOperator): void {
    const leaving = this.#begin('stop', because, done);
    if (leaving === undefined) return;
    this.#mirror.decisions.add('stop', 'stop', because);
    if (this.#mirror.serving) this.#host.shutVmDown(because, () => this.#leave(leaving));
    else this.#leave(leaving);
  }

  #begin(kind: Leaving['kind'], because: string, done: CommandDone): Leaving | undefined {
    if (this.#leaving !== undefined) {
      done(refusal('no other action under way', `a ${this.#leaving.kind} is`, 'wait until it has ended'));
      return undefined;
    }
    this.#leaving = { kind, because, done, stage: 'vm', cutShort: undefined, timer: undefined };
    return this.#leaving;
  }

  // ---- the own departure ----------------------------------------------------------------------------------------------

  #enterHanding(leaving: Leaving, cutShort: (because: string) => void): void {
    leaving.stage = 'handing';
    leaving.cutShort = cutShort;
    leaving.timer = this.#parts.clock.after(handingTimeoutMs, () => {
      if (this.#leaving === leaving) leaving.cutShort?.('the peer did not answer in time');
    });
    this.#host.stopExports('this node is handing over or stopping');
  }

  /** Nothing is in flight, both copies are flushed, the activity log is empty. */
  #flushBoth(leaving: Leaving, then: () => void): void {
    const { primary, replicas } = this.#parts;
    const channel = this.#host.channel();
    const still = (): boolean => this.#leaving === leaving && this.#host.channel() === channel;
    primary.quiesce(() => {
      if (!still()) return;
      primary.flushAll(() => {
        if (!still()) return;
        forEachReplica(
          replicas,
          // Dirty blocks in sync: writes that this node's disk had no room for. They must stay covered.
          (replica, done) => (replica.bitmap.count === 0 ? replica.emptyLog(done) : replica.fold(done)),
          (ok) => {
            if (ok && still()) then();
          },
        );
      });
    });
  }

  #handOver(leaving: Leaving): void {
    const channel = this.#host.channel();
    this.#mirror.pairing.resumeWithBoot = undefined;
    this.#mirror.serving = false;
    this.#parts.primary.abandon();
    this.#mirror.persist({ role: 'secondary' }, () => {
      if (this.#leaving === leaving && this.#host.channel() === channel)
        channel?.control({ type: 'handover' });
    });
  }

  /** Still primary, or already not: the rules for a lost peer, or the next handshake, say who runs the VM. */
  #abortSwap(because: string): void {
    const leaving = this.#finish();
    if (leaving === undefined) return;
    const { primary } = this.#parts;
    if (leaving.stage === 'handing') {
      // A new handshake decides who goes on.
      this.#host.dropLink('a swap was given up');
      if (this.#mirror.serving) primary.hold();
    } else if (this.#mirror.serving && primary.gate === 'open') this.#host.serve();
    const next = 'look at `vmpair status VM`; the pair decides again who runs the VM';
    leaving.done(refusal('the VM to move to the peer', because, next));
    this.#host.changed();
  }

  #leave(leaving: Leaving): void {
    if (this.#leaving !== leaving) return;
    this.#enterHanding(leaving, (because) => this.#goWithoutWord(because));
    if (this.#mirror.pairing.phase !== 'in-sync') return this.#goWithoutWord('the pair is not in sync');
    if (this.#mirror.operationOpen) return this.#goWithoutWord('the arbiter has not answered yet');
    if (this.#mirror.serving) return this.#flushBoth(leaving, () => this.#askToLeave(leaving));
    this.#askToLeave(leaving);
  }

  #askToLeave(leaving: Leaving): void {
    const channel = this.#host.channel();
    if (this.#leaving !== leaving || channel === undefined) return;
    if (this.#grantedToPeer) return this.#goWithoutWord('the peer is leaving too');
    channel.control({ type: 'leave-request' });
  }

  #leaveGranted(): void {
    const leaving = this.#leaving;
    const channel = this.#host.channel();
    if (leaving?.kind !== 'stop' || leaving.stage !== 'handing') return;
    this.#mirror.decisions.add('leave', 'leave as outdated', 'the peer holds every write and goes on');
    this.#mirror.serving = false;
    this.#parts.primary.abandon();
    this.#mirror.persist({ data: 'outdated', role: 'secondary' }, () => {
      if (this.#leaving !== leaving) return;
      // The peer closes the connection when it has this; closing it here could lose it.
      if (this.#host.channel() !== channel) return this.#end();
      const because = leaving.because === byOperator ? 'it was stopped by its operator' : leaving.because;
      channel?.control({ type: 'outdated', because });
    });
    leaving.cutShort = () => {
      if (this.#mirror.state.data === 'outdated') this.#end();
    };
  }

  #goWithoutWord(because: string): void {
    this.#mirror.decisions.add('leave', 'leave without a word', because);
    this.#end();
  }

  #end(): void {
    const leaving = this.#finish();
    if (leaving !== undefined) this.#host.end(leaving.done);
  }

  #finish(): Leaving | undefined {
    const leaving = this.#leaving;
    leaving?.timer?.cancel();
    this.#leaving = undefined;
    return leaving;
  }

  // ---- link -------------------------------------------------------------------------------------------------------------

  linkLost(because: string): void {
    this.#grantedToPeer = false;
    if (this.#leaving?.stage === 'handing') this.#leaving.cutShort?.(because);
  }

  /** A string says why the connection must end. */
  control(message: ControlMessage): string | undefined {
    switch (message.type) {
      case 'handover':
        return this.#takeHandover();
      case 'handover-accepted': {
        if (this.#leaving?.kind !== 'swap' || this.#mirror.serving) return 'an answer to no handover';
        this.#finish()?.done(undefined);
        this.#host.changed();
        return undefined;
      }
      case 'leave-request':
        return this.#answerLeave();
      case 'leave-granted':
        this.#leaveGranted();
        return undefined;
      case 'leave-refused':
        if (this.handing) this.#goWithoutWord(message.because);
        return undefined;
      case 'outdated':
        this.#peerIsOutdated(message.because);
        return undefined;
      default:
        return `a ${message.type} message that is not expected here`;
    }
  }

  // ---- the peer's departure -----------------------------------------------------------------------------------------------

  #takeHandover(): string | undefined {
    const channel = this.#host.channel();
    const { pairing } = this.#mirror;
    if (this.#mirror.serving || pairing.phase !== 'in-sync' || channel === undefined)
      return 'a handover that does not fit';
    if (this.#leaving !== undefined || this.#host.busy()) return 'a handover to a node that is leaving';
    this.#parts.secondary.whenIdle(() => {
      if (this.#host.channel() !== channel) return;
      this.#mirror.persist({ role: 'primary' }, () => {
        if (this.#host.channel() !== channel) return;
        this.#mirror.decisions.add('handover', 'be primary', 'the peer handed the VM over');
        pairing.resumeWithBoot = pairing.peerHello?.facts.bootId;
        this.#parts.primary.hold();
        this.#parts.primary.resume(channel);
        channel.control({ type: 'handover-accepted' });
        this.#host.serve();
      });
    });
    return undefined;
  }

  #answerLeave(): string | undefined {
    const channel = this.#host.channel();
    if (channel === undefined) return undefined;
    const { state, pairing } = this.#mirror;
    // When both ask at once the one that sorts first refuses; a side that was granted before never asks.
    const both = this.handing && state.self < state.peer;
    const swaps = this.#leaving?.kind === 'swap';
    if (pairing.phase !== 'in-sync' || state.data !== 'up-to-date' || both || swaps || this.#host.busy()) {
      channel.control({
        type: 'leave-refused',
        because: 'the peer is leaving too, busy with the arbiter, or not in sync',
      });
      return undefined;
    }
    this.#grantedToPeer = true;
    this.#flushBeforeGrant(channel);
    return undefined;
  }

  /**
   * The copy that stays must hold everything on stable storage before the other one is given up: writes are held from now
   * on, what is under way ends, and the own copy is flushed. They go on when the peer has left, or the link is lost.
   */
  #flushBeforeGrant(channel: PeerChannel): void {
    const { primary, secondary, replicas, clock } = this.#parts;
    const still = (): boolean => this.#host.channel() === channel;
    clock.after(handingTimeoutMs, () => {
      if (still()) this.#host.dropLink('the peer wanted to leave and did not');
    });
    const flush = (): void => {
      if (!still()) return;
      forEachReplica(
        replicas,
        (replica, done) => replica.device.flush(completion(done)),
        (ok) => {
          if (ok && still()) channel.control({ type: 'leave-granted' });
        },
      );
    };
    if (this.#mirror.serving) primary.holdAndDrain(flush);
    else secondary.whenIdle(flush);
  }

  /** The peer has durably given its copy up: this node needs nobody's permission to go on alone. */
  #peerIsOutdated(because: string): void {
    const { phase } = this.#mirror.pairing;
    const isPair = phase === 'in-sync' || phase === 'compare-source' || phase === 'compare-target';
    if (!isPair || this.#mirror.state.data !== 'up-to-date') {
      this.#host.dropLink('the peer left');
      return;
    }
    this.#mirror.decisions.add('peer-left', 'go on alone', `the peer's copy is outdated: ${because}`);
    const { bootId } = this.#mirror.config;
    this.#mirror.persist({ peerData: 'outdated', role: 'primary', bootId }, () => {
      const goesToo = this.handing;
      this.#host.dropLink('the peer left');
      if (!goesToo) this.#host.becomeAlone();
    });
  }
}

/** While the arbiter has been asked and has not answered, nothing else is asked of it. */
export function questionOpen(): WorldError {
  const next =
    'start the arbiter or repair the way to it (`vmpair arbiter status VM`); give the command again when it has answered';
  return refusal('no open question to the arbiter', 'one', next);
}

export function refusal(wanted: string, found: string, next: string): WorldError {
  return new WorldError('control-refused', { wanted, found, next });
}
