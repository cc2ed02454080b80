/** What can be seen of the disk files of a module from outside, and what is remembered of them; and what it means. Pure. */
import type { DiskDoubt } from '../disk/state.ts';

export interface DiskFileFacts {
  readonly volume: string;
  readonly file: string;
  /** `same`: the path names the file that is open. `unknown`: it could not be seen. */
  readonly path: 'same' | 'nothing' | 'another-file' | 'unknown';
  /** Room that the file system of the file has for this user; `undefined`: it could not be seen. */
  readonly freeBytes: number | undefined;
  /** What the file may still grow by until the volume is allocated completely. */
  readonly unallocatedBytes: number;
}

/** A node that left for want of room comes back when each of its files can grow by this, or to its full size. */
export const roomWantedBytes = 64 * 1024 * 1024;

/** Why the open files are not those that the next start would open; `undefined`: they are. */
export function judgeDiskFile(facts: readonly DiskFileFacts[]): string | undefined {
  const wrong = facts.find(({ path }) => path === 'nothing' || path === 'another-file');
  if (wrong === undefined) return undefined;
  const found =
    wrong.path === 'nothing' ? `${wrong.file} was deleted` : `${wrong.file} was replaced by another file`;
  return (
    `${found} while volume ${wrong.volume} uses it: writes go to the old file, which is gone when this process ends; ` +
    'put the old file back (it is still open in the module process, under /proc), or move the VM away with `vmpair swap VM`'
  );
}

/** Files on one file system share its room; that is for the next look to see. */
export function hasRoom(facts: readonly DiskFileFacts[]): boolean {
  return facts.every(
    ({ freeBytes, unallocatedBytes }) =>
      freeBytes !== undefined && freeBytes >= Math.min(unallocatedBytes, roomWantedBytes),
  );
}

/** The one of two doubts that asks for more: of another file nothing is known, and no bitmap tells what it lacks. */
export function worseDoubt(left: DiskDoubt, right: DiskDoubt): DiskDoubt {
  if (left === 'file-replaced' || right === 'file-replaced') return 'file-replaced';
  return left === 'none' ? right : left;
}

/** Why a disk that is in doubt is not used, and what ends that. */
export function doubtSentence(doubt: DiskDoubt): string {
  const what =
    doubt === 'flush-failed'
      ? 'a flush failed on this disk before: what was not flushed then may be lost, also where it can be read'
      : 'the disk file is not the one that this module wrote to before';
  return (
    `${what}; a peer that is up to date repairs it by itself; without one, check the disk, then run ` +
    '`vmpair accept-disk VM` to use it as it is'
  );
}
