/**
 * The records of the witness, one file each, in one directory that this process owns.
 *
 * Invariants: `swap` answers only when the record it answers survives a loss of power; requests for one
 * record are carried out one after the other; a file that is not exactly what was written here is an error
 * and never "no record". After a write that may or may not have reached the disk the store answers nothing
 * more: the program ends, and starting again flushes the directory first, so that what is read is what the
 * disk holds.
 *
 * A file is two lines: a JSON object {format, clusterId, moduleId, record}, and `sha256 HEX` of the first
 * line.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, unlink } from 'node:fs/promises';
import path from 'node:path';
import { decideSwap, type SwapAction } from '../arbiter/compare-and-swap.ts';
import { parseRecord } from '../arbiter/witness-protocol.ts';
import type { Decision } from '../base/decision.ts';
import { WorldError } from '../base/errors.ts';
import { hexIdPattern } from '../base/identity.ts';
import type { ArbiterRecord, StoreId } from '../disk/state.ts';
import { flushDirectory, ReplaceError, replaceFile, unfinishedPattern } from '../platform/durable-file.ts';
import { type ExclusiveLock, takeExclusiveLock } from '../platform/exclusive-lock.ts';

/** The record of a module of a cluster. */
export interface RecordKey {
  readonly clusterId: string;
  readonly moduleId: string;
}

const recordFormat = 1;
/** Beside the record files. */
const identityFile = 'store-id';
const recordFileMode = 0o600;
const directoryMode = 0o700;
/** Far above what a record needs; longer files are not ours. */
const recordFileBytesMax = 64 * 1024;

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Readable, and unique also where file names ignore case. */
function fileNameOf({ clusterId, moduleId }: RecordKey): string {
  return `${moduleId.toLowerCase()}-${digest(`${clusterId}/${moduleId}`).slice(0, 24)}.record`;
}

export function encodeRecordFile(key: RecordKey, record: ArbiterRecord): string {
  const line = JSON.stringify({ format: recordFormat, ...key, record });
  return `${line}\nsha256 ${digest(line)}\n`;
}

function damaged(file: string, found: string): WorldError {
  return new WorldError('record-damaged', {
    wanted: `the record in ${file}`,
    found,
    next: 'keep the file; restore it only from a backup that is not older than the last change of the module',
  });
}

/** `undefined` for text that is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The fields of a value that was parsed from JSON. */
function fieldsOf(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(typeof value === 'object' && value !== null ? Object.entries(value) : []);
}

/** Throws `WorldError` record-damaged unless `text` is exactly what `encodeRecordFile` makes for `key`. */
export function decodeRecordFile(file: string, key: RecordKey, text: string): ArbiterRecord {
  const match = /^([^\n]*)\nsha256 ([0-9a-f]{64})\n$/.exec(text);
  const [, line, checksum] = match ?? [];
  if (line === undefined || checksum === undefined)
    throw damaged(file, `${text.length} bytes that are no record`);
  if (digest(line) !== checksum) throw damaged(file, 'a checksum that does not fit its content');
  const fields = fieldsOf(parseJson(line));
  if (fields.get('format') !== recordFormat)
    throw damaged(file, `format ${JSON.stringify(fields.get('format'))}`);
  const owner = { clusterId: fields.get('clusterId'), moduleId: fields.get('moduleId') };
  if (owner.clusterId !== key.clusterId || owner.moduleId !== key.moduleId) {
    throw damaged(file, `the record of another module: ${JSON.stringify(owner)}`);
  }
  const record = parseRecord(fields.get('record'));
  if (!record.ok) throw damaged(file, record.problem);
  return record.value;
}

export class RecordStore {
  /** Drawn when the store was made: a directory that was lost and made anew is another store. */
  readonly id: StoreId;
  readonly #directory: string;
  readonly #lock: ExclusiveLock;
  readonly #fatal: (error: WorldError) => void;
  /** The last request of each record that is under way; the next one waits for it. */
  readonly #underWay = new Map<string, Promise<unknown>>();
  #failed: WorldError | undefined;

  private constructor(
    directory: string,
    id: StoreId,
    lock: ExclusiveLock,
    fatal: (error: WorldError) => void,
  ) {
    this.id = id;
    this.#directory = directory;
    this.#lock = lock;
    this.#fatal = fatal;
  }

  /**
   * Takes the directory, makes it when it is missing, and flushes what an earlier process left. `fatal` is
   * called once when the store cannot go on: end the process. Throws `WorldError` already-running, file-missing,
   * file-not-writable or storage-failed.
   */
  static async open(directory: string, fatal: (error: WorldError) => void): Promise<RecordStore> {
    await makeDirectory(directory);
    const lock = takeExclusiveLock(path.join(directory, 'lock'), `process that uses ${directory}`);
    let id: StoreId;
    try {
      for (const name of await readdir(directory)) {
        if (unfinishedPattern.test(name)) await unlink(path.join(directory, name));
      }
      await flushDirectory(directory);
      id = await readIdentity(path.join(directory, identityFile));
    } catch (error) {
      lock.release();
      throw error instanceof WorldError ? error : storageFailed(directory, error);
    }
    return new RecordStore(directory, id, lock, fatal);
  }

  /** Throws `WorldError` record-damaged or storage-failed. */
  read(key: RecordKey): Promise<ArbiterRecord | undefined> {
    return this.#inTurn(key, () => this.#load(key));
  }

  /**
   * Decides, and makes the new record durable before it answers. Throws `WorldError` record-damaged or
   * storage-failed.
   */
  swap(
    key: RecordKey,
    expected: ArbiterRecord | undefined,
    next: ArbiterRecord,
  ): Promise<Decision<SwapAction>> {
    return this.#inTurn(key, async () => {
      const decision = decideSwap(await this.#load(key), expected, next);
      if (decision.action.kind === 'write') await this.#save(key, decision.action.record);
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
    const file = fileNameOf(key);
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
    const file = path.join(this.#directory, fileNameOf(key));
    let bytes: Buffer;
    try {
      bytes = await readFile(file);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw storageFailed(file, error);
    }
    if (bytes.length > recordFileBytesMax) throw damaged(file, `${bytes.length} bytes`);
    return decodeRecordFile(file, key, bytes.toString('utf8'));
  }

  async #save(key: RecordKey, record: ArbiterRecord): Promise<void> {
    const file = path.join(this.#directory, fileNameOf(key));
    try {
      await replaceFile(file, encodeRecordFile(key, record), recordFileMode);
    } catch (error) {
      const problem = storageFailed(file, error);
      if (error instanceof ReplaceError && error.renamed && this.#failed === undefined) {
        this.#failed = problem;
        this.#fatal(problem);
      }
      throw problem;
    }
  }
}

/** Reads the identity of the store, or gives it one. Throws `WorldError` record-damaged. */
async function readIdentity(file: string): Promise<StoreId> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    const id = randomBytes(16).toString('hex');
    await replaceFile(file, `${id}\n`, recordFileMode);
    return id;
  }
  const id = text.trim();
  if (hexIdPattern.test(id)) return id;
  throw damaged(file, `${text.length} bytes that are no identity of a store`);
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

function storageFailed(what: string, error: unknown): WorldError {
  return new WorldError(
    'storage-failed',
    {
      wanted: `to read or write ${what}`,
      found: error instanceof Error ? error.message : String(error),
      next: 'check the disk and its space, then start the witness again',
    },
    error,
  );
}
