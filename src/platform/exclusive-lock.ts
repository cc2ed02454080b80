/**
 * One process owns a directory: an exclusive lock on a file in it, which the operating system drops when the
 * process ends in whatever way, so nothing is left to clean after a crash. Linux: `flock` through FFI.
 * Windows: the file is opened without sharing.
 */
import { closeSync, constants, openSync } from 'node:fs';
import path from 'node:path';
import koffi from 'koffi';
import { WorldError } from '../base/errors.ts';

const lockFileName = 'lock';
const lockExclusive = 2;
const lockNonBlocking = 4;
/** libuv's UV_FS_O_EXLOCK: on Windows, share mode 0. */
const openUnshared = 0x10000000;

export interface DirectoryLock {
  /** Idempotent. */
  release(): void;
}

function held(file: string, cause?: unknown): WorldError {
  const problem = {
    wanted: `to be the only process that uses ${path.dirname(file)}`,
    found: 'another process that holds its lock file',
    next: `end that process (fuser ${file} names it), or use another directory`,
  };
  return new WorldError('file-locked', problem, cause);
}

function openLockFile(file: string): number {
  const flags = constants.O_RDWR | constants.O_CREAT;
  try {
    return openSync(file, process.platform === 'win32' ? flags | openUnshared : flags, 0o600);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EBUSY') throw held(file, error);
    const next = 'create the directory, and let this user write to it';
    const problem = { wanted: `to open ${file} for writing`, found: String(error), next };
    throw new WorldError(code === 'ENOENT' ? 'file-missing' : 'file-not-writable', problem, error);
  }
}

/** Takes the lock at once or throws `WorldError` file-locked, file-missing or file-not-writable. */
export function lockDirectory(directory: string): DirectoryLock {
  const file = path.join(directory, lockFileName);
  const descriptor = openLockFile(file);
  if (process.platform !== 'win32') {
    const flock = koffi.load(null).func('int flock(int descriptor, int operation)');
    const result: unknown = flock(descriptor, lockExclusive | lockNonBlocking);
    if (result !== 0) {
      closeSync(descriptor);
      throw held(file);
    }
  }
  let holds = true;
  return {
    release: () => {
      if (holds) closeSync(descriptor);
      holds = false;
    },
  };
}
