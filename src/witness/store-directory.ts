/**
 * What the directory of a store holds, read without changing it: its identity, whether it is the directory that the store was
 * made in, and each record with what is wrong with it. The store, `vmpair witness check` and `records` look through this.
 */
import type { BigIntStats } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { WorldError } from '../base/errors.ts';
import type { StoreId } from '../disk/state.ts';
import { type FileOrigin, hasBirthTime, originOf } from '../platform/file-origin.ts';
import {
  damaged,
  decodeRecordFile,
  decodeStoreIdentity,
  type RecordFile,
  recordFileName,
  restored,
} from './record-file.ts';

/** Beside the record files. */
export const identityFileName = 'store-id';
export const recordSuffix = '.record';
/** Far above what a file of the store needs; longer ones are not ours. */
const fileBytesMax = 64 * 1024;

/** One record file: what it says, or why it is not used. */
export type RecordEntry =
  | { readonly file: string; readonly content: RecordFile; readonly problem: undefined }
  | { readonly file: string; readonly content: undefined; readonly problem: WorldError };

export interface StoreReport {
  readonly directory: string;
  readonly origin: FileOrigin;
  /** `undefined`: the directory holds no store yet. */
  readonly store: StoreId | undefined;
  /** Why nothing in it may be used: `store-restored`. */
  readonly problem: WorldError | undefined;
  readonly records: readonly RecordEntry[];
  /** False: a restored file can not be told from the current one on this file system. */
  readonly tellsCopies: boolean;
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** Content and origin of one file, of the same moment; `undefined` when it is missing. */
async function readWithOrigin(
  file: string,
): Promise<{ readonly text: string; readonly origin: FileOrigin } | undefined> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, 'r');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    const stats: BigIntStats = await handle.stat({ bigint: true });
    if (stats.size > fileBytesMax) throw damaged(file, `${stats.size} bytes`);
    return { text: await handle.readFile('utf8'), origin: originOf(stats) };
  } finally {
    await handle.close();
  }
}

export async function directoryOrigin(directory: string): Promise<FileOrigin> {
  return originOf(await stat(directory, { bigint: true }));
}

/**
 * The record in a file of this store; `undefined` when there is none. Throws `WorldError` record-damaged or record-restored,
 * and errors of the operating system.
 */
export async function readRecordFile(file: string, store: StoreId): Promise<RecordFile | undefined> {
  const found = await readWithOrigin(file);
  if (found === undefined) return undefined;
  const content = decodeRecordFile(file, found.text);
  if (recordFileName(content) !== path.basename(file)) {
    const owner = JSON.stringify({ clusterId: content.clusterId, moduleId: content.moduleId });
    throw damaged(file, `the record of another module: ${owner}`);
  }
  if (content.store !== store) throw restored(file, `a record of the store ${content.store}`);
  if (content.file !== found.origin) {
    throw restored(file, `a copy: it was written as inode/birth ${content.file} and now is ${found.origin}`);
  }
  return content;
}

function storeRestored(directory: string, found: string): WorldError {
  return new WorldError('store-restored', {
    wanted: `the records that this witness last wrote to ${directory}`,
    found,
    next:
      'if a newer directory exists, use that one; else run `vmpair witness accept-restored`, ' +
      'then `vmpair arbiter recreate VM` for each VM',
  });
}

/** Throws errors of the operating system. */
export async function inspectStore(directory: string): Promise<StoreReport> {
  const origin = await directoryOrigin(directory);
  const names = (await readdir(directory)).filter((name) => name.endsWith(recordSuffix)).toSorted();
  const facts = { directory, origin, tellsCopies: hasBirthTime(origin) };
  const untrusted = (found: string, store?: StoreId): StoreReport => ({
    ...facts,
    store,
    problem: storeRestored(directory, found),
    records: [],
  });
  const identityFile = path.join(directory, identityFileName);
  let store: StoreId;
  try {
    const found = await readWithOrigin(identityFile);
    if (found === undefined) {
      if (names.length > 0) return untrusted(`${names.length} records without the file ${identityFileName}`);
      return { ...facts, store: undefined, problem: undefined, records: [] };
    }
    const identity = decodeStoreIdentity(identityFile, found.text);
    store = identity.store;
    if (identity.directory !== origin) {
      const was = `made as inode/birth ${identity.directory}, now ${origin}`;
      return untrusted(`a directory that was restored, copied or moved: ${was}`, store);
    }
    if (identity.file !== found.origin) {
      const was = `written as inode/birth ${identity.file}, now ${found.origin}`;
      return untrusted(`a copy of the file ${identityFileName}: ${was}`, store);
    }
  } catch (error) {
    if (!(error instanceof WorldError)) throw error;
    return untrusted(`a damaged ${identityFile}: ${error.found}`);
  }
  const records: RecordEntry[] = [];
  for (const name of names) {
    const entry = await inspectRecord(path.join(directory, name), store);
    if (entry !== undefined) records.push(entry);
  }
  return { ...facts, store, problem: undefined, records };
}

/** `undefined`: the file is gone meanwhile. */
async function inspectRecord(file: string, store: StoreId): Promise<RecordEntry | undefined> {
  try {
    const content = await readRecordFile(file, store);
    return content === undefined ? undefined : { file, content, problem: undefined };
  } catch (error) {
    if (!(error instanceof WorldError)) throw error;
    return { file, content: undefined, problem: error };
  }
}
