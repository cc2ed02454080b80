/**
 * The link without encryption, for a cable that leads from one server straight to the other.
 *
 * Who the other is, is proved all the same: the dialler comes over mutual TLS first, and what it gets there is a ticket, good once
 * and for a short time. It then dials the same address without TLS and presents the ticket; that second connection
 * carries the frames. What is given up: secrecy and integrity of the frames against somebody who can reach the cable.
 */
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { WorldError } from '../base/errors.ts';
import type { Dial, SocketAddress } from './tls-sockets.ts';

/** What the listening side says when the connection that it is said on is the one that carries the frames. */
export const greeting = 'vmpair-link/1';
/** What it says, followed by a ticket, when frames go over a second connection without encryption. */
export const plainGreeting = `${greeting} plain `;
/** How a dialler begins the second connection, followed by the ticket. The first byte is none that TLS begins with. */
export const plainPreface = 'vmpair-plain/1 ';
const ticketBytes = 32;
/** Longest line before the first frame, with its line feed. */
export const lineBytesMax = 96;

/** Tickets that were given out and not yet used. */
export class Tickets {
  readonly #endsMs = new Map<string, number>();
  readonly #validMs: number;

  constructor(validMs: number) {
    this.#validMs = validMs;
  }

  issue(nowMs: number): string {
    for (const [ticket, endMs] of this.#endsMs) if (endMs < nowMs) this.#endsMs.delete(ticket);
    const ticket = randomBytes(ticketBytes).toString('hex');
    this.#endsMs.set(ticket, nowMs + this.#validMs);
    return ticket;
  }

  /** True for a ticket that is still good; it is used up with that. */
  redeem(ticket: string, nowMs: number): boolean {
    const endMs = this.#endsMs.get(ticket);
    this.#endsMs.delete(ticket);
    return endMs !== undefined && nowMs <= endMs;
  }
}

/** Reads one line of at most `lineBytesMax`; bytes behind it stay in the stream. Calls `done` once, unless abandoned. */
export function awaitLine(
  stream: Duplex,
  deadlineMs: number,
  done: (line: string | WorldError) => void,
): Dial {
  let held = Buffer.alloc(0);
  let failure = 'a closed connection';
  const failed = (error: Error): void => {
    failure = error.message;
  };
  const unlisten = (): void => {
    clearTimeout(deadline);
    stream.removeListener('readable', readable);
    stream.removeListener('close', closed);
  };
  const problem = (found: string, next: string): void => {
    unlisten();
    stream.destroy();
    done(new WorldError('peer-unreachable', { wanted: 'the greeting of the peer', found, next }));
  };
  const readable = (): void => {
    const bytes: unknown = stream.read();
    if (!(bytes instanceof Uint8Array)) return;
    held = Buffer.concat([held, bytes]);
    const end = held.indexOf('\n');
    if (end > lineBytesMax || (end === -1 && held.length >= lineBytesMax)) {
      return problem('other bytes', 'run the same version of vmpair on both nodes');
    }
    if (end === -1) return;
    unlisten();
    if (held.length > end + 1) stream.unshift(held.subarray(end + 1));
    done(held.toString('latin1', 0, end));
    stream.removeListener('error', failed);
  };
  const closed = (): void =>
    problem(failure, 'see the log of the peer: it rejected our certificate, or it is stopping');
  const deadline = setTimeout(() => problem('silence', 'see the log of the peer'), Math.max(1, deadlineMs));
  stream.on('error', failed);
  stream.once('close', closed);
  stream.on('readable', readable);
  return {
    abandon: () => {
      unlisten();
      stream.on('error', () => undefined);
      stream.destroy();
    },
  };
}

/** Makes the second connection; `done` gets it when the listening side has taken the ticket. */
export function dialPlain(
  address: SocketAddress,
  ticket: string,
  deadlineMs: number,
  done: (result: net.Socket | WorldError) => void,
): Dial {
  const socket = net.connect({ ...address, noDelay: true });
  socket.write(`${plainPreface}${ticket}\n`);
  return awaitLine(socket, deadlineMs, (line) => {
    if (line instanceof WorldError) return done(line);
    if (line === greeting) return done(socket);
    socket.on('error', () => undefined);
    socket.destroy();
    const next = 'run the same version of vmpair on both nodes';
    done(
      new WorldError('peer-unreachable', { wanted: 'the greeting of the peer', found: 'other bytes', next }),
    );
  });
}

/** Whether this first byte begins the preface of a connection without encryption, and not a TLS handshake. */
export function beginsPlain(firstByte: number): boolean {
  return firstByte === plainPreface.charCodeAt(0);
}
