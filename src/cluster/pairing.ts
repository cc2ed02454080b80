/**
 * How two copies become a pair: handshake, resync, and the step to "in sync". One object for the life of the module; each
 * connection starts over at `handshake`.
 *
 * Order that must hold (each was seen to lose data when removed): no handshake completes while either side has an open claim;
 * the source flushes before the target is marked; the target's mark is durable before the first block; bits are cleared on disk
 * only after both copies are flushed; the arbiter's record says `both` before the target is told; the base moves only
 * when the target has persisted the new generation.
 */
import { assertInvariant } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import type { OperationId } from '../base/identity.ts';
import type { ResyncProgress } from '../base/status.ts';
import { pathEntriesMax, type PersistentState, type PendingOperation } from '../disk/state.ts';
import type { BlockChecksum } from '../engine/block-digests.ts';
import { coveredBytes } from '../engine/coverage.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import type { PrimaryEngine } from '../engine/primary-engine.ts';
import { completion, forEachReplica, type Replica } from '../engine/replica.ts';
import { ResyncSource } from '../engine/resync-source.ts';
import type { SecondaryEngine } from '../engine/secondary-engine.ts';
import type { ControlMessage, Hello } from '../link/control-messages.ts';
import { FrameType, type FrameHeader } from '../link/frames.ts';
import { blockSizeBytes } from '../disk/state.ts';
import type { DecisionLog } from './decision-log.ts';
import type { DiskTrouble } from './disk-trouble.ts';
import { decideResync, type ResyncVerdict } from './decide-resync.ts';
import { ResyncReport } from './resync-report.ts';

export type PairPhase =
  | 'down'
  | 'handshake'
  | 'resync-source'
  | 'resync-target'
  /** Equal copies are compared; both stay up to date and both are needed for every write. */
  | 'compare-source'
  | 'compare-target'
  /** Source: everything is copied; the last flush, the record, the target's word. */
  | 'finishing'
  | 'in-sync';

type Proposal = Extract<ControlMessage, { type: 'propose' }>;
type ToldInSync = Extract<ControlMessage, { type: 'in-sync' }>;
type PersistPatch = Partial<PersistentState>;

/** What pairing needs of the module around it. */
export interface PairingHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly config: { readonly bootId: string; readonly resyncBytesPerSecondMax?: number | undefined };
    readonly preferSelf: boolean;
    readonly decisions: DecisionLog;
    readonly disk: Pick<DiskTrouble, 'present' | 'doubtAfterResync' | 'repaired' | 'peerTakesPart'>;
    persist(patch: PersistPatch, then: () => void): void;
    hello(round: number): Hello;
  };
  operationOpen(): boolean;
  /** Begins an arbiter operation; the host persists its consequence and then calls `recordSaysBoth`. */
  beginOperation(operation: PendingOperation): void;
  operationId(): OperationId;
  /** The node is about to be a target: whatever it served ends, its VM provably stops. */
  standDown(because: string, then: () => void): void;
  /** The node may serve now: over the channel with the peer, or alone. Starts or resumes the VM. */
  serve(): void;
  /** The copy is about to become inconsistent; `then` when its earlier image is kept, or will not be. */
  keepImage(neededBytes: number, then: () => void): void;
  /** This copy is durably up to date, as one of a pair; also after a link that resumed. */
  pairIsInSync(): void;
  /** The pair's situation changed. */
  changed(): void;
  diskFailed(volume: string, during: string): void;
}

export interface PairingParts {
  readonly clock: Clock;
  readonly replicas: readonly Replica[];
  readonly primary: PrimaryEngine;
  readonly secondary: SecondaryEngine;
  readonly checksum: BlockChecksum;
}

/** How much of a bitmap goes into one frame. */
const bitsPerFrameBytes = 32 * 1024;
const progressIntervalMs = 500;

