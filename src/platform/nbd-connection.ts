/** An `NbdClient` over a unix socket or TCP. */
import { createConnection, type Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { NbdClient } from '../nbd/client.ts';
import { CorkedSocket } from './corked-socket.ts';

/** Defaults of `ConnectOptions`. */
const handshakeTimeoutMs = 10_000;
const requestTimeoutMs = 120_000;

export type NbdServerAddress = { readonly path: string } | { readonly host: string; readonly port: number };

export interface ConnectOptions {
  readonly clock: Clock;
  /** Connecting and negotiating. */
  readonly handshakeTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
}

/**
 * Connects and negotiates. Errors: `nbd-unreachable` (nobody listens, the server hung up, or no answer in time),
 * `nbd-export-refused`, `protocol-violation`.
 */
export async function connectNbd(
  address: NbdServerAddress,
  exportName: string,
  options: ConnectOptions,
): Promise<NbdClient> {
  const socket: Socket = createConnection(address);
  const corked = new CorkedSocket(socket, {
    received: (bytes) => client.received(bytes),
    drained: () => {},
    closed: (because) => client.closed(because),
  });
  const client = new NbdClient(corked, options.clock, {
    exportName,
    address: 'path' in address ? address.path : `${address.host}:${address.port}`,
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? handshakeTimeoutMs,
    requestTimeoutMs: options.requestTimeoutMs ?? requestTimeoutMs,
  });
  await client.negotiated;
  return client;
}
