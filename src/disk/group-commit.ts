/**
 * Group commit over a `MetadataStorage`: jobs that are ready together share one sync.
 *
 * Invariants: jobs start in the order in which they were added; two jobs of one target are never in one batch, so a
 * target never has two writes that are not yet synced; nothing is written while a sync runs; the first error is final:
 * every job from then on fails with it, since what the disk holds is no longer known.
 */
import { assertInvariant } from '../base/assert.ts';
import type { BlockError } from '../base/block-device.ts';
import type { MetadataStorage } from './metadata-storage.ts';

export interface PendingWrite {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

export interface Job {
  /** What the job writes to. */
  readonly target: string;
  /** The writes; asked for when the earlier jobs of the target are durable. */
  prepare(): readonly PendingWrite[];
  /** The writes are durable (`undefined`) or nothing is known of them. */
  done(error: BlockError | undefined): void;
}

/** Writes given to the storage at once. */
const writesInFlightMax = 16;
/** Jobs waiting; each caller has few, so more is a caller that does not wait. */
const jobsWaitingMax = 1024;

export class GroupCommit {
  readonly #storage: MetadataStorage;
  #waiting: Job[] = [];
  #batchRuns = false;
  #starting = false;
  #failure: BlockError | undefined;

  constructor(storage: MetadataStorage) {
    this.#storage = storage;
  }

  /** The error that ended the store, if one did. */
  get failure(): BlockError | undefined {
    return this.#failure;
  }

  add(job: Job): void {
    assertInvariant(this.#waiting.length < jobsWaitingMax, 'metadata jobs do not pile up');
    this.#waiting.push(job);
    this.#startBatches();
  }

  /** Starts batches until one is on its way; a loop, so that a storage that completes at once does not recurse. */
  #startBatches(): void {
    if (this.#starting) return;
    this.#starting = true;
    while (!this.#batchRuns && this.#waiting.length > 0) {
      if (this.#failure === undefined) this.#startBatch();
      else for (const job of this.#waiting.splice(0)) job.done(this.#failure);
    }
    this.#starting = false;
  }

  #startBatch(): void {
    this.#batchRuns = true;
    const targets = new Set<string>();
    let end = 0;
    for (; end < this.#waiting.length; end += 1) {
      const { target } = this.#waiting[end] as Job;
      if (targets.has(target)) break;
      targets.add(target);
    }
    const batch = this.#waiting.splice(0, end);
    const writes = batch.flatMap((job) => job.prepare());
    writeAll(this.#storage, writes, (error) => {
      if (error !== undefined) return this.#finish(batch, error);
      this.#storage.sync((syncError) => this.#finish(batch, syncError));
    });
  }

  #finish(batch: readonly Job[], error: BlockError | undefined): void {
    this.#failure ??= error;
    for (const job of batch) job.done(error);
    this.#batchRuns = false;
    this.#startBatches();
  }
}

/** Issues all writes, a bounded number at a time; `done` is called once when none is in flight any more. */
export function writeAll(
  storage: MetadataStorage,
  writes: readonly PendingWrite[],
  done: (error: BlockError | undefined) => void,
): void {
  let next = 0;
  let inFlight = 0;
  let failure: BlockError | undefined;
  let issuing = false;
  let ended = false;
  const written = (error: BlockError | undefined): void => {
    inFlight -= 1;
    failure ??= error;
    issue();
  };
  const issue = (): void => {
    if (issuing) return;
    issuing = true;
    while (inFlight < writesInFlightMax && next < writes.length && failure === undefined) {
      const { offsetBytes, bytes } = writes[next] as PendingWrite;
      next += 1;
      inFlight += 1;
      storage.write(offsetBytes, bytes, written);
    }
    issuing = false;
    if (inFlight === 0 && !ended) {
      ended = true;
      done(failure);
    }
  };
  issue();
}
