/**
 * Files that this process owns while it runs: opened for reading and writing and locked as a whole, so that a second
 * instance and tools on the host (qemu-img honours such locks) are refused. Opening changes nothing in the file; the
 * lock ends with the descriptor, also when the process is killed.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { ErrorCode } from '../base/error-catalogue.ts';
import { WorldError } from '../base/errors.ts';
import { lockOwner, lockWholeFile } from './libc.ts';

export interface LockedFile {
  readonly fd: number;
  readonly sizeBytes: number;
}

/** Errors: `file-missing`, `file-not-writable`, `file-locked` (names the holder where it can be found), `file-io`. */
export function openLockedFile(filePath: string): LockedFile {
  let fd: number;
  try {
    // Non-blocking only matters for a path that is no regular file, such as a pipe.
    fd = fs.openSync(filePath, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  } catch (error) {
    throw fileError(error, 'to open', filePath);
  }
  try {
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) throw notRegular(filePath);
    if (!lockWholeFile(fd)) throw lockedBy(lockOwner(fd) ?? findLockHolder(stat.ino), filePath);
    return { fd, sizeBytes: stat.size };
  } catch (error) {
    fs.closeSync(fd);
    throw error instanceof WorldError ? error : fileError(error, 'to lock', filePath);
  }
}

/** Makes a sparse file of that size, durably with its name. Errors: `file-exists`, `file-missing`, `file-io`, ... */
export function createSparseFile(filePath: string, sizeBytes: number): void {
  let fd: number | undefined;
  try {
    fd = fs.openSync(filePath, 'wx', 0o600);
    fs.ftruncateSync(fd, sizeBytes);
    fs.fsyncSync(fd);
    const directory = fs.openSync(path.dirname(filePath), 'r');
    try {
      fs.fsyncSync(directory);
    } finally {
      fs.closeSync(directory);
    }
  } catch (error) {
    if (fd !== undefined) fs.unlinkSync(filePath);
    throw fileError(error, 'to create', filePath);
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

const meanings: Readonly<Record<string, { code: ErrorCode; found: string; next: string }>> = {
  ENOENT: {
    code: 'file-missing',
    found: 'that it, or its directory, does not exist',
    next: 'check the path',
  },
  ENOTDIR: { code: 'file-missing', found: 'that its directory is none', next: 'check the path' },
  EACCES: { code: 'file-not-writable', found: 'no right to write it', next: 'check owner and mode' },
  EPERM: { code: 'file-not-writable', found: 'that it is protected', next: 'check its attributes (lsattr)' },
  EROFS: { code: 'file-not-writable', found: 'a read-only file system', next: 'mount it for writing' },
  ETXTBSY: { code: 'file-not-writable', found: 'that it is being executed', next: 'check the path' },
  EEXIST: { code: 'file-exists', found: 'that it exists', next: 'remove it, or choose another path' },
};

/** What a failed call of `node:fs` or of the C library on a file means. */
function fileError(error: unknown, verb: string, filePath: string): WorldError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const meaning = meanings[code] ?? {
    code: 'file-io',
    found: error instanceof Error ? error.message : String(error),
    next: 'look at the file system and at the kernel log',
  };
  const problem = { wanted: `${verb} ${filePath}`, found: meaning.found, next: meaning.next };
  return new WorldError(meaning.code, problem, error);
}

function notRegular(filePath: string): WorldError {
  return new WorldError('file-io', {
    wanted: `${filePath} to be a regular file`,
    found: 'something else (a directory, a device or a pipe)',
    next: 'check the path',
  });
}

function lockedBy(holder: number | undefined, filePath: string): WorldError {
  const command = holder === undefined ? '' : ` (${commandOf(holder)})`;
  return new WorldError('file-locked', {
    wanted: `${filePath} for this process alone`,
    found: holder === undefined ? 'a lock of another process' : `a lock of process ${holder}${command}`,
    next: 'end that process (a second instance of the module, or a tool such as qemu-img), then try again',
  });
}

/** Processes looked at for the holder of a lock; it is a hint in a message, not worth more. */
const processesExaminedMax = 4096;

/** The process with a descriptor that holds a lock on this inode, as far as this user may see it. */
function findLockHolder(inode: number): number | undefined {
  const processIds = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const lockLine = new RegExp(`^lock:.*:${inode} `, 'm');
  for (const processId of processIds.slice(0, processesExaminedMax)) {
    try {
      for (const fd of fs.readdirSync(`/proc/${processId}/fdinfo`)) {
        if (lockLine.test(fs.readFileSync(`/proc/${processId}/fdinfo/${fd}`, 'latin1')))
          return Number(processId);
      }
    } catch {
      // The process ended meanwhile, or belongs to another user.
    }
  }
  return undefined;
}

function commandOf(processId: number): string {
  try {
    return fs.readFileSync(`/proc/${processId}/comm`, 'utf8').trim();
  } catch {
    return 'ended meanwhile';
  }
}
