/**
 * The end of a split brain: one copy is given up, by a command on either node that names which one is kept and since when the other
 * one's writes are lost. The blocks that only the given-up copy has are first kept in side files beside its disks; then it becomes an
 * outdated copy of the point that both have in common, and the next handshake copies what either side wrote since.
 *
 * Order that must hold: the peer has said that it can go on; the VM provably does not run and nothing is under way; the bits are durable;
 * the side files are complete and durable; only then is the copy marked, and nothing is overwritten before that. A crash before the
 * mark leaves a split brain, with a side file too many at worst; a crash after it leaves an ordinary outdated copy.
 * A keeper that the record does not name asks the arbiter to be named, before a handshake completes: otherwise the end of the
 * resynchronisation, or a reboot before it, would find that the record names the other copy, and neither would be up to date.
 */
import { WorldError } from '../base/errors.ts';
import type { Arbiter } from '../arbiter/arbiter.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { OperationId } from '../base/identity.ts';
import { sizeText } from '../base/size-text.ts';
import type { ArbiterRecord, PersistentState, PendingOperation } from '../disk/state.ts';
import { bytesOfBlocks, coveredBytes } from '../engine/coverage.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import { completion, forEachReplica, type Replica } from '../engine/replica.ts';
import type { ControlMessage, CopyFacts, Hello } from '../link/control-messages.ts';
import type { DecisionLog } from './decision-log.ts';
import { retryIntervalMs } from './arbiter-operation.ts';
import { bitsCoverSplit, commonPath } from './decide-resync.ts';
import { type CommandDone, refusal } from './departure.ts';
import type { SideFilePort } from './side-files.ts';
import { rangesOf } from './split-brain.ts';

/** How long the peer may take to say whether it can go on, ms. */
const readyDeadlineMs = 5000;

export interface ResolveHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly serving: boolean;
    readonly leaving: boolean;
    readonly operationOpen: boolean;
    readonly decisions: DecisionLog;
    readonly disk: { readonly present: boolean; readonly doubt: string };
    readonly pairing: {
      readonly isSplit: boolean;
      readonly channel: PeerChannel | undefined;
      readonly peerHello: Hello | undefined;
      sayHello(): void;
      peerChanges(): void;
    };
    persist(patch: Partial<PersistentState>, then: () => void): void;
  };
  operationId(): OperationId;
  /** Ends everything this node serves; `then` when its VM provably does not run and no request is under way. */
  standDown(because: string, then: () => void): void;
  /** May write alone now. */
  alone(): boolean;
  /** Goes on alone as before. */
  becomeAlone(): void;
  begin(operation: PendingOperation): void;
  changed(): void;
}

export interface ResolveParts {
  readonly clock: Clock;
  readonly replicas: readonly Replica[];
  readonly arbiter: Arbiter | undefined;
  /** `undefined`: this host can keep none. */
  readonly sideFiles: SideFilePort | undefined;
}

interface Asked {
  readonly channel: PeerChannel;
  readonly answered: (error: WorldError | undefined) => void;
  readonly timer: Timer | undefined;
}

export class Resolve {
  readonly #host: ResolveHost;
  readonly #mirror: ResolveHost['mirror'];
  readonly #parts: ResolveParts;
  #underWay = false;
  #asked: Asked | undefined;

  constructor(host: ResolveHost, parts: ResolveParts) {
    this.#host = host;
    this.#mirror = host.mirror;
    this.#parts = parts;
  }

  /** This copy is being given up: no handshake completes and nothing is asked of the arbiter. */
  get underWay(): boolean {
    return this.#underWay;
  }

  /** `done` when the copy that is not kept has been given up, durably. */
  start(keep: string, loseSince: string | undefined, done: CommandDone): void {
    const { self, peer } = this.#mirror.state;
    const problem = this.#problem() ?? this.#keepProblem(keep);
    if (problem !== undefined) return done(problem);
    if (keep === peer) return this.#giveUp(loseSince, done);
    const { channel } = this.#mirror.pairing;
    if (channel === undefined) return done(connectionLost());
    this.#mirror.decisions.add('resolve', `keep the copy of ${self}`, 'the operator asked for it');
    // Keeping blocks may take long: it ends with the connection at the latest.
    this.#asked = { channel, answered: done, timer: undefined };
    channel.control({ type: 'resolve', ...(loseSince === undefined ? {} : { loseSince }) });
  }

