/**
 * Online verify: while the pair is in sync and the guest works, this node, the primary, compares both copies in the background and
 * repairs what differs from its own. It survives interruptions of the pair: it waits, bounded, and goes on where it was.
 * It ends when this node stops being primary. It changes no role and keeps nobody from anything.
 */
import { assertInvariant } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { DifferingRange, VerifyOutcome, VerifyReport } from '../base/status.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import type { Replica } from '../engine/replica.ts';
import type { BlockChecksum } from '../engine/block-digests.ts';
import { type ByteRange, VerifySource } from '../engine/verify-source.ts';
import type { DecisionLog } from './decision-log.ts';
import { type CommandDone, refusal } from './departure.ts';

/** How long a verify waits for the pair to be in sync again before it ends, ms. */
export const pairAwayMaxMs = 10 * 60_000;
/** Ranges that a report lists; more are only counted. */
export const rangesMax = 1000;

export interface VerifyRequest {
  /** `undefined`: every volume. */
  readonly volume?: string | undefined;
  /** At most so many bytes a second; `undefined`: as fast as the guest leaves room. */
  readonly rateBytesPerSecond?: number | undefined;
}

/** Where the last report outlives the process. */
export interface VerifyReportStore {
  readonly last: VerifyReport | undefined;
  keep(report: VerifyReport): void;
}

export interface VerifyHost {
  readonly mirror: {
    readonly serving: boolean;
    /** A stop or swap is under way. */
    readonly leaving: boolean;
    readonly decisions: DecisionLog;
  };
  /** The channel of a pair that is in sync and works; otherwise why there is none. */
  channelOfPair(): PeerChannel | string;
  /** Grows with each write and flush of the guest. */
  guestActivity(): number;
  flushBoth(done: () => void): void;
  diskFailed(volume: string, during: string): void;
  wallTime(): string;
}

interface Run {
  readonly request: VerifyRequest;
  readonly replicas: readonly Replica[];
  readonly startedAt: string;
  readonly startedMs: number;
  readonly totalBytes: number;
  examinedBytes: number;
  ranges: DifferingRange[];
  rangesOmitted: number;
  /** Where the next chunk begins. */
  volume: number;
  offsetBytes: number;
  source: VerifySource | undefined;
  channel: PeerChannel | undefined;
  pause: Timer | undefined;
  chunkBeganMs: number;
  activityBefore: number;
  notBeforeMs: number;
  /** Why it does not go on now, and since when. */
  waiting: { readonly because: string; readonly sinceMs: number } | undefined;
  endsAfterChunk: { readonly outcome: VerifyOutcome; readonly because: string } | undefined;
}

export class Verify {
  readonly #host: VerifyHost;
  readonly #mirror: VerifyHost['mirror'];
  readonly #replicas: readonly Replica[];
  readonly #checksum: BlockChecksum;
  readonly #clock: Clock;
  readonly #store: VerifyReportStore | undefined;
  #run: Run | undefined;
  #last: VerifyReport | undefined;

  constructor(
    host: VerifyHost,
    parts: { readonly clock: Clock; readonly replicas: readonly Replica[]; readonly checksum: BlockChecksum },
    store: VerifyReportStore | undefined,
  ) {
    this.#host = host;
    this.#mirror = host.mirror;
    this.#replicas = parts.replicas;
    this.#checksum = parts.checksum;
    this.#clock = parts.clock;
    this.#store = store;
    this.#last = store?.last === undefined ? undefined : afterRestart(store.last);
  }

  /** The verify that runs, or the last one that ended on this node. */
  get report(): VerifyReport | undefined {
    return this.#run === undefined ? this.#last : this.#reportOf(this.#run);
  }

  // ---- commands -----------------------------------------------------------------------------------------------------

  start(request: VerifyRequest, done: CommandDone): void {
    const problem = this.#problemOf(request);
    if (problem !== undefined) return done(problem);
    const { volume } = request;
    const replicas = this.#replicas.filter(({ name }) => volume === undefined || name === volume);
    const nowMs = this.#clock.nowMs();
    const run: Run = {
      request,
      replicas,
      startedAt: this.#host.wallTime(),
      startedMs: nowMs,
      totalBytes: replicas.reduce((sum, { device }) => sum + device.sizeBytes, 0),
      examinedBytes: 0,
      ranges: [],
      rangesOmitted: 0,
      volume: 0,
      offsetBytes: 0,
      source: undefined,
      channel: undefined,
      pause: undefined,
      chunkBeganMs: nowMs,
      activityBefore: 0,
      notBeforeMs: nowMs,
      waiting: undefined,
      endsAfterChunk: undefined,
    };
    this.#run = run;
    this.#mirror.decisions.add('verify', 'compare both copies', 'the operator asked for it');
    this.#keep(run);
    done(undefined);
    this.look();
  }

