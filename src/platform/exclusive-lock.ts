/**
 * One process at a time: an exclusive flock(2) on a file that stays. The kernel drops it with the process, however that
 * ends, so a crash never leaves a stale lock. The file's content names the holder for people and proves nothing.
 */
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import koffi from 'koffi';
import { WorldError } from '../base/errors.ts';

const lockExclusive = 2;
const lockNonBlocking = 4;

const flock = koffi.load(null).func('int flock(int, int)') as (fd: number, operation: number) => number;

export interface ExclusiveLock {
  /** Idempotent. */
  release(): void;
}

function openLockFile(path: string): number {
  try {
    return openSync(path, 'a+', 0o600);
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const problem = {
      wanted: `to open the lock file ${path} for writing`,
      found: String(error),
      next: 'create the directory, and let this user write to it',
    };
    throw new WorldError(missing ? 'file-missing' : 'file-not-writable', problem, error);
  }
}

/** Takes the lock at once or throws `already-running`, `file-missing` or `file-not-writable`. `what` says in words what the lock protects. */
export function takeExclusiveLock(path: string, what: string): ExclusiveLock {
  const fd = openLockFile(path);
  if (flock(fd, lockExclusive | lockNonBlocking) !== 0) {
    closeSync(fd);
    const holder = readFileSync(path, 'utf8').trim();
    throw new WorldError('already-running', {
      wanted: `to be the only ${what}`,
      found: `${path} is locked by another process${holder === '' ? '' : ` (${holder})`}`,
      next: 'Use the one that runs, or end it before you start another.',
    });
  }
  ftruncateSync(fd);
  writeSync(fd, `pid ${process.pid}\n`);
  let holds = true;
  return {
    release: () => {
      if (holds) closeSync(fd);
      holds = false;
    },
  };
}
