/**
 * `vmpair witness accept-restored`: makes a directory that is not, or may not be, the newest state a new store. Its records
 * are dropped, because nobody knows what was granted after they were copied; each pair then has its record made anew by the
 * one who can see both nodes. The new identity is written before the records go: whatever instant it is interrupted at, no
 * old record is used, and doing it again completes it.
 */
import { chown, readdir, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { WorldError } from '../base/errors.ts';
import type { StoreId } from '../disk/state.ts';
import { flushDirectory } from '../platform/durable-file.ts';
import { lockFileName, lockStore, storageFailed, writeNewIdentity } from './record-store.ts';
import { identityFileName, inspectStore, isMissing, recordSuffix } from './store-directory.ts';

export interface AcceptedStore {
  readonly store: StoreId;
  /** Files of the records that were dropped. */
  readonly dropped: readonly string[];
}

/**
 * `afterSnapshot`: the operator says that the file system as a whole was put back, which can not be seen. Throws `WorldError`
 * control-refused when nothing else says that the store was restored; already-running while the witness runs; file-missing;
 * storage-failed.
 */
export async function acceptRestored(directory: string, afterSnapshot: boolean): Promise<AcceptedStore> {
  const lock = lockStore(directory);
  try {
    const { store, problem, records } = await inspectStore(directory);
    if (problem === undefined && !afterSnapshot) throw refusal(directory, store, records);
    const accepted = await writeNewIdentity(directory);
    const dropped: string[] = [];
    for (const name of (await readdir(directory)).filter((each) => each.endsWith(recordSuffix))) {
      const file = path.join(directory, name);
      await unlink(file).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
      dropped.push(file);
    }
    await flushDirectory(directory);
    await giveToOwner(directory);
    return { store: accepted, dropped };
  } catch (error) {
    throw error instanceof WorldError ? error : storageFailed(directory, error);
  } finally {
    lock.release();
  }
}

/** The witness runs as its own user, and this command as root: what it wrote must be readable by the witness. */
async function giveToOwner(directory: string): Promise<void> {
  const { uid, gid } = await stat(directory);
  for (const name of [lockFileName, identityFileName]) await chown(path.join(directory, name), uid, gid);
}

function refusal(
  directory: string,
  store: StoreId | undefined,
  records: Awaited<ReturnType<typeof inspectStore>>['records'],
): WorldError {
  const wrong = records.filter(({ problem }) => problem !== undefined);
  const single =
    wrong.length === 0
      ? ''
      : `; only single files are not: delete ${wrong.map(({ file }) => file).join(', ')} instead, ` +
        'and run `vmpair arbiter recreate VM` for these VMs';
  return new WorldError('control-refused', {
    wanted: `a restored or damaged store in ${directory}`,
    found: store === undefined ? 'no store' : `the store ${store}, as this witness made it, where it made it`,
    next: `start the witness: nothing is to be accepted${single}. After a snapshot of the whole machine or volume was put back, which can not be seen, add --after-snapshot`,
  });
}
