/**
 * System calls that Node has no function for, through the C library (Linux on x64 and arm64, glibc). The library is
 * loaded at the first call, so importing this file is harmless everywhere.
 *
 * Two kinds of calls: short ones run in the event loop; those that may wait for a disk (`fallocateAsync`, `seekAsync`, `reflink`)
 * run on Node's thread pool, a bounded number at a time. Failed calls throw or answer a `SystemCallError` with the name
 * of the errno; callers give it a meaning.
 */
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';
import { WorldError } from '../base/errors.ts';

/** A system call answered an error: `EAGAIN`, `ENOSPC`, ... (EOPNOTSUPP has the same number as `ENOTSUP` and that name). */
export class SystemCallError extends Error {
  override readonly name = 'SystemCallError';
  readonly call: string;
  readonly code: string;

  constructor(call: string, code: string) {
    super(`${call} failed with ${code}`);
    this.call = call;
    this.code = code;
  }
}

type Call = (...args: unknown[]) => number;
type AsyncCall = (...args: unknown[]) => void;

interface Libc {
  readonly fallocate: AsyncCall;
  readonly lseek: AsyncCall;
  readonly posixFadvise: Call;
  readonly mallocTrim: Call;
  readonly fcntl: Call;
  readonly ioctl: AsyncCall;
}

let loaded: Libc | undefined;

function libc(): Libc {
  loaded ??= load();
  return loaded;
}

function load(): Libc {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
    throw unsupported(`${process.platform} on ${process.arch}`);
  }
  try {
    const library = koffi.load('libc.so.6');
    // fcntl and ioctl are variadic in C; on these two architectures a third pointer or int is passed all the same.
    return {
      fallocate: library.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)').async,
      lseek: library.func('int64_t lseek(int fd, int64_t offset, int whence)').async,
      posixFadvise: library.func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)'),
      mallocTrim: library.func('int malloc_trim(size_t pad)'),
      fcntl: library.func('int fcntl(int fd, int command, void *lock)'),
      ioctl: library.func('int ioctl(int fd, unsigned long request, int argument)').async,
    };
  } catch (error) {
    throw unsupported(`no usable libc.so.6 (${String(error)})`, error);
  }
}

function unsupported(found: string, cause?: unknown): WorldError {
  const wanted = 'Linux on x64 or arm64 with the GNU C library';
  const next = 'run this part of vmpair on such a host';
  return new WorldError('platform-unsupported', { wanted, found, next }, cause);
}

/** The errno of the call that has just returned, by name. */
function errnoName(): string {
  const number = koffi.errno();
  return number > 0 ? getSystemErrorName(-number) : 'an unknown error';
}

/** Asynchronous calls given to the thread pool at once; koffi itself refuses more than 256. */
const asyncCallsMax = 64;
let asyncCalls = 0;
const waitingCalls: (() => void)[] = [];

type Answer = (error: SystemCallError | undefined, result: number) => void;

function callAsync(name: string, call: AsyncCall, args: readonly number[], answer: Answer): void {
  const start = (): void => {
    asyncCalls += 1;
    call(...args, (failure: Error | null, result: number) => {
      const error = failure === null && result >= 0 ? undefined : new SystemCallError(name, errnoName());
      asyncCalls -= 1;
      waitingCalls.shift()?.();
      answer(error, result);
    });
  };
  if (asyncCalls < asyncCallsMax) start();
  else waitingCalls.push(start);
}

/** fallocate(2): keep the size of the file; give the range back, or make it read as zeroes and stay allocated. */
const fallocateModes = { 'punch-hole': 0x01 | 0x02, 'zero-range': 0x01 | 0x10 } as const;

/** Zeroes a range of a file. May wait for writes in flight and for the journal: on the thread pool. */
export function fallocateAsync(
  fd: number,
  mode: keyof typeof fallocateModes,
  offsetBytes: number,
  lengthBytes: number,
  done: (error: SystemCallError | undefined) => void,
): void {
  callAsync('fallocate', libc().fallocate, [fd, fallocateModes[mode], offsetBytes, lengthBytes], done);
}

/** posix_fadvise(2). */
const advices = { random: 1, 'do-not-need': 4 } as const;

/** Says how the pages of a whole file are used; `do-not-need` lets the page cache of it go as far as it is clean. */
export function adviseFile(fd: number, advice: keyof typeof advices): void {
  // It answers the number of the error and leaves errno alone.
  const error = libc().posixFadvise(fd, 0, 0, advices[advice]);
  if (error !== 0) throw new SystemCallError('posix_fadvise', getSystemErrorName(-error));
}

/** malloc_trim(3): gives the free pages of the C library's heap back. Takes some milliseconds. */
export function trimHeap(): void {
  libc().mallocTrim(0);
}

/** lseek(2) whence values. */
const seekWhences = { data: 3, hole: 4 } as const;

/** The next data or hole at or after an offset; error `ENXIO`: there is none before the end of the file. */
export function seekAsync(
  fd: number,
  whence: keyof typeof seekWhences,
  offsetBytes: number,
  answer: Answer,
): void {
  callAsync('lseek', libc().lseek, [fd, offsetBytes, seekWhences[whence]], answer);
}

/** `struct flock` of 64-bit Linux. */
const flockBytes = 32;
const lockCommands = { get: 36, set: 37 } as const;
const lockTypes = { write: 1, unlocked: 2 } as const;

/**
 * Takes an exclusive open-file-description lock on the whole file: held until the descriptor is closed, also against
 * other descriptors of this process. False: somebody else holds a lock on a part of it.
 */
export function lockWholeFile(fd: number): boolean {
  const lock = Buffer.alloc(flockBytes);
  lock.writeInt16LE(lockTypes.write, 0);
  const result = libc().fcntl(fd, lockCommands.set, lock);
  if (result === 0) return true;
  const code = errnoName();
  if (code === 'EAGAIN' || code === 'EACCES') return false;
  throw new SystemCallError('fcntl', code);
}

/** The lock that would keep this descriptor from locking the whole file: the process that holds it, 0 when the kernel does not say. */
function conflictingLock(fd: number): number | undefined {
  const lock = Buffer.alloc(flockBytes);
  lock.writeInt16LE(lockTypes.write, 0);
  if (libc().fcntl(fd, lockCommands.get, lock) !== 0 || lock.readInt16LE(0) === lockTypes.unlocked)
    return undefined;
  return Math.max(0, lock.readInt32LE(24));
}

/** Process that holds a conflicting lock, when the kernel knows: it does for POSIX locks, not for descriptor locks. */
export function lockOwner(fd: number): number | undefined {
  return conflictingLock(fd) || undefined;
}

/** Whether another descriptor, of any process, holds a lock on a part of the file. Takes none. */
export function isLockedElsewhere(fd: number): boolean {
  return conflictingLock(fd) !== undefined;
}

const cannotClone = ['ENOTSUP', 'EXDEV', 'EINVAL', 'ENOTTY', 'ENOSYS'];

/**
 * ioctl FICLONE: `target` shares all blocks of `source`; what is not on the disk yet is written first, so it runs on the thread
 * pool. False: this file system, or this pair of files, cannot. Rejects with `SystemCallError`.
 */
export function reflink(targetFd: number, sourceFd: number): Promise<boolean> {
  const ficlone = 0x40049409;
  return new Promise((resolve, reject) => {
    callAsync('ioctl FICLONE', libc().ioctl, [targetFd, ficlone, sourceFd], (error) => {
      if (error === undefined) resolve(true);
      else if (cannotClone.includes(error.code)) resolve(false);
      else reject(error);
    });
  });
}
