/**
 * System calls that Node has no function for, through the C library (Linux on x64 and arm64, glibc). The library is
 * loaded at the first call, so importing this file is harmless everywhere.
 *
 * Two kinds of calls: short ones run in the event loop; those that may wait for a disk (`fallocateAsync`, `seekAsync`)
 * run on Node's thread pool, a bounded number at a time. Failed calls throw or answer a `SystemCallError` with the name
 * of the errno; callers give it a meaning.
 */
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';
import { assertInvariant } from '../base/assert.ts';
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
  readonly fcntl: Call;
  readonly ioctl: Call;
  readonly socket: Call;
  readonly bind: Call;
  readonly listen: Call;
  readonly setsockopt: Call;
  readonly syscall: Call;
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
      fcntl: library.func('int fcntl(int fd, int command, void *lock)'),
      ioctl: library.func('int ioctl(int fd, unsigned long request, int argument)'),
      socket: library.func('int socket(int domain, int type, int protocol)'),
      bind: library.func('int bind(int fd, void *address, uint32_t length)'),
      listen: library.func('int listen(int fd, int backlog)'),
      setsockopt: library.func('int setsockopt(int fd, int level, int name, void *value, uint32_t length)'),
      syscall: library.func('long syscall(long number, long first, long second, long third)'),
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

function checked(call: string, result: number): number {
  if (result < 0) throw new SystemCallError(call, errnoName());
  return result;
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

/** Process that holds a conflicting lock, when the kernel knows: it does for POSIX locks, not for descriptor locks. */
export function lockOwner(fd: number): number | undefined {
  const lock = Buffer.alloc(flockBytes);
  lock.writeInt16LE(lockTypes.write, 0);
  if (libc().fcntl(fd, lockCommands.get, lock) !== 0) return undefined;
  const processId = lock.readInt32LE(24);
  return lock.readInt16LE(0) !== lockTypes.unlocked && processId > 0 ? processId : undefined;
}

/** ioctl FICLONE: `target` shares all blocks of `source`. False: this file system, or this pair, cannot. */
export function reflink(targetFd: number, sourceFd: number): boolean {
  const ficlone = 0x40049409;
  if (libc().ioctl(targetFd, ficlone, sourceFd) === 0) return true;
  const code = errnoName();
  if (['ENOTSUP', 'EXDEV', 'EINVAL', 'ENOTTY', 'ENOSYS'].includes(code)) return false;
  throw new SystemCallError('ioctl FICLONE', code);
}

const closeOnExec = 0o2000000;
const stream = 1;

/** A raw stream socket of the domain, close-on-exec; sockets are made here so that no event loop accepts on them. */
export function openStreamSocket(domain: 'unix' | 'inet'): number {
  return checked('socket', libc().socket(domain === 'unix' ? 1 : 2, stream | closeOnExec, 0));
}

/** setsockopt SO_REUSEADDR: the port of a closed connection may be listened on again at once. */
export function allowAddressReuse(fd: number): void {
  const [solSocket, reuseAddress] = [1, 2];
  const on = Buffer.alloc(4);
  on.writeInt32LE(1, 0);
  checked('setsockopt', libc().setsockopt(fd, solSocket, reuseAddress, on, on.length));
}

/** Binds to the bytes of a `struct sockaddr`. */
export function bindSocket(fd: number, address: Buffer): void {
  checked('bind', libc().bind(fd, address, address.length));
}

export function listenOnSocket(fd: number, backlog: number): void {
  checked('listen', libc().listen(fd, backlog));
}

/** Numbers of system calls that are the same on both architectures. */
const systemCalls = { pidfdOpen: 434, pidfdGetfd: 438 } as const;

/** A descriptor that stands for a running process (Linux 5.3). */
export function openProcess(processId: number): number {
  assertInvariant(Number.isInteger(processId) && processId > 0, 'a process id is a positive number');
  return checked('pidfd_open', libc().syscall(systemCalls.pidfdOpen, processId, 0, 0));
}

/** A copy of descriptor `fd` of that process (Linux 5.6; needs the right to trace it). Close-on-exec. */
export function copyDescriptorOf(processFd: number, fd: number): number {
  return checked('pidfd_getfd', libc().syscall(systemCalls.pidfdGetfd, processFd, fd, 0));
}
