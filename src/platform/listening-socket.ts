/**
 * Listening unix sockets as plain descriptors. They are made outside Node's `net`, which would accept on them: the process
 * that holds one only keeps it open, so that clients wait in the backlog while the process that serves is away.
 * Descriptors are close-on-exec; a child gets exactly those that are handed to it. Linux, glibc.
 */
import { chmodSync, closeSync, rmSync } from 'node:fs';
import koffi from 'koffi';
import { WorldError } from '../base/errors.ts';
import { checkSocketPath } from './socket-path.ts';

/** Connections that wait while the serving process restarts. */
export const listenBacklog = 128;

const familyUnix = 1;
const typeStream = 1;
const closeOnExec = 0o2000000;
/** System call numbers, the same on x86-64 and arm64. */
const pidfdOpenCall = 434;
const pidfdGetfdCall = 438;
/** struct sockaddr_un: family (2 bytes), path (108 bytes with the terminating zero). */
const addressBytes = 110;

const libc = koffi.load(null);
const socket = libc.func('int socket(int, int, int)') as (
  family: number,
  type: number,
  protocol: number,
) => number;
const bind = libc.func('int bind(int, const void *, uint32_t)') as (
  fd: number,
  address: Uint8Array,
  length: number,
) => number;
const listen = libc.func('int listen(int, int)') as (fd: number, backlog: number) => number;
const getsockname = libc.func('int getsockname(int, _Out_ uint8_t *, _Inout_ uint32_t *)') as (
  fd: number,
  address: Uint8Array,
  length: number[],
) => number;
const syscall = libc.func('long syscall(long, long, long, long)') as (
  call: number,
  first: number,
  second: number,
  third: number,
) => number;

function failed(wanted: string, step: string, next: string): WorldError {
  return new WorldError('socket-failed', { wanted, found: `${step}: errno ${koffi.errno()}`, next });
}

/**
 * Creates, binds and listens; a file that is at `path` is replaced, so the caller must know that nobody serves there.
 * @returns the descriptor, owned by the caller
 */
export function listenOnUnixSocket(path: string, mode = 0o600): number {
  checkSocketPath(path);
  const wanted = `to listen on the unix socket ${path}`;
  const next = 'Check that the directory exists, is writable and is on a local file system.';
  rmSync(path, { force: true });
  const fd = socket(familyUnix, typeStream | closeOnExec, 0);
  if (fd < 0) throw failed(wanted, 'socket', next);
  const address = new Uint8Array(addressBytes);
  new DataView(address.buffer).setUint16(0, familyUnix, true);
  address.set(Buffer.from(path), 2);
  if (bind(fd, address, addressBytes) !== 0) {
    const error = failed(wanted, 'bind', next);
    closeSync(fd);
    throw error;
  }
  chmodSync(path, mode);
  if (listen(fd, listenBacklog) !== 0) {
    const error = failed(wanted, 'listen', next);
    closeSync(fd);
    throw error;
  }
  return fd;
}

/** Path that the socket `fd` is bound to; `undefined` when `fd` is no bound unix socket. */
export function boundPath(fd: number): string | undefined {
  const address = new Uint8Array(addressBytes);
  const length = [addressBytes];
  if (getsockname(fd, address, length) !== 0) return undefined;
  if (new DataView(address.buffer).getUint16(0, true) !== familyUnix) return undefined;
  const text = Buffer.from(address.subarray(2, length[0] ?? 2));
  const end = text.indexOf(0);
  return text.toString('utf8', 0, end < 0 ? text.length : end);
}

/**
 * A duplicate of descriptor `fd` of another process: pidfd_getfd(2). Needs the right to trace that process (root).
 * @returns the descriptor, owned by the caller; `undefined` when the process, the descriptor or the right is not there
 */
export function fetchDescriptor(pid: number, fd: number): number | undefined {
  const pidfd = syscall(pidfdOpenCall, pid, 0, 0);
  if (pidfd < 0) return undefined;
  const fetched = syscall(pidfdGetfdCall, pidfd, fd, 0);
  closeSync(pidfd);
  return fetched < 0 ? undefined : fetched;
}
