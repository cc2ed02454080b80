/**
 * What a module does when a disk of this node fails, hangs, is full, or is not the disk any more that it was.
 *
 * A node in trouble serves nothing and takes no part. With a peer that holds every write, it gives its copy up: its VM provably
 * does not run, it asks (`give-up`), the peer flushes and grants, and only then does it persist *outdated*. A node that is in
 * trouble itself, or has promised to stay, grants nothing: so two failures at once never leave two outdated copies. A grant that is not
 * followed by `outdated` in time (the metadata hangs too) sends the peer to the arbiter at once.
 * Without such a peer: hold, pause the VM, red; never an error for the guest.
 *
 * An error is final for this process. A disk that only hung, or was full, is taken back when it answers, or has room.
 * It opens no disk and knows no numbers of system calls.
 */
import type { Clock } from '../base/clock.ts';
import { type DiskDoubt, noBoot, type PersistentState } from '../disk/state.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import type { PrimaryEngine } from '../engine/primary-engine.ts';
import { completion, forEachReplica, type Replica } from '../engine/replica.ts';
import type { DiskWait } from '../engine/request-watch.ts';
import type { SecondaryEngine } from '../engine/secondary-engine.ts';
import type { ControlMessage } from '../link/control-messages.ts';
import type { DecisionLog } from './decision-log.ts';
import { type DiskFileFacts, doubtSentence, hasRoom, judgeDiskFile, worseDoubt } from './disk-file-facts.ts';
import type { Pairing } from './pairing.ts';
import { hungBecause, type NamedWait, SlowDisk } from './slow-disk.ts';

/** A disk that hung is taken back when no request is older than this any more, ms. */
const answersAgainMs = 1000;
/** After a grant, how long the word that the other copy is durably outdated may take before the arbiter is asked, ms. */
export const recordDeadlineMs = 1000;
/** How often the disk files are looked at, ms. */
export const lookIntervalMs = 5000;

type TroubleKind = 'failed' | 'hung' | 'full';

export interface WatchedDisk {
  /** For the sentence: `volume disk0`, `the metadata file`. */
  readonly name: string;
  readonly look: () => DiskWait;
}

/** Remembers that a disk is in doubt until its superblock says so: at least as long as the page cache of this host lives. */
export interface DoubtMark {
  /** At once, without waiting for a disk: the process may end right after this. */
  note(doubt: DiskDoubt): void;
  forget(): void;
}

export interface DiskTroubleHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly serving: boolean;
    readonly decisions: DecisionLog;
    readonly pairing: Pairing;
    persist(patch: Partial<PersistentState>, then: () => void): void;
  };
  channel(): PeerChannel | undefined;
  dropLink(because: string): void;
  /** An operation of the arbiter is open, or this node is leaving or has promised to stay: it grants nothing. */
  bound(): boolean;
  /** This node has told its peer that it may leave, on this connection: it stays up to date. */
  promisedToStay(): boolean;
  /** Ends what this node serves; `then` when its VM provably does not run. Disk requests may still be under way. */
  endService(because: string, then: () => void): void;
  pauseVm(because: string): void;
  /** The node serves again, if it may write. */
  serve(): void;
  /** Looks at the disk files; answers once, or never while a disk hangs. */
  inspectFiles(done: (facts: readonly DiskFileFacts[]) => void): void;
  changed(): void;
}

export interface DiskTroubleParts {
  readonly clock: Clock;
  readonly replicas: readonly Replica[];
  readonly primary: PrimaryEngine;
  readonly secondary: SecondaryEngine;
  readonly disks: readonly WatchedDisk[];
  readonly mark: DoubtMark;
  /** How long a disk may be silent before it counts as hung, ms. */
  readonly hungAfterMs: number;
  /** The time of day, for people. */
  wallTime(): string;
}

export class DiskTrouble {
  readonly #host: DiskTroubleHost;
  readonly #mirror: DiskTroubleHost['mirror'];
  readonly #parts: DiskTroubleParts;
  #kind: TroubleKind | undefined;
  /** What happened, as the peer shows it too. */
  #failure = '';
  #sentence: string | undefined;
  /** The content of the disk files was in doubt when this process opened them, and still is. */
  #openDoubt: DiskDoubt;
  /** The cache of this host may not be what its disk holds, although it was not rebooted. */
  #cacheLost: boolean;
  #flushFailed = false;
  /** Why the files under this process are not those that their paths name. */
  #fileProblem: string | undefined;
  #looking = false;
  #lookNotBeforeMs = 0;
  /** Asked on this connection. */
  #asked: PeerChannel | undefined;
  /** Granted on this connection: this node stays up to date. */
  #granted: PeerChannel | undefined;
  #peerGaveUp = false;
  readonly #slow: SlowDisk;

