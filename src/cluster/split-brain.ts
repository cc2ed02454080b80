/**
 * Two copies that both went on alone from a common point: seen at a handshake, remembered, and frozen until a person gives one of them up
 * (resolve.ts). Frozen: what runs, runs on and writes alone; nothing is copied; a node whose VM does not run does not start it by
 * itself, also when the peer is lost again. Each node tells the other what it has written since, for people; nothing is decided by that.
 */
import type { Clock } from '../base/clock.ts';
import { sizeText } from '../base/size-text.ts';
import type { SplitRange, SplitSide, SplitStatus } from '../base/status.ts';
import type { DirtyBitmap } from '../disk/dirty-bitmap.ts';
import { blockSizeBytes, type PersistentState } from '../disk/state.ts';
import { bytesOfBlocks } from '../engine/coverage.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import type { Replica } from '../engine/replica.ts';
import type { ControlMessage } from '../link/control-messages.ts';
import type { DecisionLog } from './decision-log.ts';
import type { PairPhase } from './pairing.ts';

/** How often each node tells the other what it has written since the split, ms. */
const reportIntervalMs = 5000;
/** Ranges that are told of each volume. */
const rangesToldMax = 64;
/** Why a node whose VM does not run asks for nothing. */
export const frozenBecause =
  'both copies went on alone, and no role changes by itself before one of them is given up: ' +
  'run `vmpair resolve VM --keep NODE` while both are connected';

export type SplitReport = Extract<ControlMessage, { type: 'split-report' }>;

export interface SplitBrainHost {
  readonly mirror: {
    readonly state: PersistentState;
    readonly serving: boolean;
    readonly decisions: DecisionLog;
    readonly pairing: {
      readonly phase: PairPhase;
      readonly isSplit: boolean;
      readonly channel: PeerChannel | undefined;
    };
    readonly replicas: readonly Replica[];
    persist(patch: Partial<PersistentState>, then: () => void): void;
  };
  wallTime(): string;
}

export class SplitBrain {
  readonly #host: SplitBrainHost;
  readonly #mirror: SplitBrainHost['mirror'];
  readonly #clock: Clock;
  #peer: SplitReport | undefined;
  #tellNotBeforeMs = 0;

  constructor(host: SplitBrainHost, clock: Clock) {
    this.#host = host;
    this.#mirror = host.mirror;
    this.#clock = clock;
  }

  /** Seen, and not resolved yet; also while the peer is away, and after a restart. */
  get isFrozen(): boolean {
    return this.#mirror.state.splitSince !== undefined;
  }

  /** Looks at the handshake again: notes a split, and tells the peer what this side wrote. */
  look(): void {
    const { pairing, state, decisions } = this.#mirror;
    // One is being copied over the other: what was given up is given up, whether the pair gets in sync or not.
    const isOver = pairing.phase !== 'down' && pairing.phase !== 'handshake';
    if (isOver && state.splitSince !== undefined) this.#mirror.persist({ splitSince: undefined }, () => {});
    if (!pairing.isSplit) return;
    if (state.splitSince === undefined) {
      decisions.add('split-brain', 'freeze', frozenBecause);
      this.#mirror.persist({ splitSince: this.#host.wallTime() }, () => {});
    }
    const nowMs = this.#clock.nowMs();
    if (nowMs < this.#tellNotBeforeMs) return;
    this.#tellNotBeforeMs = nowMs + reportIntervalMs;
    pairing.channel?.control(this.report());
  }

  observe(report: SplitReport): void {
    this.#peer = report;
  }

  /** What this side wrote since the copies were equal. */
  report(): SplitReport {
    const { state, replicas } = this.#mirror;
    const since = state.aloneSince ?? state.inSyncAt;
    return {
      type: 'split-report',
      ...(since === undefined ? {} : { since }),
      volumes: replicas.map(({ name, bitmap, device }) => {
        const ranges = rangesOf(bitmap, device.sizeBytes);
        return {
          name,
          writtenBytes: bytesOfBlocks(bitmap, device.sizeBytes),
          ranges: ranges.slice(0, rangesToldMax),
          rangesOmitted: Math.max(0, ranges.length - rangesToldMax),
        };
      }),
    };
  }

  /** For people; `undefined`: there is no split. */
  get status(): SplitStatus | undefined {
    const { splitSince, self, peer } = this.#mirror.state;
    if (splitSince === undefined) return undefined;
    const own = sideOf(self, this.report());
    const sides = this.#peer === undefined ? [own] : [own, sideOf(peer, this.#peer)];
    const amounts = sides.map(({ node, writtenBytes, since }) => {
      const from = since === undefined ? '' : ` since ${since}`;
      return `${node} wrote ${sizeText(writtenBytes)}${from}`;
    });
    const unheard =
      this.#peer === undefined ? `; what ${peer} wrote is not known before it is connected` : '';
    const because =
      `split brain: both copies went on alone; ${amounts.join(', ')}${unheard}; both stay as they are until ` +
      '`vmpair resolve VM --keep NODE`';
    return { seenAt: splitSince, because, sides };
  }
}

function sideOf(node: string, { since, volumes }: SplitReport): SplitSide {
  const writtenBytes = volumes.reduce((sum, volume) => sum + volume.writtenBytes, 0);
  return { node, since, writtenBytes, volumes };
}

/** Runs of dirty blocks, as byte ranges of the volume, in order. */
export function rangesOf(bitmap: DirtyBitmap, sizeBytes: number): SplitRange[] {
  const ranges: { offsetBytes: number; lengthBytes: number }[] = [];
  bitmap.forEach((block) => {
    const offsetBytes = block * blockSizeBytes;
    const lengthBytes = Math.min(blockSizeBytes, sizeBytes - offsetBytes);
    const last = ranges.at(-1);
    if (last !== undefined && last.offsetBytes + last.lengthBytes === offsetBytes)
      last.lengthBytes += lengthBytes;
    else ranges.push({ offsetBytes, lengthBytes });
  });
  return ranges;
}
