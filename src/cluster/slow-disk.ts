/**
 * Tells a disk that is slow from one that hangs, and what people are told of a slow one. Pure.
 *
 * A device that completes requests works: one of ours may wait long behind those of others, most of all an fdatasync, for which a
 * file system writes what other processes left in its journal. To give the copy up for that would end the protection, or move the VM,
 * under plain load. A device that completes nothing hangs. Where nothing tells what the device does, age alone decides.
 */
import type { DiskWait } from '../engine/request-watch.ts';
import type { DecisionLog } from './decision-log.ts';

/**
 * A disk whose device works counts as hung when a request of ours is this many times `diskHungAfterMs` old: one bad sector in its
 * retries holds up what waits for it while others complete. With the default timers 28 s: guests give a disk up after 30 s (SCSI,
 * ATA and NVMe of Linux) or 60 s (Windows), and the node should act before.
 */
export const slowLimitFactor = 4;
/** A disk is slow from this part of `diskHungAfterMs` on: people should know before anything happens. */
const slowPart = 0.5;
/** It is slow no more when no request has waited that long for this time, ms. */
const slowEndsMs = 10_000;

export interface NamedWait extends DiskWait {
  /** `volume disk0`, `the metadata file`. */
  readonly name: string;
}

/** What happened to a disk that counts as hung; `undefined`: it does not. */
export function hungBecause({ name, ageMs, silentMs }: NamedWait, hungAfterMs: number): string | undefined {
  const said = `${name} has not answered for ${seconds(ageMs)}`;
  if (silentMs > hungAfterMs) return said;
  return ageMs > slowLimitFactor * hungAfterMs ? `${said}, although its device works` : undefined;
}

export interface SlowDiskParts {
  readonly hungAfterMs: number;
  readonly decisions: DecisionLog;
  nowMs(): number;
  /** The time of day, for people. */
  wallTime(): string;
}

interface Episode {
  readonly name: string;
  readonly since: string;
  readonly deviceWorks: boolean;
  longestMs: number;
  endsMs: number;
}

export class SlowDisk {
  readonly #parts: SlowDiskParts;
  #episode: Episode | undefined;

  constructor(parts: SlowDiskParts) {
    this.#parts = parts;
  }

  /** The orange sentence, while a disk is slow. */
  get sentence(): string | undefined {
    const episode = this.#episode;
    if (episode === undefined) return undefined;
    const { hungAfterMs } = this.#parts;
    const { name, since, deviceWorks, longestMs } = episode;
    const limitMs = deviceWorks ? slowLimitFactor * hungAfterMs : hungAfterMs;
    const device = deviceWorks ? ', while its device works' : '';
    return (
      `${name} is slow since ${since}: a request has waited for ${seconds(longestMs)}${device}; ` +
      `look for what else writes to this disk; a request that waits for ${seconds(limitMs)} makes this node leave the pair`
    );
  }

  /** Again and again, the longest wait of all disks, of which none hangs. */
  observe({ name, ageMs, silentMs }: NamedWait): void {
    const { hungAfterMs, decisions } = this.#parts;
    const nowMs = this.#parts.nowMs();
    if (ageMs > slowPart * hungAfterMs) {
      const begins = this.#episode === undefined;
      this.#episode ??= {
        name,
        since: this.#parts.wallTime(),
        deviceWorks: silentMs < ageMs,
        longestMs: 0,
        endsMs: 0,
      };
      this.#episode.longestMs = Math.max(this.#episode.longestMs, ageMs);
      this.#episode.endsMs = nowMs + slowEndsMs;
      if (begins) decisions.add('disk-slow', 'go on', this.sentence ?? '');
    } else if (this.#episode !== undefined && nowMs >= this.#episode.endsMs) {
      const { longestMs } = this.#episode;
      this.#episode = undefined;
      decisions.add(
        'disk-slow-no-more',
        'go on',
        `no request waits long any more; the longest was ${seconds(longestMs)}`,
      );
    }
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(0)} s`;
}
