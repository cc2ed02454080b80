/**
 * The records of the witness, one file each, in one directory that this process owns.
 *
 * Invariants: `swap` answers only when the record it answers survives a loss of power; requests for one
 * record are carried out one after the other; a file that is not exactly what was written here, and where it was written, is
 * an error and never "no record". When there is no room, the old record stands and the next request finds it. After a write
 * that may or may not have reached the disk the store answers nothing more: the program ends, and starting again flushes the
 * directory first, so that what is read is what the disk holds.
 *
 * Formats and origins are in record-file.ts; what is wrong with a directory is found in store-directory.ts.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { decideSwap, type SwapAction } from '../arbiter/compare-and-swap.ts';
import type { Decision } from '../base/decision.ts';
import { WorldError } from '../base/errors.ts';
import type { ArbiterRecord, StoreId } from '../disk/state.ts';
import { flushDirectory, ReplaceError, replaceFile, unfinishedPattern } from '../platform/durable-file.ts';
import { type ExclusiveLock, takeExclusiveLock } from '../platform/exclusive-lock.ts';
import type { FileOrigin } from '../platform/file-origin.ts';
import {
  encodeRecordFile,
  encodeStoreIdentity,
  type RecordFile,
  recordFileName,
  type RecordKey,
} from './record-file.ts';
import {
  directoryOrigin,
  identityFileName,
  inspectStore,
  readRecordFile,
  type RecordEntry,
  type StoreReport,
} from './store-directory.ts';

const recordFileMode = 0o600;
const directoryMode = 0o700;
const storeIdBytes = 16;
/** Beside the record files; stays. */
export const lockFileName = 'lock';
/** Records of one cluster; twice the modules that a pair is made for, so that those given up leave room. */
export const recordsPerClusterMax = 128;

export interface RecordStoreOptions {
  /** Called once when the store cannot go on: end the process. */
  readonly fatal: (error: WorldError) => void;
  /** Told how long each write of a record took, until it would survive a loss of power. */
  readonly wrote?: (durationMs: number) => void;
}

export class RecordStore {
  /** Drawn when the store was made: a directory that was lost and made anew is another store. */
  readonly id: StoreId;
  /** False: a restored file can not be told from the current one on this file system. */
  readonly tellsCopies: boolean;
  readonly #directory: string;
  readonly #origin: FileOrigin;
  readonly #lock: ExclusiveLock;
  readonly #options: RecordStoreOptions;
  /** By file; what was last read or written. Shown to people, and counted; every request reads the file itself. */
  readonly #entries: Map<string, RecordEntry>;
  /** The last request of each record that is under way; the next one waits for it. */
  readonly #underWay = new Map<string, Promise<unknown>>();
  #failed: WorldError | undefined;

  private constructor(
    { directory, origin, records, tellsCopies }: StoreReport,
    id: StoreId,
    lock: ExclusiveLock,
    options: RecordStoreOptions,
  ) {
    this.id = id;
    this.tellsCopies = tellsCopies;
    this.#directory = directory;
    this.#origin = origin;
    this.#entries = new Map(records.map((entry) => [entry.file, entry]));
    this.#lock = lock;
    this.#options = options;
  }

  /**
   * Takes the directory, makes it when it is missing, and flushes what an earlier process left. Throws `WorldError`
   * store-restored, already-running, file-missing, file-not-writable or storage-failed.
   */
  static async open(directory: string, options: RecordStoreOptions): Promise<RecordStore> {
    await makeDirectory(directory);
    const lock = lockStore(directory);
    try {
      await clearUnfinished(directory);
      const report = await inspectStore(directory);
      if (report.problem !== undefined) throw report.problem;
      const id = report.store ?? (await writeNewIdentity(directory));
      return new RecordStore(report, id, lock, options);
    } catch (error) {
      lock.release();
      throw error instanceof WorldError ? error : storageFailed(directory, error);
    }
  }

