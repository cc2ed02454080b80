/**
 * How long the oldest request to a disk has been waiting for its answer, without a timer per request: requests that begin between
 * two looks share one slot, and a look only finds the oldest slot that is not empty. And how long the disk has been silent:
 * a device that completes requests, of whoever, works, although one of ours may have to wait long for its turn.
 *
 * Time counts only while this process runs: what was frozen itself (a paused host, a stopped process) does not blame the disk
 * for answers that it could not take. It decides nothing, and gives no request up: a disk may answer at any time.
 */
import type {
  AllocationCompletion,
  AllocationExtent,
  BlockDevice,
  BlockError,
  Completion,
  ReadCompletion,
  ZeroOptions,
} from '../base/block-device.ts';
import type { Clock } from '../base/clock.ts';

/** Requests that begin within this time share a slot; the age is exact to this and the time between two looks, ms. */
const slotMs = 50;
/** A look that comes later than this after the one before counts as this process frozen, ms. */
export const frozenAfterMs = 1000;

/** From this age of the oldest request on the device is asked what it does, ms: a fast disk costs nothing. */
const evidenceFromMs = 1000;

/** How many requests the device under a disk has completed since its host booted; `undefined`: nothing tells. Never waits. */
export interface DeviceWork {
  readonly reads: number;
  /** Writes, discards and flushes. */
  readonly changes: number;
}

export type DeviceWorkPort = () => DeviceWork | undefined;

export interface DiskWait {
  /** Age of the oldest request without an answer, ms; 0: there is none. */
  readonly ageMs: number;
  /** The same, or how long ago the device was last seen to complete a request of that kind, whichever is less, ms. */
  readonly silentMs: number;
}

class Slot {
  readonly sinceMs: number;
  open = 0;

  constructor(sinceMs: number) {
    this.sinceMs = sinceMs;
  }
}

export class RequestWatch {
  readonly #clock: Clock;
  /** Oldest first; the last one takes what begins now. */
  readonly #slots: Slot[] = [new Slot(0)];
  #current = this.#slots[0] as Slot;
  /** Time that this process was seen to run, ms. */
  #awakeMs = 0;
  #lookedMs: number;
  readonly #completed: () => number | undefined;
  /** What the device had completed at the last look at it, and when that was seen to grow, ms of `#awakeMs`. */
  #completedCount: number | undefined;
  #grewMs = 0;

  /** `completed`: requests of this kind that the device has completed. */
  constructor(clock: Clock, completed: () => number | undefined = () => undefined) {
    this.#clock = clock;
    this.#completed = completed;
    this.#lookedMs = clock.nowMs();
  }

  /** A request begins; its slot is given back to `end` with the answer. */
  begin(): Slot {
    const slot = this.#current;
    slot.open += 1;
    return slot;
  }

  end(slot: Slot): void {
    slot.open -= 1;
  }

  /** The same for a call with a callback. */
  guard<Result>(done: (result: Result) => void): (result: Result) => void {
    const slot = this.begin();
    return (result) => {
      this.end(slot);
      done(result);
    };
  }

