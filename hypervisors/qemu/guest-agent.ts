/**
 * Whether the guest agent answers, over the socket of its channel: the QEMU guest agent protocol, of which only `guest-sync-delimited` is
 * used (qga/qapi-schema.json). Each question has a connection of its own; QEMU serves one client at a time. Bytes of the guest are
 * foreign: what does not fit is skipped, up to a limit.
 */
import { createConnection } from 'node:net';
import type { Clock } from '../../src/base/clock.ts';
import type { Wait } from '../port.ts';

/** Comes before the answer, and never within JSON. */
const sentinel = 0xff;
const newline = 0x0a;
/** Longest answer with what an earlier client left unread, bytes. */
const answerBytesMax = 64 * 1024;

let lastId = 0;

/** `undefined`: it answered. Else why not, for a person. */
export function askGuestAgent(socketPath: string, clock: Clock, wait: Wait): Promise<string | undefined> {
  lastId = (lastId + 1) % 2 ** 31;
  const id = lastId;
  return new Promise((resolve) => {
    const socket = createConnection(socketPath);
    let received = Buffer.alloc(0);
    let settled = false;
    const settle = (problem: string | undefined): void => {
      if (settled) return;
      settled = true;
      timer.cancel();
      wait.signal?.removeEventListener('abort', abort);
      socket.destroy();
      resolve(problem);
    };
    const abort = (): void => settle('the caller gave up');
    const timer = clock.after(wait.timeoutMs, () =>
      settle(`the guest agent does not answer within ${Math.round(wait.timeoutMs)} ms`),
    );
    wait.signal?.addEventListener('abort', abort);
    socket.on('connect', () => {
      const request = JSON.stringify({ execute: 'guest-sync-delimited', arguments: { id } });
      // The agent drops what it has read of an earlier request.
      socket.write(Buffer.concat([Buffer.of(sentinel), Buffer.from(`${request}\n`)]));
    });
    socket.on('data', (bytes) => {
      received = Buffer.concat([received, bytes]);
      if (received.length > answerBytesMax) return settle('the guest agent answers with something else');
      if (holdsAnswer(received, id)) settle(undefined);
    });
    socket.on('error', ({ message }) => settle(`the channel of the guest agent: ${message}`));
    socket.on('close', () => settle('the channel of the guest agent was closed'));
  });
}

/** Whether a complete answer to this request is among the bytes. */
export function holdsAnswer(bytes: Uint8Array, id: number): boolean {
  for (let start = bytes.indexOf(sentinel); start >= 0; start = bytes.indexOf(sentinel, start + 1)) {
    const end = bytes.indexOf(newline, start);
    if (end < 0) return false;
    try {
      const answer: unknown = JSON.parse(new TextDecoder().decode(bytes.subarray(start + 1, end)));
      if (Object(answer).return === id) return true;
    } catch {
      // Not an answer.
    }
  }
  return false;
}
