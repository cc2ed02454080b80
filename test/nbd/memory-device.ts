/**
 * A disk in memory: complete, with an allocation map in blocks of 4 KiB, and able to hold completions, to complete later
 * and to fail. It checks the callers' side of the `BlockDevice` contract.
 */
import type {
  AllocationCompletion,
  AllocationExtent,
  BlockDevice,
  BlockError,
  Completion,
  ReadCompletion,
  ZeroOptions,
} from '../../src/base/block-device.ts';

const blockBytes = 4096;

export interface DeviceCall {
  readonly name: 'read' | 'write' | 'flush' | 'trim' | 'zero' | 'allocation';
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly fua?: boolean;
  readonly zero?: ZeroOptions;
  readonly chunksCount?: number;
}

export class MemoryDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly bytes: Uint8Array;
  /** Calls in order; kept only when asked for. */
  readonly calls: DeviceCall[] = [];
  recordCalls = true;
  /** Completions wait for `release`. */
  holding = false;
  /** Completions come in a later turn of the event loop instead of from inside the call. */
  later = false;
  /** Answer of the next calls, each used once. */
  readonly failures: BlockError[] = [];
  fastZeroSupported = true;
  readonly #allocated: Uint8Array;
  readonly #held: (() => void)[] = [];

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.bytes = new Uint8Array(sizeBytes);
    this.#allocated = new Uint8Array(Math.ceil(sizeBytes / blockBytes));
  }

  get heldCount(): number {
    return this.#held.length;
  }

  /** Completes what was held, oldest first unless `order` says otherwise, and holds no longer. */
  release(order: 'oldest-first' | 'newest-first' = 'oldest-first'): void {
    this.holding = false;
    const held = this.#held.splice(0);
    if (order === 'newest-first') held.reverse();
    for (const complete of held) complete();
  }

  /** Completes the oldest held call and goes on holding. */
  releaseOne(): void {
    this.#held.shift()?.();
  }

  read(offsetBytes: number, lengthBytes: number, completion: ReadCompletion): void {
    this.#record({ name: 'read', offsetBytes, lengthBytes });
    const error = this.failures.shift();
    this.#complete(() => {
      if (error !== undefined) return completion.done(error, []);
      completion.done(undefined, [this.bytes.slice(offsetBytes, offsetBytes + lengthBytes)]);
    });
  }

  write(
    offsetBytes: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[],
    fua: boolean,
    completion: Completion,
  ): void {
    this.#record({ name: 'write', offsetBytes, lengthBytes, fua, chunksCount: chunks.length });
    const error = this.failures.shift();
    if (error === undefined) {
      let at = offsetBytes;
      for (const chunk of chunks) {
        this.bytes.set(chunk, at);
        at += chunk.length;
      }
      if (at - offsetBytes !== lengthBytes) throw new Error('the chunks of a write have its length');
      this.#allocate(offsetBytes, lengthBytes);
    }
    this.#complete(() => completion.done(error));
  }

  flush(completion: Completion): void {
    this.#record({ name: 'flush', offsetBytes: 0, lengthBytes: 0 });
    const error = this.failures.shift();
    this.#complete(() => completion.done(error));
  }

  trim(offsetBytes: number, lengthBytes: number, fua: boolean, completion: Completion): void {
    this.#record({ name: 'trim', offsetBytes, lengthBytes, fua });
    const error = this.failures.shift();
    if (error === undefined) this.#punch(offsetBytes, lengthBytes);
    this.#complete(() => completion.done(error));
  }

  zero(offsetBytes: number, lengthBytes: number, options: ZeroOptions, completion: Completion): void {
    this.#record({ name: 'zero', offsetBytes, lengthBytes, zero: options });
    const error = options.fast && !this.fastZeroSupported ? 'not-supported' : this.failures.shift();
    if (error === undefined) {
      if (options.mayPunch) this.#punch(offsetBytes, lengthBytes);
      else {
        this.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes);
        this.#allocate(offsetBytes, lengthBytes);
      }
    }
    this.#complete(() => completion.done(error));
  }

  allocation(offsetBytes: number, lengthBytes: number, completion: AllocationCompletion): void {
    this.#record({ name: 'allocation', offsetBytes, lengthBytes });
    const error = this.failures.shift();
    const extents: AllocationExtent[] = [];
    const endBytes = offsetBytes + lengthBytes;
    for (let at = offsetBytes; at < endBytes; ) {
      const nextBytes = Math.min(endBytes, (Math.floor(at / blockBytes) + 1) * blockBytes);
      const hole = this.#allocated[Math.floor(at / blockBytes)] === 0;
      extents.push({ lengthBytes: nextBytes - at, hole, zero: hole });
      at = nextBytes;
    }
    this.#complete(() => completion.done(error, error === undefined ? extents : []));
  }

  #record(call: DeviceCall): void {
    const { name, offsetBytes, lengthBytes } = call;
    const inside = offsetBytes >= 0 && lengthBytes > 0 && offsetBytes + lengthBytes <= this.sizeBytes;
    if (name !== 'flush' && !inside) throw new Error(`${name} of ${lengthBytes} bytes at ${offsetBytes}`);
    if (this.recordCalls) this.calls.push(call);
  }

  #complete(complete: () => void): void {
    if (this.holding) this.#held.push(complete);
    else if (this.later) setImmediate(complete);
    else complete();
  }

  #allocate(offsetBytes: number, lengthBytes: number): void {
    const first = Math.floor(offsetBytes / blockBytes);
    this.#allocated.fill(1, first, Math.ceil((offsetBytes + lengthBytes) / blockBytes));
  }

  /** Zeroes all, and frees the blocks that lie completely inside. */
  #punch(offsetBytes: number, lengthBytes: number): void {
    this.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes);
    const first = Math.ceil(offsetBytes / blockBytes);
    const end = offsetBytes + lengthBytes;
    const last = end === this.sizeBytes ? this.#allocated.length : Math.floor(end / blockBytes);
    if (last > first) this.#allocated.fill(0, first, last);
  }
}
