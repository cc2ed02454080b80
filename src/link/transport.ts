/**
 * The bytes between the two modules, as a port. A connection is already authenticated (mutual TLS) when it is opened;
 * bytes arrive in order or the connection is closed. Frames are cut by the receiver (link/frames.ts), not here.
 */
import type { NodeName } from '../base/identity.ts';

export interface LinkConnection {
  readonly peer: NodeName;
  /** Queues bytes in order; everything of one event-loop turn leaves in one corked write. Never copies payload chunks. */
  send(header: Uint8Array, payload: readonly Uint8Array[]): void;
  /** Bytes queued here and not yet taken by the operating system. */
  queuedBytes(): number;
  /** Closes at once, both directions; `closed` is reported. Idempotent. */
  destroy(because: string): void;
}

export interface LinkHandler {
  /** A new connection; an earlier one that is still open is to be considered superseded. */
  opened(connection: LinkConnection): void;
  received(connection: LinkConnection, bytes: Uint8Array): void;
  closed(connection: LinkConnection, because: string): void;
  /** A connection could not be made or was rejected before it opened (wrong certificate, refused, time-out). For people. */
  failed(because: string): void;
}

/** Of one network. */
export interface LinkTransport {
  /** Listens or dials until stopped, see `dials`. */
  start(handler: LinkHandler): void;
  stop(): void;
}

/** Exactly one of two nodes dials, so that one connection exists at a time; it also chooses the network in use. */
export function dials(self: NodeName, peer: NodeName): boolean {
  return self < peer;
}
