/**
 * The one shape of a disk in this program: what the NBD server serves, what the engine is and what it stands on.
 *
 * Ownership: the chunks of a write stay untouched by the caller until its completion was called; the device never
 * modifies them. The chunks that a read hands out belong to the reader from then on.
 * Every call completes exactly once, never from inside the call itself being made re-entrantly unsafe: a device may
 * complete synchronously, so callers must be ready for that.
 * Ranges are validated by the caller: 0 <= offsetBytes, 0 < lengthBytes, offsetBytes + lengthBytes <= sizeBytes.
 */

/** Why a request failed. `io-error`: unknown damage; `no-space`: nothing was wrong but room; `shutting-down`: device closed. */
export type BlockError = 'io-error' | 'no-space' | 'not-permitted' | 'not-supported' | 'shutting-down';

export interface Completion {
  done(error: BlockError | undefined): void;
}

export interface ReadCompletion {
  /** On success `chunks` together hold exactly the bytes asked for. */
  done(error: BlockError | undefined, chunks: readonly Uint8Array[]): void;
}

/** One run of an allocation map. A `hole` is unallocated; `zero` reads as zeroes. */
export interface AllocationExtent {
  readonly lengthBytes: number;
  readonly hole: boolean;
  readonly zero: boolean;
}

export interface AllocationCompletion {
  /** Extents in order from the asked offset; they cover at least one byte and at most the asked length. */
  done(error: BlockError | undefined, extents: readonly AllocationExtent[]): void;
}

export interface ZeroOptions {
  /** On stable storage (everywhere it must be) before completion. */
  readonly fua: boolean;
  /** The range may become a hole. */
  readonly mayPunch: boolean;
  /** Answer `not-supported` at once when zeroing would not be much faster than writing. */
  readonly fast: boolean;
}

export interface BlockDevice {
  readonly sizeBytes: number;
  read(offsetBytes: number, lengthBytes: number, completion: ReadCompletion): void;
  write(
    offsetBytes: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[],
    fua: boolean,
    completion: Completion,
  ): void;
  /** Completes when every write that completed before this call is on stable storage. */
  flush(completion: Completion): void;
  /** The content of the range becomes undefined to the guest (here: zero), its space may be freed. */
  trim(offsetBytes: number, lengthBytes: number, fua: boolean, completion: Completion): void;
  zero(offsetBytes: number, lengthBytes: number, options: ZeroOptions, completion: Completion): void;
  allocation(offsetBytes: number, lengthBytes: number, completion: AllocationCompletion): void;
}
