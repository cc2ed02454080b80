/**
 * Listening sockets that are held, not served: a descriptor that another process inherits and accepts on. Node's `net`
 * never sees them, because it would accept. While one is held a client waits in the backlog and is never refused.
 */
import fs from 'node:fs';
import { WorldError } from '../base/errors.ts';
import * as libc from './libc.ts';

/** `sun_path` of a unix socket, its terminating zero included. */
export const unixPathBytesMax = 108;

/**
 * Listens on a unix socket path, mode 0600; answers the descriptor. An existing file is not replaced: `port-in-use`. The
 * caller removes a stale one after it made sure that nobody answers there.
 */
export function listenOnUnixPath(path: string, backlog: number): number {
  const encoded = Buffer.from(path);
  if (encoded.length >= unixPathBytesMax) {
    throw new WorldError('file-io', {
      wanted: `a unix socket path of at most ${unixPathBytesMax - 1} bytes`,
      found: `${path} (${encoded.length} bytes)`,
      next: 'choose a shorter directory',
    });
  }
  const address = Buffer.alloc(2 + encoded.length + 1);
  address.writeUInt16LE(1, 0);
  encoded.copy(address, 2);
  return listening('unix', address, path, backlog, () => fs.chmodSync(path, 0o600));
}

/** Listens on an IPv4 address and port (0: the system chooses); answers the descriptor. */
export function listenOnTcp(host: string, port: number, backlog: number): number {
  const address = Buffer.alloc(16);
  address.writeUInt16LE(2, 0);
  address.writeUInt16BE(port, 2);
  address.set(host.split('.').map(Number), 4);
  return listening('inet', address, `${host}:${port}`, backlog, () => {});
}

function listening(
  domain: 'unix' | 'inet',
  address: Buffer,
  shown: string,
  backlog: number,
  beforeListening: () => void,
): number {
  const fd = libc.openStreamSocket(domain);
  try {
    if (domain === 'inet') libc.allowAddressReuse(fd);
    libc.bindSocket(fd, address);
    beforeListening();
    libc.listenOnSocket(fd, backlog);
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    throw asWorldError(error, shown);
  }
}

function asWorldError(error: unknown, shown: string): unknown {
  if (!(error instanceof libc.SystemCallError)) return error;
  const inUse = error.code === 'EADDRINUSE';
  const problem = {
    wanted: `to listen on ${shown}`,
    found: inUse ? 'that it is taken' : error.message,
    next: inUse
      ? 'end the process that listens there, or choose another address'
      : 'check address and rights',
  };
  return new WorldError(inUse ? 'port-in-use' : 'file-io', problem, error);
}

/**
 * Fetches a copy of a descriptor from a running process, such as a listening socket that it inherited. `undefined`: the
 * process is gone, has no such descriptor, or may not be traced by this one.
 */
export function fetchDescriptor(processId: number, fd: number): number | undefined {
  let processFd: number | undefined;
  try {
    processFd = libc.openProcess(processId);
    return libc.copyDescriptorOf(processFd, fd);
  } catch (error) {
    if (error instanceof libc.SystemCallError) return undefined;
    throw error;
  } finally {
    if (processFd !== undefined) fs.closeSync(processFd);
  }
}