export class Pairing {
  readonly #host: PairingHost;
  readonly #mirror: PairingHost['mirror'];
  readonly #parts: PairingParts;
  phase: PairPhase = 'down';
  /** Why the handshake does not go on, for people. */
  waiting = '';
  verdict: ResyncVerdict | undefined;
  lastResync: ResyncProgress | undefined;
  /** Boot of the peer with which this node, an uninterrupted primary, is or was last in sync. */
  resumeWithBoot: string | undefined;
  #channel: PeerChannel | undefined;
  #round = 0;
  /** The last hello of this side. */
  #mine: Hello | undefined;
  #theirs: Hello | undefined;
  #proposed: { round: number; peerRound: number; verdict: ResyncVerdict } | undefined;
  #accepting = false;
  /** Grows when the node stands down. */
  #turn = 0;
  #resync: ResyncSource | undefined;
  /** Of the resync under way, on either side. */
  #report: ResyncReport | undefined;
  /** The final part must not fall back to going alone: the swap to `both` is decided, or the target was told. */
  #pointOfNoReturn = false;
  /** The target stayed up to date during this resync: going alone needs the arbiter all the time. */
  #comparing = false;

  constructor(host: PairingHost, parts: PairingParts) {
    this.#host = host;
    this.#mirror = host.mirror;
    this.#parts = parts;
  }

  get channel(): PeerChannel | undefined {
    return this.#channel;
  }
  get peerHello(): Hello | undefined {
    return this.#theirs;
  }

  /** The peer is connected, and the two copies have diverged: no handshake completes. */
  get isSplit(): boolean {
    return this.phase === 'handshake' && this.#theirs !== undefined && this.verdict?.action === 'refuse';
  }

  /** The peer is connected and holds nothing of this module. */
  get peerIsNew(): boolean {
    return this.phase === 'handshake' && this.#theirs?.facts.data === 'fresh';
  }