  /** All records, those that are not used with the reason. */
  get entries(): readonly RecordEntry[] {
    return [...this.#entries.values()];
  }

  /** Why the store answers nothing any more. */
  get failed(): WorldError | undefined {
    return this.#failed;
  }

  /** Throws `WorldError` record-damaged, record-restored, store-restored or storage-failed. */
  read(key: RecordKey): Promise<ArbiterRecord | undefined> {
    return this.#inTurn(key, () => this.#load(key));
  }

  /**
   * Decides, and makes the new record durable before it answers. `by` is the node that asks. Throws `WorldError`
   * record-damaged, record-restored, store-restored, limit-reached or storage-failed.
   */
  swap(
    key: RecordKey,
    expected: ArbiterRecord | undefined,
    next: ArbiterRecord,
    by: string,
  ): Promise<Decision<SwapAction>> {
    return this.#inTurn(key, async () => {
      const current = await this.#load(key);
      const decision = decideSwap(current, expected, next);
      if (decision.action.kind === 'write') {
        if (current === undefined) this.#checkRoom(key.clusterId);
        await this.#save(key, decision.action.record, by);
      }
      return decision;
    });
  }

  /** Waits for what is under way and gives the directory back. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#underWay.values());
    this.#failed ??= storageFailed(this.#directory, new Error('the store is closed'));
    this.#lock.release();
  }

  async #inTurn<Result>(key: RecordKey, work: () => Promise<Result>): Promise<Result> {
    const file = recordFileName(key);
    const result = Promise.resolve(this.#underWay.get(file)).then(work, work);
    this.#underWay.set(file, result);
    try {
      return await result;
    } finally {
      if (this.#underWay.get(file) === result) this.#underWay.delete(file);
    }
  }

  async #load(key: RecordKey): Promise<ArbiterRecord | undefined> {
    if (this.#failed !== undefined) throw this.#failed;
    const file = path.join(this.#directory, recordFileName(key));
    try {
      await this.#checkDirectory();
      const content = await readRecordFile(file, this.id);
      this.#note(file, content);
      return content?.record;
    } catch (error) {
      if (!(error instanceof WorldError)) throw storageFailed(file, error);
      if (error.code !== 'store-restored')
        this.#entries.set(file, { file, content: undefined, problem: error });
      throw error;
    }
  }

  /** That another directory was put in the place of ours must not read as "no record". */
  async #checkDirectory(): Promise<void> {
    const origin = await directoryOrigin(this.#directory);
    if (origin === this.#origin) return;
    throw new WorldError('store-restored', {
      wanted: `the directory ${this.#directory} that this witness opened`,
      found: `another one in its place (inode/birth ${origin} instead of ${this.#origin})`,
      next: 'put the directory back that was there, or start the witness again and read what it says',
    });
  }

  #note(file: string, content: RecordFile | undefined): void {
    if (content === undefined) this.#entries.delete(file);
    else this.#entries.set(file, { file, content, problem: undefined });
  }

  #checkRoom(clusterId: string): void {
    const count = this.entries.filter(({ content }) => content?.clusterId === clusterId).length;
    if (count < recordsPerClusterMax) return;
    throw new WorldError('limit-reached', {
      wanted: `room for one more record of cluster ${clusterId}`,
      found: `${count} records, and one witness keeps ${recordsPerClusterMax} of a cluster`,
      next: 'delete the records of modules that no longer exist (`vmpair witness records` lists them)',
    });
  }

  async #save(key: RecordKey, record: ArbiterRecord, by: string): Promise<void> {
    const file = path.join(this.#directory, recordFileName(key));
    const startedMs = performance.now();
    let content: RecordFile | undefined;
    try {
      await replaceFile(
        file,
        (origin) => {
          const changed = { by, at: new Date().toISOString() };
          content = { store: this.id, file: origin, ...key, record, changed };
          return encodeRecordFile(content);
        },
        recordFileMode,
      );
    } catch (error) {
      const problem = storageFailed(file, error);
      if (error instanceof ReplaceError && error.renamed && this.#failed === undefined) {
        this.#failed = problem;
        this.#options.fatal(problem);
      }
      throw problem;
    }
    this.#note(file, content);
    this.#options.wrote?.(performance.now() - startedMs);
  }
}

/** Throws `WorldError` already-running, file-missing or file-not-writable. */
export function lockStore(directory: string): ExclusiveLock {
  return takeExclusiveLock(path.join(directory, lockFileName), `process that uses ${directory}`);
}

/** Removes what a crash left half written. */
async function clearUnfinished(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (unfinishedPattern.test(name)) await unlink(path.join(directory, name));
  }
  await flushDirectory(directory);
}

/** Makes the directory a new store, durably: records that are in it belong to another one from then on. */
export async function writeNewIdentity(directory: string): Promise<StoreId> {
  const store = randomBytes(storeIdBytes).toString('hex');
  const origin = await directoryOrigin(directory);
  await replaceFile(
    path.join(directory, identityFileName),
    (file) => encodeStoreIdentity({ store, directory: origin, file }),
    recordFileMode,
  );
  return store;
}

async function makeDirectory(directory: string): Promise<void> {
  try {
    const made = await mkdir(directory, { recursive: true, mode: directoryMode });
    if (made !== undefined) await flushDirectory(path.dirname(made));
  } catch (error) {
    const next = 'create it for the user that the witness runs as, or configure another one';
    const problem = { wanted: `the directory ${directory}`, found: String(error), next };
    throw new WorldError('file-not-writable', problem, error);
  }
}

/** Codes of the operating system for a file system, or the share of a user in it, that is full. */
const noRoomCodes: readonly unknown[] = ['ENOSPC', 'EDQUOT'];

function lacksRoom(error: unknown): boolean {
  if (error instanceof ReplaceError) return !error.renamed && lacksRoom(error.cause);
  return error instanceof Error && 'code' in error && noRoomCodes.includes(error.code);
}

export function storageFailed(what: string, error: unknown): WorldError {
  return new WorldError(
    'storage-failed',
    {
      wanted: `to read or write ${what}`,
      found: error instanceof Error ? error.message : String(error),
      next: lacksRoom(error)
        ? 'make room on its file system; the witness goes on by itself'
        : 'check the disk, then start the witness again',
    },
    error,
  );
}
