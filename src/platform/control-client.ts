/**
 * The asking side of a control socket: one kept connection, made when needed and again after it was lost; every call has a
 * deadline. A call that fails says whether nobody answered (`control-unreachable`) or the process refused (its own code, or
 * `control-refused` for a code that this program does not know).
 */
import { connect, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { z } from 'zod';
import { type ErrorCode, errorCatalogue } from '../base/error-catalogue.ts';
import { WorldError } from '../base/errors.ts';
import { answerBytesMax, wireErrorSchema } from './control-socket.ts';
import { JsonLineReader } from './json-lines.ts';
import { checkSocketPath } from './socket-path.ts';

/** Deadline of a call that names none, ms. */
export const callDeadlineMs = 5000;

const answerSchema = z.union([
  z.object({ id: z.number(), ok: z.literal(true), result: z.unknown() }),
  z.object({ id: z.number(), ok: z.literal(false), error: wireErrorSchema }),
  z.object({ event: z.unknown() }).refine((line) => line.event !== undefined),
]);

interface Call {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: WorldError) => void;
  readonly timer: NodeJS.Timeout;
}

export interface ControlClientOptions {
  readonly path: string;
  /** Called for each `{event}` line after `call('subscribe')`. */
  readonly event?: (event: unknown) => void;
  /** Called each time an established connection ends. */
  readonly disconnected?: () => void;
}

/** What the commonest failures of `connect` mean here. */
const connectFailures: Readonly<Record<string, string>> = {
  ENOENT: 'no such socket: the process does not run, or its socket is in another directory',
  ECONNREFUSED: 'nobody who listens there: the process has ended',
  EACCES: 'no right to use it',
};

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCatalogue, code);
}

export class ControlClient {
  readonly #options: ControlClientOptions;
  readonly #calls = new Map<number, Call>();
  #socket: Socket | undefined;
  #nextId = 1;

  constructor(options: ControlClientOptions) {
    checkSocketPath(options.path);
    this.#options = options;
  }

  /** Asks once. `deadlineMs` covers connecting, the request and the answer. */
  call(verbName: string, args: object = {}, deadlineMs: number = callDeadlineMs): Promise<unknown> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#calls.delete(id);
        reject(this.#unreachable(`no answer to "${verbName}" within ${deadlineMs} ms`));
      }, deadlineMs);
      this.#calls.set(id, { resolve, reject, timer });
      this.#connected().write(`${JSON.stringify({ id, verb: verbName, args })}\n`);
    });
  }

  /** Calls without an answer fail. The client can be used again. */
  close(): void {
    this.#socket?.destroy();
    this.#lost(this.#socket, 'the connection was closed here');
  }

  #connected(): Socket {
    if (this.#socket !== undefined) return this.#socket;
    const socket = connect(this.#options.path);
    let established = false;
    let failure = 'the connection was closed by the other side';
    const reader = new JsonLineReader(answerBytesMax, (line) => {
      if (!this.#received(line)) socket.destroy(new Error('an answer that is none of the protocol'));
    });
    socket.on('connect', () => {
      established = true;
    });
    socket.on('data', (bytes) => {
      const problem = reader.feed(bytes);
      if (problem !== undefined) socket.destroy(new Error(problem));
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      failure = connectFailures[error.code ?? ''] ?? error.message;
    });
    socket.on('close', () => {
      this.#lost(socket, failure);
      if (established) this.#options.disconnected?.();
    });
    this.#socket = socket;
    return socket;
  }

  /** Whether the line is one of the protocol. */
  #received(line: unknown): boolean {
    const parsed = answerSchema.safeParse(line);
    if (!parsed.success) return false;
    const answer = parsed.data;
    if ('event' in answer) {
      this.#options.event?.(answer.event);
      return true;
    }
    const call = this.#calls.get(answer.id);
    // An answer after its deadline has nobody who waits for it.
    if (call === undefined) return true;
    this.#calls.delete(answer.id);
    clearTimeout(call.timer);
    if (answer.ok) call.resolve(answer.result);
    else call.reject(this.#refused(answer.error));
    return true;
  }

  #lost(socket: Socket | undefined, because: string): void {
    if (socket === undefined || this.#socket !== socket) return;
    this.#socket = undefined;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) {
      clearTimeout(call.timer);
      call.reject(this.#unreachable(because));
    }
  }

  #refused(error: z.infer<typeof wireErrorSchema>): WorldError {
    if (isErrorCode(error.code)) return new WorldError(error.code, error);
    return new WorldError('control-refused', { ...error, found: `${error.code}: ${error.found}` });
  }

  #unreachable(because: string): WorldError {
    return new WorldError('control-unreachable', {
      wanted: `an answer on the control socket ${this.#options.path}`,
      found: because,
      next: `See "vmpair supervisor list", and the logs in ${dirname(this.#options.path)}.`,
    });
  }
}

/** One call on a connection of its own. */
export async function callOnce(
  path: string,
  verbName: string,
  args: object = {},
  deadlineMs: number = callDeadlineMs,
): Promise<unknown> {
  const client = new ControlClient({ path });
  try {
    return await client.call(verbName, args, deadlineMs);
  } finally {
    client.close();
  }
}