  /** The peer is connected and its copy holds every write that was acknowledged: this one may be given up. */
  get peerHoldsAll(): boolean {
    const { phase } = this;
    const compares = phase === 'compare-source' || phase === 'compare-target';
    return phase === 'in-sync' || compares || (phase === 'finishing' && this.#comparing);
  }

  // ---- connection ---------------------------------------------------------------------------------------------------

  opened(channel: PeerChannel): void {
    this.#channel = channel;
    this.phase = 'handshake';
    this.waiting = 'the peer is connected; waiting for it to say what it holds';
    // What an earlier connection brought must be applied before this side says what it holds; a disk that hangs never does.
    if (this.#mirror.disk.present) this.sayHello();
    this.#parts.secondary.whenIdle(() => {
      if (this.#channel === channel) this.sayHello();
    });
    this.#host.changed();
  }

  lost(): void {
    const mayGoOnAlone = this.phase === 'finishing' && !this.#pointOfNoReturn && !this.#comparing;
    this.#noteEnd();
    this.#channel = undefined;
    this.#theirs = undefined;
    this.#mine = undefined;
    this.#proposed = undefined;
    this.#accepting = false;
    this.#resync?.stop();
    this.#resync = undefined;
    this.phase = 'down';
    const { primary } = this.#parts;
    primary.channelLost();
    // The record still names this node, or the target is still durably inconsistent: alone is still allowed.
    if (mayGoOnAlone) primary.allowSolo();
    this.#pointOfNoReturn = false;
    this.#host.changed();
  }

  /**
   * This node serves nothing any more: what it was copying stays unfinished until the next connection, and what was on its way to
   * serving is over.
   */
  abandonResync(): void {
    this.#turn += 1;
    this.#resync?.stop();
    this.#resync = undefined;
  }

  /** Tells the peer what this side holds now; a new round of the handshake. */
  sayHello(): void {
    if (this.#channel === undefined || this.phase !== 'handshake' || this.#accepting) return;
    this.#round += 1;
    this.#proposed = undefined;
    const hello = this.#mirror.hello(this.#round);
    this.#mine = hello;
    this.#channel.control(hello);
    this.#consider();
  }

  /** What the peer said that it holds is over, by its own word; it says anew what it is. */
  peerChanges(): void {
    this.#theirs = undefined;
    this.verdict = undefined;
    this.sayHello();
  }

  // ---- messages -------------------------------------------------------------------------------------------------------

  /** A string says why the connection must end. */
  control(message: ControlMessage): string | undefined {
    switch (message.type) {
      case 'hello':
        if (this.phase !== 'handshake' || this.#accepting) return 'a hello in the middle of something else';
        this.#theirs = message;
        if (message.started) this.#mirror.disk.peerTakesPart();
        this.#consider();
        return undefined;
      case 'propose':
        this.#proposal(message);
        return undefined;
      case 'accept':
        return this.#accepted(message.round, message.peerRound);
      case 'in-sync':
        return this.#toldInSync(message);
      case 'in-sync-persisted':
        return this.#peerIsInSync(message.generation);
      case 'progress':
        this.#report?.observe(this.#parts.clock.nowMs(), message);
        return undefined;
      default:
        return `a ${message.type} message that is not expected here`;
    }
  }

  dirtyBits(header: FrameHeader, bits: Uint8Array): string | undefined {
    const replica = this.#parts.replicas[header.volume];
    if (this.#proposed === undefined) return 'dirty bits that were not asked for';
    if (replica === undefined || header.offsetBytes % (8 * blockSizeBytes) !== 0)
      return 'dirty bits of no volume';
    const firstByte = header.offsetBytes / (8 * blockSizeBytes);
    return replica.bitmap.mergeBytes(firstByte, bits) ? undefined : 'dirty bits beyond the end of a volume';
  }

  // ---- handshake ------------------------------------------------------------------------------------------------------

  #consider(): void {
    const mine = this.#mine?.facts;
    const theirs = this.#theirs;
    if (this.phase !== 'handshake' || mine === undefined || theirs === undefined) return;
    if (this.#mine?.started !== true) this.waiting = 'this node does not take part now';
    else if (theirs.started) {
      const verdict = decideResync(mine, theirs.facts, this.#mirror.preferSelf);
      this.verdict = verdict;
      this.waiting = verdict.because;
      if (verdict.action === 'source') this.#propose(verdict, theirs);
    } else if (theirs.failure !== undefined)
      this.waiting = `the peer cannot take part: ${theirs.failure} there`;
    else this.waiting = 'the module is stopped on the peer';
    // Last: it may find that the connection is to be dropped.
    this.#host.changed();
  }

  #propose(verdict: ResyncVerdict, theirs: Hello): void {
    const channel = this.#channel as PeerChannel;
    const proposal = { round: this.#round, peerRound: theirs.round, verdict };
    this.#proposed = proposal;
    const send = (): void => {
      if (this.#channel !== channel || this.#proposed !== proposal) return;
      channel.control({
        type: 'propose',
        round: proposal.round,
        peerRound: proposal.peerRound,
        rule: verdict.rule,
        coveredBytes: coveredBytes(this.#parts.replicas),
      });
    };
    if (verdict.scope === 'none') return send();
    // The source's own copy must be on stable storage before the other one is given up.
    const flush = (): void => this.#flushOwn(send);
    if (verdict.scope === 'full') this.#markAll(flush);
    else flush();
  }

  /**
   * Before a full copy: every bit is set, durably, and then counts from the present generation. So the target may take the
   * lineage with its first block, and an interrupted copy goes on with the bits that are left, like any other resync.
   */
  #markAll(then: () => void): void {
    const { replicas } = this.#parts;
    for (const replica of replicas) replica.bitmap.setAll();
    forEachReplica(
      replicas,
      (replica, done) => replica.writeBitmap(done),
      (ok) => {
        if (ok) this.#mirror.persist({ base: this.#mirror.state.path.at(-1) }, then);
        else this.#host.diskFailed('every volume', 'writing the dirty bitmap');
      },
    );
  }

  #flushOwn(then: () => void): void {
    forEachReplica(
      this.#parts.replicas,
      (replica, done) => replica.device.flush(completion(done)),
      (ok) => (ok ? then() : this.#host.diskFailed('every volume', 'the flush before a resync')),
    );
  }

  /** The peer is the source and asks this side to make its part durable. */
  #proposal({ round, peerRound, rule, coveredBytes: theirBytes }: Proposal): void {
    const channel = this.#channel;
    const verdict = this.verdict;
    const stale = peerRound !== this.#round || round !== this.#theirs?.round || this.phase !== 'handshake';
    if (channel === undefined || stale || this.#accepting || this.#host.operationOpen()) return;
    if (verdict?.action !== 'target' || verdict.rule !== rule) return;
    this.#accepting = true;
    const accept = (phase: PairPhase): void => {
      if (this.#channel !== channel) return;
      this.#accepting = false;
      this.phase = phase;
      if (phase === 'in-sync') this.#host.pairIsInSync();
      else this.#report = new ResyncReport('target', verdict, this.#parts.clock.nowMs());
      this.#mirror.decisions.add(
        verdict.rule,
        phase === 'in-sync' ? 'be secondary' : 'be resync target',
        verdict.because,
      );
      channel.control({ type: 'accept', round: peerRound, peerRound: round });
      this.#host.changed();
    };
    this.#host.standDown(`the peer is the source: ${verdict.because}`, () => {
      this.#parts.secondary.whenIdle(() => {
        if (this.#channel !== channel) return;
        if (verdict.scope === 'none') return accept('in-sync');
        forEachReplica(
          this.#parts.replicas,
          (replica, done) => replica.fold(done),
          () => {
            if (this.#channel !== channel) return;
            this.#keepImage(verdict, theirBytes, () => {
              if (this.#channel !== channel) return;
              this.#mirror.persist(this.#targetPatch(verdict), () => {
                if (this.#channel !== channel) return;
                this.#sendDirtyBits(channel);
                accept(verdict.targetStaysUpToDate ? 'compare-target' : 'resync-target');
              });
            });
          },
        );
      });
    });
  }

  /** What a target persists before the first block. In a full copy it takes the lineage of what it is going to hold. */
  #targetPatch(verdict: ResyncVerdict): PersistPatch {
    if (verdict.targetStaysUpToDate) return { role: 'secondary' };
    const given: PersistPatch = { role: 'secondary', data: 'inconsistent' };
    const source = this.#theirs?.facts;
    if (verdict.scope !== 'full' || source === undefined) return given;
    const { path, generation, holder } = source;
    return { ...given, path, generation, holder, base: path.at(-1) };
  }

  /** What may be overwritten takes room a second time, beside the image. */
  #keepImage(verdict: ResyncVerdict, theirBytes: number, then: () => void): void {
    if (verdict.targetStaysUpToDate) return then();
    const { replicas } = this.#parts;
    const isFull = verdict.scope === 'full';
    this.#host.keepImage(isFull ? Infinity : theirBytes + coveredBytes(replicas), then);
  }