  /** Ends it after the chunk under way, so that nothing is left half repaired. */
  stop(done: CommandDone): void {
    const run = this.#run;
    if (run === undefined)
      return done(refusal('a verify that runs', 'none', 'see "vmpair status VM" for the last one'));
    this.#endAfterChunk(run, 'stopped', 'the operator stopped it');
    done(undefined);
  }

  #problemOf({ volume }: VerifyRequest): ReturnType<typeof refusal> | undefined {
    const names = this.#replicas.map(({ name }) => name);
    if (volume !== undefined && !names.includes(volume)) {
      return refusal(
        `a volume of this VM (${names.join(', ')})`,
        volume,
        'name one of them, or none for all',
      );
    }
    if (this.#run !== undefined) {
      const next = 'wait until it has ended, or stop it: "vmpair verify VM --stop"';
      return refusal('no verify that runs already', 'one that does', next);
    }
    if (!this.#mirror.serving)
      return refusal('this node to be primary', 'it is not', 'run verify on the primary node');
    const channel = this.#host.channelOfPair();
    if (typeof channel !== 'string') return undefined;
    return refusal('a pair that is in sync', channel, 'wait until the pair is in sync');
  }

  // ---- the situation --------------------------------------------------------------------------------------------------

  /** The situation may have changed: pauses, goes on or ends. Cheap; called often. */
  look(): void {
    const run = this.#run;
    if (run === undefined) return;
    if (!this.#mirror.serving) return this.#end(run, 'interrupted', 'this node stopped being primary');
    if (this.#mirror.leaving) this.#endAfterChunk(run, 'interrupted', 'the VM was stopped or moved');
    if (this.#run !== run) return;
    const channel = this.#host.channelOfPair();
    if (typeof channel === 'string') return this.#wait(run, channel);
    if (run.channel === channel) return;
    this.#leaveChannel(run);
    run.channel = channel;
    run.waiting = undefined;
    this.#next(run);
  }

  /** The chunk under way is given up and examined again later; its range is free at once. */
  #wait(run: Run, because: string): void {
    this.#leaveChannel(run);
    if (run.endsAfterChunk !== undefined)
      return this.#end(run, run.endsAfterChunk.outcome, run.endsAfterChunk.because);
    const nowMs = this.#clock.nowMs();
    run.waiting = { because, sinceMs: run.waiting?.sinceMs ?? nowMs };
    if (nowMs - run.waiting.sinceMs > pairAwayMaxMs)
      this.#end(
        run,
        'interrupted',
        `the pair was not in sync for ${pairAwayMaxMs / 60_000} minutes: ${because}`,
      );
  }

  #leaveChannel(run: Run): void {
    run.pause?.cancel();
    run.pause = undefined;
    run.source?.stop();
    run.source = undefined;
    run.channel = undefined;
  }