  constructor(host: DiskTroubleHost, parts: DiskTroubleParts) {
    this.#host = host;
    this.#mirror = host.mirror;
    this.#parts = parts;
    this.#openDoubt = host.mirror.state.diskDoubt;
    this.#cacheLost = this.#openDoubt !== 'none';
    this.#lookNotBeforeMs = parts.clock.nowMs() + lookIntervalMs;
    const { clock, hungAfterMs } = parts;
    this.#slow = new SlowDisk({
      hungAfterMs,
      decisions: host.mirror.decisions,
      nowMs: () => clock.nowMs(),
      wallTime: () => parts.wallTime(),
    });
  }

  // ---- facts ----------------------------------------------------------------------------------------------------------

  /** This node can neither serve nor be served. */
  get present(): boolean {
    return this.#kind !== undefined;
  }
  /** Only a new process begins anew. */
  get isFinal(): boolean {
    return this.#kind === 'failed' || this.#kind === 'full';
  }
  get hangs(): boolean {
    return this.#kind === 'hung';
  }
  /** What happened, for the peer. */
  get failure(): string | undefined {
    return this.present ? this.#failure : undefined;
  }
  /** The red sentence. */
  get sentence(): string | undefined {
    return (
      this.#sentence ??
      this.#fileProblem ??
      (this.#openDoubt === 'none' ? undefined : doubtSentence(this.#openDoubt))
    );
  }
  /** The orange sentence: a disk answers, and takes long. */
  get slowness(): string | undefined {
    return this.present ? undefined : this.#slow.sentence;
  }
  /** Of the files that this process opened. */
  get doubt(): DiskDoubt {
    return this.#openDoubt;
  }
  get cacheLost(): boolean {
    return this.#cacheLost;
  }
  /** What the next process has to know once this copy was made equal to the peer's. */
  get doubtAfterResync(): DiskDoubt {
    if (this.#fileProblem !== undefined) return 'file-replaced';
    return this.#flushFailed ? 'flush-failed' : 'none';
  }
  /** What the next process has to know now: the worst of it, because only one doubt is remembered. */
  get #lastingDoubt(): DiskDoubt {
    return worseDoubt(this.#openDoubt, this.doubtAfterResync);
  }
  /** The peer was told on this connection that it may give up. */
  get staysByPromise(): boolean {
    return this.#granted !== undefined && this.#granted === this.#host.channel();
  }
  /** The peer said that its disk does not work and that no VM runs there: waiting for it is of no use. */
  get peerOut(): boolean {
    const hello = this.#mirror.pairing.peerHello;
    if (hello?.started === true) return false;
    return this.#peerGaveUp || (hello?.failure !== undefined && hello.vmIsOff === true);
  }

  // ---- what happens -----------------------------------------------------------------------------------------------------

  /** A request to a disk file failed: `no-space`, or what it was; and what the system said of it, if anything. */
  failed(volume: string, during: string, said?: string): void {
    if (this.#kind === 'failed') return;
    if (during === 'no-space') {
      if (this.present) return;
      const failure = `there is no room for volume ${volume}`;
      return this.#begin('full', failure, `${failure} on this node; it takes part again when there is room`);
    }
    const failure = `volume ${volume} failed (${said === undefined ? during : `${during}: ${said}`})`;
    const next = 'mend the disk, or replace it and move the metadata file away, then run `vmpair start VM`';
    this.#begin('failed', failure, `${failure} on this node; ${next}`);
  }

  /** An fdatasync failed: from now on no content that was not flushed before is known to be on the disk. */
  flushFailed(): void {
    if (this.#flushFailed) return;
    this.#flushFailed = true;
    this.#parts.mark.note(this.#lastingDoubt);
    this.#mirror.persist({ diskDoubt: this.#lastingDoubt }, () => {});
  }

  /** Metadata could not be made durable; this process is about to end. */
  metadataFailed(): void {
    this.#parts.mark.note(worseDoubt('flush-failed', this.#lastingDoubt));
  }

  /** Again and again: does every disk answer, and is it still there? */
  observe(): void {
    const { disks, hungAfterMs } = this.#parts;
    const waits = disks.map(({ name, look }): NamedWait => ({ name, ...look() }));
    const oldest = waits.reduce((left, right) => (right.ageMs > left.ageMs ? right : left));
    if (this.#kind === undefined) {
      // Of several disks one may hang while the oldest request is that of a slow one.
      const failure = waits.map((wait) => hungBecause(wait, hungAfterMs)).find((why) => why !== undefined);
      if (failure === undefined) this.#slow.observe(oldest);
      else {
        const next = 'look at its disk; the node takes part again when it answers';
        this.#begin('hung', failure, `${failure} on this node; ${next}`);
      }
    } else if (this.#kind === 'hung' && oldest.ageMs < answersAgainMs) this.#end('the disk answers again');
    this.#lookAtFiles();
  }

  /** A connection to the peer was made; what was asked and granted on the one before is void. */
  linkOpened(): void {
    this.#asked = undefined;
    this.#granted = undefined;
    // The peer cannot go on while a VM may run here that was in sync with it and can never write again.
    const { serving, state } = this.#mirror;
    if (!this.present || !serving || this.#parts.primary.soloAllowed || state.holder !== 'both') return;
    this.#host.endService(this.#failure, () => this.#mirror.pairing.sayHello());
  }

  /** The peer works: what it said of its disk before is over. */
  peerTakesPart(): void {
    this.#peerGaveUp = false;
  }

  /** This copy was made equal to the peer's and flushed, under this process. The state that says so is persisted by the caller. */
  repaired(): void {
    this.#openDoubt = 'none';
    this.#cacheLost = false;
    if (this.#lastingDoubt === 'none') this.#parts.mark.forget();
  }

  /**
   * The operator takes the content of the disk as it is. What the peer may hold otherwise is unknown from now on: every block
   * counts as dirty, and is compared at the next resynchronisation.
   */
  accept(done: () => void): void {
    for (const { bitmap } of this.#parts.replicas) bitmap.setAll();
    forEachReplica(
      this.#parts.replicas,
      (replica, folded) => replica.fold(folded),
      (ok) => {
        // Otherwise this process is about to end.
        if (!ok) return;
        // What was answered here and did not reach the disk is lost, as after a power cut: also for the processes to come.
        this.#mirror.persist({ diskDoubt: this.doubtAfterResync, bootId: noBoot }, () => {
          this.#openDoubt = 'none';
          if (this.#lastingDoubt === 'none') this.#parts.mark.forget();
          this.#mirror.decisions.add('accept-disk', 'use this copy', 'the operator has checked the disk');
          this.#mirror.pairing.sayHello();
          this.#host.changed();
          done();
        });
      },
    );
  }

  // ---- the own trouble ----------------------------------------------------------------------------------------------------

  #begin(kind: TroubleKind, failure: string, sentence: string): void {
    const before = this.#kind;
    this.#kind = kind;
    this.#failure = failure;
    this.#sentence = sentence;
    this.#mirror.decisions.add(`disk-${kind}`, 'leave the pair', sentence);
    // It has asked already, or paused: an error of a disk that hung changes the sentence only.
    if (before !== undefined) return;
    const channel = this.#host.channel();
    const { pairing, serving } = this.#mirror;
    const isTarget = pairing.phase === 'resync-target';
    const promised = this.staysByPromise || this.#host.promisedToStay();
    if (channel === undefined || !(pairing.peerHoldsAll || isTarget) || promised) {
      if (serving) this.#host.pauseVm(sentence);
      return;
    }
    if (serving) this.#host.endService(sentence, () => this.#ask(channel));
    else this.#ask(channel);
  }

  #ask(channel: PeerChannel): void {
    if (this.#host.channel() !== channel) return;
    this.#asked = channel;
    channel.control({ type: 'give-up', because: `${this.#failure} there` });
  }

  #end(because: string): void {
    const { primary, secondary } = this.#parts;
    this.#kind = undefined;
    this.#sentence = undefined;
    this.#mirror.decisions.add('disk-answers', 'take part again', because);
    if (this.#mirror.serving) {
      if (primary.gate === 'open') this.#host.serve();
      this.#mirror.pairing.sayHello();
      return;
    }
    primary.whenIdle(() =>
      secondary.whenIdle(() => {
        // The peer's answer to what was asked before must not meet a node that takes part.
        if (this.#asked !== undefined && this.#asked === this.#host.channel())
          this.#host.dropLink('its disk answers again');
        else this.#mirror.pairing.sayHello();
        this.#host.changed();
      }),
    );
  }

  #outdate(channel: PeerChannel): void {
    const data = this.#mirror.state.data === 'inconsistent' ? 'inconsistent' : 'outdated';
    this.#mirror.persist({ data, role: 'secondary' }, () => {
      // The peer closes the connection when it has this.
      channel.control({ type: 'outdated', because: `${this.#failure} there` });
    });
  }

  // ---- the link -------------------------------------------------------------------------------------------------------

  /** A string says why the connection must end. */
  control(message: ControlMessage): string | undefined {
    const channel = this.#host.channel();
    switch (message.type) {
      case 'give-up':
        if (channel !== undefined) this.#answer(channel, message.because);
        return undefined;
      case 'give-up-granted':
        if (channel === undefined || this.#asked !== channel) return 'an answer to nothing that was asked';
        // It may have come back to life meanwhile; then the connection is about to end.
        if (this.present) this.#outdate(channel);
        return undefined;
      case 'give-up-refused':
        if (this.#asked !== channel) return 'an answer to nothing that was asked';
        this.#mirror.decisions.add('give-up-refused', 'stay as it is', message.because);
        return undefined;
      default:
        return `a ${message.type} message that is not expected here`;
    }
  }

  /** The peer's disk does not work, and it serves nothing: this node goes on, if its own copy and disk are good. */
  #answer(channel: PeerChannel, because: string): void {
    const { pairing, state, serving, decisions } = this.#mirror;
    const refuse = (why: string): void => channel.control({ type: 'give-up-refused', because: why });
    // A target that fails: this copy is the only good one all the time.
    if (pairing.phase === 'resync-source' || (pairing.phase === 'finishing' && !pairing.peerHoldsAll))
      return this.#host.dropLink(`the peer's disk does not work: ${because}`);
    if (!pairing.peerHoldsAll || state.data !== 'up-to-date')
      return refuse('the peer does not hold every write');
    if (this.present) return refuse(`the disk of the peer does not work either: ${this.#failure}`);
    if (this.#host.bound()) return refuse('the peer is leaving, or waits for the arbiter');
    const { primary, replicas, clock } = this.#parts;
    if (serving) primary.hold();
    forEachReplica(
      replicas,
      (replica, flushed) => replica.device.flush(completion(flushed)),
      (ok) => {
        if (this.#host.channel() !== channel) return;
        if (!ok) {
          this.failed('every volume', 'the flush before the peer may give up');
          return refuse('the disk of the peer does not work either');
        }
        if (this.present || this.#host.bound()) return refuse('the peer cannot go on either');
        this.#granted = channel;
        decisions.add('peer-gives-up', 'let the peer leave', because);
        channel.control({ type: 'give-up-granted' });
        clock.after(recordDeadlineMs, () => {
          if (this.#host.channel() !== channel || this.#granted !== channel) return;
          this.#peerGaveUp = true;
          this.#host.dropLink(`the peer's disk does not work: ${because}`);
        });
      },
    );
  }

  // ---- the files ------------------------------------------------------------------------------------------------------

  #lookAtFiles(): void {
    const nowMs = this.#parts.clock.nowMs();
    if (this.#looking || nowMs < this.#lookNotBeforeMs) return;
    this.#looking = true;
    this.#host.inspectFiles((facts) => {
      this.#looking = false;
      this.#lookNotBeforeMs = this.#parts.clock.nowMs() + lookIntervalMs;
      this.#judgeFiles(facts);
      if (this.#kind === 'full' && hasRoom(facts)) this.#end('there is room again');
    });
  }

  #judgeFiles(facts: readonly DiskFileFacts[]): void {
    const problem = judgeDiskFile(facts);
    if (problem === this.#fileProblem) return;
    this.#fileProblem = problem;
    if (problem !== undefined) this.#mirror.decisions.add('disk-file-replaced', 'tell', problem);
    // The next process would open another file than the one whose state the metadata tells; or not any more.
    const doubt = this.#lastingDoubt;
    if (doubt !== this.#mirror.state.diskDoubt) {
      if (doubt !== 'none') this.#parts.mark.note(doubt);
      this.#mirror.persist({ diskDoubt: doubt }, () => {
        if (this.#lastingDoubt === 'none') this.#parts.mark.forget();
      });
    }
    this.#host.changed();
  }
}
