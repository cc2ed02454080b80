/**
 * How long the oldest request to a disk has been waiting for its answer, without a timer per request: requests that begin between
 * two looks share one slot, and a look only finds the oldest slot that is not empty.
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

  constructor(clock: Clock) {
    this.#clock = clock;
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

  /** Age of the oldest request without an answer, ms; 0: there is none. Called several times a second. */
  look(): number {
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
    return ageMs;
  }
}

export interface DeviceEvents {
  /** An fdatasync failed, alone or as part of an FUA request; told before the request is answered. */
  flushFailed(): void;
}

/** A disk whose requests are watched, and whose failed flushes are told before anybody can act on the answer. */
export class WatchedDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly watch: RequestWatch;
  readonly #device: BlockDevice;
  readonly #events: DeviceEvents;

  constructor(device: BlockDevice, watch: RequestWatch, events: DeviceEvents) {
    this.sizeBytes = device.sizeBytes;
    this.watch = watch;
    this.#device = device;
    this.#events = events;
  }

  read(offsetBytes: number, lengthBytes: number, completion: ReadCompletion): void {
    this.#device.read(offsetBytes, lengthBytes, new WatchedAnswer(this.watch, completion));
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
    this.#device.allocation(offsetBytes, lengthBytes, new WatchedAnswer(this.watch, completion));
  }

  #watched(flushes: boolean, completion: Completion): Completion {
    return new WatchedCompletion(this.watch, flushes ? this.#events : undefined, completion);
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