  /** Called several times a second. */
  look(): DiskWait {
    const nowMs = this.#clock.nowMs();
    this.#awakeMs += Math.min(nowMs - this.#lookedMs, frozenAfterMs);
    this.#lookedMs = nowMs;
    while (this.#slots.length > 1 && this.#slots[0]?.open === 0) this.#slots.shift();
    const oldest = this.#slots[0] as Slot;
    const ageMs = oldest.open === 0 ? 0 : this.#awakeMs - oldest.sinceMs;
    if (this.#awakeMs - this.#current.sinceMs >= slotMs) {
      this.#current = new Slot(this.#awakeMs);
      this.#slots.push(this.#current);
    }
    return { ageMs, silentMs: Math.min(ageMs, this.#quietMs(ageMs)) };
  }

  /** How long the device has not been seen to complete anything, ms. */
  #quietMs(ageMs: number): number {
    const before = this.#completedCount;
    this.#completedCount = ageMs < evidenceFromMs ? undefined : this.#completed();
    if (this.#completedCount === undefined) return ageMs;
    if (before === undefined) this.#grewMs = this.#awakeMs - ageMs;
    else if (this.#completedCount !== before) this.#grewMs = this.#awakeMs;
    return this.#awakeMs - this.#grewMs;
  }
}

/** The longer of two waits in each respect. */
export function longerWait(left: DiskWait, right: DiskWait): DiskWait {
  return {
    ageMs: Math.max(left.ageMs, right.ageMs),
    silentMs: Math.max(left.silentMs, right.silentMs),
  };
}

export interface DeviceEvents {
  /** An fdatasync failed, alone or as part of an FUA request; told before the request is answered. */
  flushFailed(): void;
}

/**
 * A disk whose requests are watched, and whose failed flushes are told before anybody can act on the answer. Reads and changes
 * apart: storage that holds all writes back (out of room below, a failed member of an array) may well go on reading.
 */
export class WatchedDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly #reads: RequestWatch;
  readonly #changes: RequestWatch;
  readonly #device: BlockDevice;
  readonly #events: DeviceEvents;

  constructor(
    device: BlockDevice,
    clock: Clock,
    events: DeviceEvents,
    work: DeviceWorkPort = () => undefined,
  ) {
    this.sizeBytes = device.sizeBytes;
    this.#reads = new RequestWatch(clock, () => work()?.reads);
    this.#changes = new RequestWatch(clock, () => work()?.changes);
    this.#device = device;
    this.#events = events;
  }

  look(): DiskWait {
    return longerWait(this.#reads.look(), this.#changes.look());
  }

  read(offsetBytes: number, lengthBytes: number, completion: ReadCompletion): void {
    this.#device.read(offsetBytes, lengthBytes, new WatchedAnswer(this.#reads, completion));
  }

  write(
    offsetBytes: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[],
    fua: boolean,
    completion: Completion,
  ): void {
    this.#device.write(offsetBytes, lengthBytes, chunks, fua, this.#watched(fua, completion));
  }

  flush(completion: Completion): void {
    this.#device.flush(this.#watched(true, completion));
  }

  trim(offsetBytes: number, lengthBytes: number, fua: boolean, completion: Completion): void {
    this.#device.trim(offsetBytes, lengthBytes, fua, this.#watched(fua, completion));
  }

  zero(offsetBytes: number, lengthBytes: number, options: ZeroOptions, completion: Completion): void {
    this.#device.zero(offsetBytes, lengthBytes, options, this.#watched(options.fua, completion));
  }

  allocation(offsetBytes: number, lengthBytes: number, completion: AllocationCompletion): void {
    this.#device.allocation(offsetBytes, lengthBytes, new WatchedAnswer(this.#reads, completion));
  }

  #watched(flushes: boolean, completion: Completion): Completion {
    return new WatchedCompletion(this.#changes, flushes ? this.#events : undefined, completion);
  }
}

class WatchedCompletion implements Completion {
  readonly #watch: RequestWatch;
  readonly #slot: Slot;
  /** Of a request that ends with an fdatasync. */
  readonly #events: DeviceEvents | undefined;
  readonly #completion: Completion;

  constructor(watch: RequestWatch, events: DeviceEvents | undefined, completion: Completion) {
    this.#watch = watch;
    this.#slot = watch.begin();
    this.#events = events;
    this.#completion = completion;
  }

  done(error: BlockError | undefined): void {
    this.#watch.end(this.#slot);
    if (error === 'io-error') this.#events?.flushFailed();
    this.#completion.done(error);
  }
}

type Answer = readonly Uint8Array[] & readonly AllocationExtent[];

class WatchedAnswer implements ReadCompletion, AllocationCompletion {
  readonly #watch: RequestWatch;
  readonly #slot: Slot;
  readonly #completion: ReadCompletion | AllocationCompletion;

  constructor(watch: RequestWatch, completion: ReadCompletion | AllocationCompletion) {
    this.#watch = watch;
    this.#slot = watch.begin();
    this.#completion = completion;
  }

  done(error: BlockError | undefined, answer: readonly Uint8Array[] | readonly AllocationExtent[]): void {
    this.#watch.end(this.#slot);
    this.#completion.done(error, answer as Answer);
  }
}