  #endAfterChunk(run: Run, outcome: VerifyOutcome, because: string): void {
    if (run.source?.busy !== true) return this.#end(run, outcome, because);
    run.endsAfterChunk ??= { outcome, because };
  }

  #end(run: Run, outcome: VerifyOutcome, because: string): void {
    this.#leaveChannel(run);
    this.#run = undefined;
    this.#last = {
      ...this.#reportOf(run),
      outcome,
      because,
      endedAt: this.#host.wallTime(),
      etaMs: undefined,
    };
    this.#store?.keep(this.#last);
    this.#mirror.decisions.add('verify', `end the verify (${outcome})`, because);
  }

  // ---- chunk by chunk ---------------------------------------------------------------------------------------------------

  #next(run: Run): void {
    const { channel } = run;
    const replica = run.replicas[run.volume];
    if (replica === undefined) return this.#end(run, 'complete', summaryOf(run.ranges, run.rangesOmitted));
    assertInvariant(channel !== undefined, 'a verify goes on only over the channel of a pair');
    if (run.source?.replica !== replica) {
      run.source = new VerifySource(
        replica,
        {
          channel,
          checksum: this.#checksum,
          flushBoth: (done) => this.#host.flushBoth(done),
          wasDifferent: (chunk) => run.ranges.some((range) => isUnrepaired(range, replica.name, chunk)),
        },
        {
          differ: (ranges) => this.#differ(run, replica, ranges),
          examined: (chunk) => this.#examined(run, replica, chunk),
          diskFailed: (volume, during) => this.#host.diskFailed(volume, during),
        },
      );
    }
    run.chunkBeganMs = this.#clock.nowMs();
    run.activityBefore = this.#host.guestActivity();
    run.source.examine(run.offsetBytes);
  }

  #differ(run: Run, { name }: Replica, ranges: readonly ByteRange[]): void {
    if (this.#run !== run) return;
    for (const { offsetBytes, lengthBytes } of ranges) {
      // A chunk that was interrupted is examined again.
      const known = run.ranges.some((range) => range.volume === name && range.offsetBytes === offsetBytes);
      if (known) continue;
      if (run.ranges.length >= rangesMax) run.rangesOmitted += 1;
      else run.ranges.push({ volume: name, offsetBytes, lengthBytes, repaired: false });
    }
    this.#mirror.decisions.add(
      'verify-found-difference',
      "repair the peer's copy",
      `volume ${name} differs at ${ranges.map(({ offsetBytes }) => offsetBytes).join(', ')}`,
    );
    this.#keep(run);
  }

  #examined(run: Run, { name, device }: Replica, { offsetBytes, lengthBytes }: ByteRange): void {
    const isInside = (range: DifferingRange): boolean =>
      isUnrepaired(range, name, { offsetBytes, lengthBytes });
    if (run.ranges.some(isInside)) {
      run.ranges = run.ranges.map((range) => (isInside(range) ? { ...range, repaired: true } : range));
      this.#keep(run);
    }
    run.examinedBytes += lengthBytes;
    run.offsetBytes = offsetBytes + lengthBytes;
    if (run.offsetBytes >= device.sizeBytes) {
      run.volume += 1;
      run.offsetBytes = 0;
    }
    const ends = run.endsAfterChunk;
    if (ends !== undefined) return this.#end(run, ends.outcome, ends.because);
    run.pause = this.#clock.after(this.#pauseMs(run, lengthBytes), () => {
      run.pause = undefined;
      // The situation first: it may have changed during the pause.
      this.look();
      if (this.#run === run && run.channel !== undefined && run.source?.busy !== true) this.#next(run);
    });
  }

  /** As long as the chunk took while the guest works, so that it has the disk and the link at least half of the time. */
  #pauseMs(run: Run, lengthBytes: number): number {
    const nowMs = this.#clock.nowMs();
    const tookMs = nowMs - run.chunkBeganMs;
    const guestWorks = this.#host.guestActivity() !== run.activityBefore;
    const { rateBytesPerSecond } = run.request;
    if (rateBytesPerSecond !== undefined)
      run.notBeforeMs =
        Math.max(run.notBeforeMs, run.chunkBeganMs) + (lengthBytes / rateBytesPerSecond) * 1000;
    return Math.max(0, run.notBeforeMs - nowMs, guestWorks ? tookMs : 0);
  }

  // ---- report -----------------------------------------------------------------------------------------------------------

  #keep(run: Run): void {
    this.#store?.keep(this.#reportOf(run));
  }

  #reportOf(run: Run): VerifyReport {
    const { request, examinedBytes, totalBytes, waiting } = run;
    const elapsedMs = Math.round(this.#clock.nowMs() - run.startedMs);
    const leftBytes = totalBytes - examinedBytes;
    return {
      outcome: waiting === undefined ? 'running' : 'waiting',
      because: waiting?.because ?? 'the operator asked for it',
      volumes: run.replicas.map(({ name }) => name),
      ...(request.rateBytesPerSecond === undefined ? {} : { rateBytesPerSecond: request.rateBytesPerSecond }),
      startedAt: run.startedAt,
      endedAt: undefined,
      elapsedMs,
      totalBytes,
      examinedBytes,
      ranges: run.ranges,
      rangesOmitted: run.rangesOmitted,
      etaMs: examinedBytes > 0 ? Math.round((elapsedMs * leftBytes) / examinedBytes) : undefined,
    };
  }
}

/** It was found in this chunk of the volume, and is not known to be repaired. */
function isUnrepaired(range: DifferingRange, volume: string, chunk: ByteRange): boolean {
  const insideBytes = range.offsetBytes - chunk.offsetBytes;
  return range.volume === volume && insideBytes >= 0 && insideBytes < chunk.lengthBytes && !range.repaired;
}

function summaryOf(ranges: readonly DifferingRange[], omitted: number): string {
  const count = ranges.length + omitted;
  if (count === 0) return 'both copies are equal';
  return `${count} ${count === 1 ? 'range' : 'ranges'} of the peer's copy differed and ${count === 1 ? 'was' : 'were'} repaired`;
}

/** A report that an earlier process left: what ran then does not run any more. */
function afterRestart(report: VerifyReport): VerifyReport {
  if (report.outcome !== 'running' && report.outcome !== 'waiting') return report;
  const because =
    'the module process ended; ranges that were found and not repaired are compared again at the next connect';
  return { ...report, outcome: 'interrupted', because, etaMs: undefined };
}