  #keepProblem(keep: string): WorldError | undefined {
    const { self, peer } = this.#mirror.state;
    if (keep === self || keep === peer) return undefined;
    return refusal(`--keep ${self} or --keep ${peer}`, `--keep ${keep}`, 'name the node whose copy is kept');
  }

  #problem(): WorldError | undefined {
    const { pairing, leaving, disk, operationOpen } = this.#mirror;
    if (!pairing.isSplit) {
      const next = 'connect both nodes, with both modules started; look at `vmpair status VM`';
      return refusal('two connected copies that have diverged', 'no split brain now', next);
    }
    if (this.#underWay || this.#asked !== undefined || leaving || operationOpen)
      return refusal('no other action under way', 'one', 'wait until it has ended');
    if (disk.present || disk.doubt !== 'none')
      return refusal('a disk that works', 'that it does not', 'look at `vmpair status VM`');
    return undefined;
  }

  // ---- messages -------------------------------------------------------------------------------------------------------

  /** A string says why the connection must end. */
  control(message: ControlMessage): string | undefined {
    const { channel } = this.#mirror.pairing;
    if (channel === undefined) return undefined;
    switch (message.type) {
      case 'resolve':
        this.#answerTo(channel, (done) => this.#giveUp(message.loseSince, done));
        return undefined;
      case 'resolve-begin':
        this.#answerTo(channel, (done) => this.#checkKeeper(done), { type: 'resolve-ready' });
        return undefined;
      case 'resolve-ready':
        this.#endAsked(undefined);
        return undefined;
      case 'resolve-refused': {
        const { wanted, found, next } = message;
        this.#endAsked(refusal(wanted, found, next));
        return undefined;
      }
      case 'given-up':
        this.#peerGaveUp();
        this.#endAsked(undefined);
        return undefined;
      default:
        return `a ${message.type} message that is not expected here`;
    }
  }

  linkLost(): void {
    this.#endAsked(connectionLost());
  }

  #answerTo(channel: PeerChannel, act: (done: CommandDone) => void, ready?: ControlMessage): void {
    const refuse = ({ wanted, found, next }: WorldError): void =>
      channel.control({ type: 'resolve-refused', wanted, found, next });
    const problem = this.#problem();
    // Of a keeper that has asked for it, the question whether it can go on is part of that.
    const isPart = this.#asked?.channel === channel && this.#asked.timer === undefined;
    if (problem !== undefined && !(isPart && ready !== undefined)) return refuse(problem);
    act((error) => {
      if (error !== undefined) refuse(error);
      else if (ready !== undefined) channel.control(ready);
    });
  }

  #endAsked(error: WorldError | undefined): void {
    const asked = this.#asked;
    this.#asked = undefined;
    asked?.timer?.cancel();
    asked?.answered(error);
  }

  // ---- the copy that is given up ----------------------------------------------------------------------------------------

  #giveUp(loseSince: string | undefined, done: CommandDone): void {
    const { channel } = this.#mirror.pairing;
    const problem = this.#lossProblem(loseSince);
    if (problem !== undefined) return done(problem);
    if (channel === undefined) return done(connectionLost());
    const timer = this.#parts.clock.after(readyDeadlineMs, () =>
      this.#endAsked(notReady('no answer in time')),
    );
    const answered: CommandDone = (error) => {
      if (error !== undefined) return done(error);
      const keeper = this.#mirror.pairing.peerHello?.facts;
      const found = this.#problem();
      if (found !== undefined || keeper === undefined) return done(found ?? connectionLost());
      this.#underWay = true;
      const end: CommandDone = (ended) => {
        this.#underWay = false;
        done(ended);
        this.#mirror.pairing.sayHello();
        this.#host.changed();
      };
      const room = this.#parts.sideFiles;
      if (room === undefined)
        return end(refusal('to keep the blocks', 'that this host cannot', 'keep the other copy'));
      room.checkRoom(this.#neededBytes(keeper), (full) => {
        if (full !== undefined) return end(noRoom(full));
        this.#standDownAndKeep(channel, keeper, end);
      });
    };
    this.#asked = { channel, answered, timer };
    channel.control({ type: 'resolve-begin' });
  }

  #lossProblem(loseSince: string | undefined): WorldError | undefined {
    const { self, peer, aloneSince, inSyncAt } = this.#mirror.state;
    const since = aloneSince ?? inSyncAt ?? 'the-beginning';
    if (loseSince === since) return undefined;
    const { replicas } = this.#parts;
    const bytes = replicas.reduce(
      (sum, { bitmap, device }) => sum + bytesOfBlocks(bitmap, device.sizeBytes),
      0,
    );
    return refusal(
      `--lose-since ${since}`,
      loseSince === undefined ? 'no --lose-since' : `--lose-since ${loseSince}`,
      `what ${self} wrote since ${since}, up to ${sizeText(bytes)}, is given up; its VM ends at once. The blocks are kept in a file ` +
        `beside each disk of ${self}, and then overwritten with those of ${peer}. Shut that VM down first if it still runs and its last ` +
        'writes matter; then give the command again with this option',
    );
  }

  #neededBytes(keeper: CopyFacts): number {
    const { replicas } = this.#parts;
    if (bitsCoverSplit(this.#mirror.state, keeper)) return coveredBytes(replicas);
    return replicas.reduce((sum, { device }) => sum + device.sizeBytes, 0);
  }

  #standDownAndKeep(channel: PeerChannel, keeper: CopyFacts, end: CommandDone): void {
    const { replicas } = this.#parts;
    const wasAlone = this.#mirror.serving && this.#host.alone();
    const { peer, aloneSince, inSyncAt, splitSince } = this.#mirror.state;
    this.#host.standDown(`the copy of ${peer} is kept, and this one is given up`, () => {
      // Nothing that bits could count from: everything may differ, so everything is kept.
      if (!bitsCoverSplit(this.#mirror.state, keeper)) for (const { bitmap } of replicas) bitmap.setAll();
      forEachReplica(
        replicas,
        (replica, done) => {
          const flush = (ok: boolean): void => (ok ? replica.device.flush(completion(done)) : done(false));
          // Whoever writes alone marks each write: the extents of its log would only blow the side file up.
          if (wasAlone) replica.emptyLogAfterBitmap(flush);
          else replica.fold(flush);
        },
        (ok) => {
          const goBack = (problem: WorldError): void => {
            end(problem);
            // A node that waited for the arbiter goes on waiting.
            if (wasAlone && !this.#mirror.disk.present) this.#host.becomeAlone();
          };
          if (!ok) return goBack(noRoom('the disk or its metadata cannot be written'));
          const volumes = replicas.map(({ name, bitmap, device }) => ({
            name,
            ranges: rangesOf(bitmap, device.sizeBytes),
          }));
          const content = { since: aloneSince ?? inSyncAt, seenAt: splitSince, keep: peer, volumes };
          this.#parts.sideFiles?.write(content, (result) => {
            if (typeof result === 'string') return goBack(noRoom(result));
            // Keeping may take long. Nobody knows whether a keeper that is lost by now will ever go on.
            if (this.#mirror.pairing.channel !== channel) return goBack(connectionLost());
            this.#mirror.decisions.add(
              'resolve',
              'give this copy up',
              `its blocks are kept in ${result.join(', ')}`,
            );
            this.#mirror.persist(givenUp(this.#mirror.state, keeper), () => {
              if (this.#mirror.pairing.channel === channel) channel.control({ type: 'given-up' });
              end(undefined);
            });
          });
        },
      );
    });
  }

  // ---- the copy that is kept ----------------------------------------------------------------------------------------------

  /**
   * Whether this node can go on with its copy. Where the record says otherwise its copy counts as outdated, durably, before the other one
   * is given up: so it goes on only after the record was changed, whatever happens in between.
   */
  #checkKeeper(done: CommandDone): void {
    const { data, path, arbiterStore } = this.#mirror.state;
    if (data !== 'up-to-date' && data !== 'outdated') return done(notReady(`that its copy is ${data}`));
    const { arbiter } = this.#parts;
    if (arbiter === undefined) return done(undefined);
    if (this.#mirror.serving && !this.#host.alone())
      return done(notReady('that its VM waits for the arbiter'));
    arbiter.read((answer) => {
      if (answer.kind === 'no-answer')
        return done(notReady(`that its arbiter does not answer: ${answer.because}`));
      // It could not be named there, and an outdated copy cannot have its record made anew.
      if (arbiterStore !== undefined && answer.store !== arbiterStore && !this.#host.alone())
        return done(recordsLost(this.#mirror.state));
      // What runs, runs on; its place in the record it gets when the other copy is given up.
      const isNamed = answer.record?.operationId === path.at(-1) || this.#host.alone();
      if (isNamed || data === 'outdated') return done(undefined);
      this.#mirror.persist({ data: 'outdated', role: 'secondary' }, () => done(undefined));
    });
  }

  #peerGaveUp(): void {
    const { state, decisions } = this.#mirror;
    decisions.add(
      'resolve',
      'keep this copy',
      `the copy of ${state.peer} was given up; its blocks are kept there`,
    );
    // It is over for this copy, also if the other one is lost before the next handshake.
    this.#mirror.persist({ splitSince: undefined }, () => {});
    const { arbiter } = this.#parts;
    this.#underWay = arbiter !== undefined;
    this.#mirror.pairing.peerChanges();
    if (arbiter !== undefined) this.#askToBeNamed(arbiter);
    else if (state.data === 'outdated') this.#claim(undefined);
  }

  /** No handshake completes until the arbiter has been asked; without a connection the rules for a lost peer follow. */
  #askToBeNamed(arbiter: Arbiter): void {
    const { pairing } = this.#mirror;
    const { channel } = pairing;
    const end = (): void => {
      this.#underWay = false;
      pairing.sayHello();
      this.#host.changed();
    };
    const ask = (): void =>
      arbiter.read((answer) => {
        if (this.#mirror.pairing.channel !== channel) return end();
        if (answer.kind === 'no-answer') return void this.#parts.clock.after(retryIntervalMs, ask);
        this.#underWay = false;
        const { data, path } = this.#mirror.state;
        const isNamed = data === 'up-to-date' && answer.record?.operationId === path.at(-1);
        if (!isNamed && !this.#mirror.operationOpen) this.#claim(answer.record);
        end();
      });
    ask();
  }

  #claim(expected: ArbiterRecord | undefined): void {
    const { self, generation: own } = this.#mirror.state;
    const generation = Math.max(expected?.generation ?? 0, own) + 1;
    const next = { generation, holder: self, operationId: this.#host.operationId() };
    this.#host.begin({ expected, next });
  }
}

/** An outdated copy of the point that both have in common, whose bits tell what it has beside it. */
function givenUp(state: PersistentState, keeper: CopyFacts): Partial<PersistentState> {
  // An outdated keeper leaves its last operation out when it is named.
  const kept = keeper.data === 'outdated' ? keeper.path.slice(0, -1) : keeper.path;
  const path = commonPath(state.path, kept);
  return {
    data: 'outdated',
    role: 'secondary',
    path,
    generation: path.length === 0 ? 0 : Math.max(1, state.generation - (state.path.length - path.length)),
    holder: path.length === 0 ? undefined : 'both',
    peerData: 'unknown',
    aloneSince: undefined,
    splitSince: undefined,
    wish: undefined,
  };
}

function connectionLost(): WorldError {
  const next = 'look at `vmpair status VM` on both nodes: while it says split brain, give the command again';
  return refusal('a connection to the peer until the copy is given up', 'that it was lost', next);
}

function notReady(found: string): WorldError {
  return refusal('a peer that can go on with its copy', found, 'repair that, or keep the other copy');
}

function recordsLost({ self, peer }: PersistentState): WorldError {
  const next =
    `run \`vmpair stop VM\` on ${peer}, then \`vmpair arbiter recreate VM --peer-is-off ${peer}\` on ${self}, start ${peer} again, ` +
    'and give this command again';
  return refusal('an arbiter that can name the copy that is kept', 'other records than its copy knows', next);
}

function noRoom(found: string): WorldError {
  const next = 'make room beside the disk files; both copies are as they were';
  return refusal('to keep the blocks that only this copy has', found, next);
}
