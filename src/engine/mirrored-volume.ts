/**
 * One volume as guests see it: reads come from the own copy, mutations go through the write path. A read error is never
 * answered: the engine fails and the cluster rules act (a guest that sees an I/O error may damage its file system for good).
 */
import type {
  AllocationCompletion,
  BlockDevice,
  BlockError,
  Completion,
  ReadCompletion,
  ZeroOptions,
} from '../base/block-device.ts';
import type { MutationKind } from './mutation.ts';
import type { PrimaryEngine } from './primary-engine.ts';
import type { Replica } from './replica.ts';

/** Longer zero and trim requests are cut: one mutation must fit into the activity log many times over. */
export const mutationBytesMax = 64 * 1024 * 1024;

export class MirroredVolume implements BlockDevice {
  readonly sizeBytes: number;
  readonly #engine: PrimaryEngine;
  readonly #replica: Replica;

  constructor(engine: PrimaryEngine, replica: Replica) {
    this.#engine = engine;
    this.#replica = replica;
    this.sizeBytes = replica.device.sizeBytes;
  }

  read(offsetBytes: number, lengthBytes: number, completion: ReadCompletion): void {
    if (this.#engine.gate === 'closed') return completion.done('shutting-down', []);
    this.#replica.device.read(
      offsetBytes,
      lengthBytes,
      new GuestRead(this.#engine, this.#replica, completion),
    );
  }

  write(
    offsetBytes: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[],
    fua: boolean,
    completion: Completion,
  ): void {
    this.#engine.submit('write', this.#replica, offsetBytes, lengthBytes, chunks, fua, false, completion);
  }

  flush(completion: Completion): void {
    this.#engine.flush(this.#replica, completion);
  }

  trim(offsetBytes: number, lengthBytes: number, fua: boolean, completion: Completion): void {
    this.#inPieces('trim', offsetBytes, lengthBytes, fua, true, completion);
  }

  zero(offsetBytes: number, lengthBytes: number, options: ZeroOptions, completion: Completion): void {
    this.#inPieces('zero', offsetBytes, lengthBytes, options.fua, options.mayPunch, completion);
  }

  allocation(offsetBytes: number, lengthBytes: number, completion: AllocationCompletion): void {
    this.#replica.device.allocation(offsetBytes, lengthBytes, completion);
  }

  #inPieces(
    kind: MutationKind,
    offsetBytes: number,
    lengthBytes: number,
    fua: boolean,
    mayPunch: boolean,
    completion: Completion,
  ): void {
    const pieceBytes = Math.min(lengthBytes, mutationBytesMax);
    const rest = lengthBytes - pieceBytes;
    const next: Completion =
      rest === 0
        ? completion
        : {
            done: (error) => {
              if (error !== undefined) return completion.done(error);
              this.#inPieces(kind, offsetBytes + pieceBytes, rest, fua, mayPunch, completion);
            },
          };
    this.#engine.submit(kind, this.#replica, offsetBytes, pieceBytes, [], fua, mayPunch, next);
  }
}

class GuestRead implements ReadCompletion {
  readonly #engine: PrimaryEngine;
  readonly #replica: Replica;
  readonly #guest: ReadCompletion;

  constructor(engine: PrimaryEngine, replica: Replica, guest: ReadCompletion) {
    this.#engine = engine;
    this.#replica = replica;
    this.#guest = guest;
    engine.readsInFlight += 1;
  }

  done(error: BlockError | undefined, chunks: readonly Uint8Array[]): void {
    this.#engine.readsInFlight -= 1;
    if (error !== undefined) return this.#engine.diskFailed(this.#replica.name, 'read');
    this.#guest.done(undefined, chunks);
  }
}