  #sendDirtyBits(channel: PeerChannel): void {
    for (const { bitmap, index } of this.#parts.replicas) {
      for (let at = 0; at < bitmap.byteLength; at += bitsPerFrameBytes) {
        const next = bitmap.nextDirty(at * 8);
        if (next === -1) break;
        if (next >= (at + bitsPerFrameBytes) * 8) continue;
        channel.notify(
          FrameType.dirtyBits,
          index,
          at * 8 * blockSizeBytes,
          0,
          bitmap.exportBytes(at, bitsPerFrameBytes),
        );
      }
    }
  }

  /** The peer has made its part durable. */
  #accepted(round: number, peerRound: number): string | undefined {
    const proposal = this.#proposed;
    const channel = this.#channel;
    const theirs = this.#theirs;
    if (channel === undefined || theirs === undefined || proposal === undefined) return undefined;
    // `round` is that of the sender of the message, here the target.
    if (proposal.peerRound !== round || proposal.round !== peerRound) return undefined;
    this.#proposed = undefined;
    const { verdict } = proposal;
    const { primary } = this.#parts;
    this.#mirror.decisions.add(
      verdict.rule,
      verdict.scope === 'none' ? 'resume' : `be source of a resync (${verdict.scope})`,
      verdict.because,
    );
    if (verdict.scope === 'none') {
      primary.resume(channel);
      this.phase = 'in-sync';
      this.#host.pairIsInSync();
      this.#host.serve();
      return undefined;
    }
    const patch: PersistPatch = {
      role: 'primary',
      bootId: this.#mirror.config.bootId,
      peerData: verdict.targetStaysUpToDate ? 'unknown' : 'inconsistent',
    };
    const turn = this.#turn;
    this.#mirror.persist(patch, () => {
      if (this.#turn !== turn) return;
      // Even if the connection is gone by now: the peer's copy is durably inconsistent, so this node may go on alone.
      if (verdict.targetStaysUpToDate) {
        if (this.#channel !== channel) return;
        if (primary.gate === 'closed') primary.hold();
        primary.resume(channel);
        return this.#startResync(channel, verdict, 'compare-source');
      }
      const attach = (): void => {
        if (this.#channel !== channel) return this.#host.serve();
        primary.replicate(channel, true);
        this.#startResync(channel, verdict, 'resync-source');
      };
      if (primary.soloAllowed) return attach();
      if (primary.gate !== 'held') primary.hold();
      primary.goAlone((ok) => {
        if (ok && this.#turn === turn) attach();
      });
    });
    return undefined;
  }

  // ---- resync ---------------------------------------------------------------------------------------------------------

  #startResync(
    channel: PeerChannel,
    verdict: ResyncVerdict,
    phase: 'resync-source' | 'compare-source',
  ): void {
    const { replicas, checksum, clock, primary } = this.#parts;
    this.phase = phase;
    this.#comparing = phase === 'compare-source';
    this.#pointOfNoReturn = false;
    this.#report = new ResyncReport('source', verdict, clock.nowMs());
    const parts = {
      clock,
      replicas,
      checksum,
      mayCompare: verdict.compare,
      guestRequests: () => primary.inFlightCount + primary.readsInFlight,
      bytesPerSecondMax: () => this.#mirror.config.resyncBytesPerSecondMax,
    };
    const resync = new ResyncSource(parts, channel, {
      copied: () => {
        if (this.#resync === resync) this.#finish(channel);
      },
      diskFailed: (volume, during) => this.#host.diskFailed(volume, during),
    });
    this.#resync = resync;
    this.#host.serve();
    resync.start();
    this.#reportProgress(resync, channel);
  }

  #reportProgress(resync: ResyncSource, channel: PeerChannel): void {
    if (this.#resync !== resync || this.#channel !== channel) return;
    this.#tellProgress(resync, channel);
    this.#parts.primary.scheduleSettle();
    this.#parts.clock.after(progressIntervalMs, () => this.#reportProgress(resync, channel));
  }

  #tellProgress({ totalBytes, examinedBytes, sentBytes }: ResyncSource, channel: PeerChannel): void {
    const amounts = { totalBytes, examinedBytes, sentBytes };
    this.#report?.observe(this.#parts.clock.nowMs(), amounts);
    channel.control({ type: 'progress', ...amounts });
  }

  /** Everything is copied. From here every write waits for both. */
  #finish(channel: PeerChannel): void {
    const { primary, replicas } = this.#parts;
    this.phase = 'finishing';
    primary.requireBoth();
    primary.flushAll(() => {
      if (this.#channel !== channel) return;
      // Both copies hold everything durably: now the bits may go from the disk as well.
      forEachReplica(
        replicas,
        (replica, done) => replica.writeBitmap(done),
        (ok) => {
          if (!ok || this.#channel !== channel) return;
          const { state } = this.#mirror;
          if (state.holder === 'both') {
            // The record never left `both`: it is enough to forget that the target was inconsistent, before it is told otherwise.
            this.#pointOfNoReturn = true;
            return this.#mirror.persist({ peerData: 'unknown' }, () => this.#tellInSync(channel));
          }
          this.#pointOfNoReturn = true;
          this.#askForBoth();
        },
      );
    });
  }

  #askForBoth(): void {
    const operationId = this.#host.operationId();
    const { generation, holder, path } = this.#mirror.state;
    assertInvariant(holder !== undefined, 'a source has a lineage');
    this.#host.beginOperation({
      expected: { generation, holder, operationId: path.at(-1) as OperationId },
      next: { generation: generation + 1, holder: 'both', operationId },
    });
  }

  /** The arbiter's record says `both` now, and this node has persisted it. */
  recordSaysBoth(): void {
    const channel = this.#channel;
    if ((this.phase === 'finishing' || this.phase === 'in-sync') && channel !== undefined)
      this.#tellInSync(channel);
  }

  #tellInSync(channel: PeerChannel): void {
    if (this.#channel !== channel) return;
    const { path, generation, arbiterStore } = this.#mirror.state;
    if (this.#resync !== undefined) this.#tellProgress(this.#resync, channel);
    const store = arbiterStore === undefined ? {} : { arbiterStore };
    channel.control({ type: 'in-sync', path: [...path], generation, holder: 'both', ...store });
  }

  /** Target: the copies are equal; persist it, then say so. */
  #toldInSync({ path, generation, arbiterStore }: ToldInSync): string | undefined {
    const channel = this.#channel;
    const record: PersistPatch = {
      path: path.slice(-pathEntriesMax),
      generation,
      holder: 'both',
      base: path.at(-1),
      arbiterStore,
    };
    if (this.phase === 'in-sync' && this.#parts.primary.gate === 'closed') return this.#toldNewRecord(record);
    if (this.phase !== 'resync-target' && this.phase !== 'compare-target')
      return 'in-sync outside of a resync';
    if (this.#mirror.disk.present) return 'in-sync to a node whose disk does not work';
    const patch: PersistPatch = {
      ...record,
      data: 'up-to-date',
      role: 'secondary',
      peerData: 'unknown',
      diskDoubt: this.#mirror.disk.doubtAfterResync,
      bootId: this.#mirror.config.bootId,
    };
    this.#mirror.persist(patch, () => {
      this.#mirror.disk.repaired();
      // Since the connection ended they may be those of the next handshake, or of writes alone; too many only cost time.
      if (this.#channel !== channel) return;
      for (const replica of this.#parts.replicas) replica.bitmap.clearAll();
      forEachReplica(
        this.#parts.replicas,
        (replica, done) => replica.writeBitmap(done),
        () => {
          if (this.#channel !== channel || channel === undefined) return;
          channel.control({ type: 'in-sync-persisted', generation });
          this.#host.pairIsInSync();
          this.#nowInSync('be secondary');
          this.#host.changed();
        },
      );
    });
    return undefined;
  }

  /** The record of a pair in sync was made anew, with another generation; the copies are what they were. */
  #toldNewRecord(record: PersistPatch): undefined {
    const channel = this.#channel;
    const { generation } = record;
    this.#mirror.persist(record, () => {
      this.#host.pairIsInSync();
      if (this.#channel === channel && generation !== undefined)
        channel?.control({ type: 'in-sync-persisted', generation });
    });
  }

  #peerIsInSync(generation: number): string | undefined {
    const { state } = this.#mirror;
    if (this.phase === 'in-sync' && generation === state.generation && this.#parts.primary.gate === 'open') {
      this.#mirror.persist({ base: state.path.at(-1) }, () => this.#host.pairIsInSync());
      return undefined;
    }
    if (this.phase !== 'finishing' || generation !== state.generation)
      return 'in-sync-persisted for something else';
    this.resumeWithBoot = this.#theirs?.facts.bootId;
    this.#resync = undefined;
    this.#pointOfNoReturn = false;
    this.#mirror.persist({ base: state.path.at(-1), bootId: this.#mirror.config.bootId }, () =>
      this.#host.pairIsInSync(),
    );
    this.#nowInSync('be primary of a pair');
    this.#host.changed();
    return undefined;
  }

  #nowInSync(action: string): void {
    const totals = this.#report?.sentence(this.#parts.clock.nowMs()) ?? '';
    this.#noteEnd();
    this.phase = 'in-sync';
    this.#mirror.decisions.add('in-sync', action, `both copies are equal and flushed; ${totals}`);
  }

  // ---- for display ------------------------------------------------------------------------------------------------------

  get progress(): ResyncProgress | undefined {
    return this.#report?.progress(this.#parts.clock.nowMs());
  }

  #noteEnd(): void {
    this.lastResync = this.#report?.totals(this.#parts.clock.nowMs()) ?? this.lastResync;
    this.#report = undefined;
  }
}
