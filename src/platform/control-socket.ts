/**
 * The serving side of a control socket: requests and answers as JSON lines over a unix socket with mode 0600.
 *
 * Request `{id, verb, args}`; answer `{id, ok: true, result}` or `{id, ok: false, error: {code, wanted, found, next}}`;
 * after the verb `subscribe` also `{event}` lines. Arguments are validated before a verb runs. Every buffer has a limit;
 * a client that breaks a rule, or does not read its events, loses its connection and harms nobody else.
 * It does not authenticate: whoever may open the file may command.
 */
import { lstatSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { z } from 'zod';
import { WorldError } from '../base/errors.ts';
import { type Log, silentLog } from '../base/log.ts';
import { JsonLineReader } from './json-lines.ts';
import { checkSocketPath } from './socket-path.ts';

/** Longest request line. */
export const requestBytesMax = 64 * 1024;
/** Longest answer or event line. */
export const answerBytesMax = 4 * 1024 * 1024;
export const connectionsMax = 64;
/** Requests of one connection whose answers are outstanding. */
export const requestsInFlightMax = 64;
/** Unread bytes at which a connection is given up. */
export const unreadBytesMax = 8 * 1024 * 1024;
/** How long a process may take to accept on a socket file that was found, ms. */
const probeDeadlineMs = 1000;

export interface Verb {
  readonly args: z.ZodType;
  readonly handle: (args: unknown) => unknown;
}

export type VerbTable = Readonly<Record<string, Verb>>;

/** A verb with typed arguments. `handle` may throw a `WorldError`, which the client gets as it is. */
export function verb<Schema extends z.ZodType>(
  args: Schema,
  handle: (args: z.infer<Schema>) => unknown,
): Verb {
  return { args, handle: (value) => handle(value as z.infer<Schema>) };
}

/** The arguments of a verb that takes none. */
export const noArgs = z.strictObject({});

export const wireErrorSchema = z.object({
  code: z.string(),
  wanted: z.string(),
  found: z.string(),
  next: z.string(),
});

const requestSchema = z.strictObject({
  id: z.number().int().min(0),
  verb: z.string().max(64),
  args: z.unknown().optional(),
});

type Request = z.infer<typeof requestSchema>;

export interface ControlServerOptions {
  readonly path: string;
  readonly verbs: VerbTable;
  readonly log?: Log;
}

/** Whether some process accepts connections on the socket file. */
export function answersOn(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (answers: boolean) => {
      socket.destroy();
      resolve(answers);
    };
    socket.setTimeout(probeDeadlineMs, () => end(true));
    socket.once('connect', () => end(true));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code === 'EAGAIN'));
  });
}

/** Removes a socket file that nobody answers on. Throws `already-running` for one that somebody does, or a file of another kind. */
export async function replaceStaleFile(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new WorldError('already-running', {
      wanted: `to listen on ${path}`,
      found: 'a file of another kind at this path',
      next: 'Move the file away, or choose another run-time directory.',
    });
  }
  if (await answersOn(path)) {
    throw new WorldError('already-running', {
      wanted: `to listen on ${path}`,
      found: 'a process that already answers there',
      next: 'Use the process that runs, or end it first.',
    });
  }
  rmSync(path, { force: true });
}

export class ControlServer {
  readonly #server: Server;
  readonly #path: string;
  readonly #verbs: VerbTable;
  readonly #log: Log;
  readonly #connections = new Set<Socket>();
  readonly #subscribers = new Set<Socket>();

  /** Listens; throws `already-running` when a process answers on `path`, replaces a file that nobody answers on. */
  static async listen(options: ControlServerOptions): Promise<ControlServer> {
    checkSocketPath(options.path);
    await replaceStaleFile(options.path);
    const server = new ControlServer(options);
    await server.#open();
    return server;
  }

  private constructor(options: ControlServerOptions) {
    this.#path = options.path;
    this.#verbs = options.verbs;
    this.#log = options.log ?? silentLog;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  get hasSubscribers(): boolean {
    return this.#subscribers.size > 0;
  }

  /** Sends `{event}` to every connection that subscribed. */
  publish(event: unknown): void {
    if (this.#subscribers.size === 0) return;
    const line = `${JSON.stringify({ event })}\n`;
    for (const socket of this.#subscribers) this.#write(socket, line);
  }

  /** Stops listening and drops all connections; what was queued on them is sent first. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    for (const socket of this.#connections) socket.destroySoon();
    await closed;
  }

  #open(): Promise<void> {
    return new Promise((resolve, reject) => {
      const refuse = (cause: Error) => {
        reject(
          new WorldError(
            'socket-failed',
            {
              wanted: `to listen on the unix socket ${this.#path}`,
              found: cause.message,
              next: 'Check that the directory exists and is writable.',
            },
            cause,
          ),
        );
      };
      this.#server.once('error', refuse);
      // The file is made inside listen(), so nobody sees it with wider rights.
      const mask = process.umask(0o177);
      try {
        this.#server.listen(this.#path, () => {
          this.#server.off('error', refuse);
          this.#server.on('error', (error) =>
            this.#log.error('control-socket-failed', { because: error.message }),
          );
          resolve();
        });
      } finally {
        process.umask(mask);
      }
    });
  }

  #accept(socket: Socket): void {
    if (this.#connections.size >= connectionsMax) {
      this.#log.warn('control-connections-full', { limit: connectionsMax });
      socket.destroy();
      return;
    }
    this.#connections.add(socket);
    let inFlight = 0;
    const reader = new JsonLineReader(requestBytesMax, (value) => {
      inFlight += 1;
      if (inFlight > requestsInFlightMax) return this.#drop(socket, 'too-many-requests');
      void this.#answer(socket, value).finally(() => {
        inFlight -= 1;
      });
    });
    socket.on('data', (bytes) => {
      const problem = reader.feed(bytes);
      if (problem !== undefined) this.#drop(socket, problem);
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#connections.delete(socket);
      this.#subscribers.delete(socket);
    });
  }

  async #answer(socket: Socket, value: unknown): Promise<void> {
    const parsed = requestSchema.safeParse(value);
    if (!parsed.success) return this.#drop(socket, 'not-a-request');
    const request = parsed.data;
    let answer: string;
    try {
      const result = request.verb === 'subscribe' ? this.#subscribe(socket) : await this.#run(request);
      answer = JSON.stringify({ id: request.id, ok: true, result: result ?? null });
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      const { code, wanted, found, next } = error;
      answer = JSON.stringify({ id: request.id, ok: false, error: { code, wanted, found, next } });
    }
    this.#write(socket, `${answer}\n`);
  }

  #subscribe(socket: Socket): null {
    this.#subscribers.add(socket);
    return null;
  }

  async #run(request: Request): Promise<unknown> {
    const found = Object.hasOwn(this.#verbs, request.verb) ? this.#verbs[request.verb] : undefined;
    if (found === undefined) {
      throw new WorldError('control-refused', {
        wanted: `one of the verbs ${['subscribe', ...Object.keys(this.#verbs)].join(', ')}`,
        found: `the verb ${JSON.stringify(request.verb)}`,
        next: 'Ask for one of these verbs; the program may be of another version.',
      });
    }
    const args = found.args.safeParse(request.args ?? {});
    if (!args.success) {
      const issue = args.error.issues[0];
      throw new WorldError('control-refused', {
        wanted: `arguments that the verb ${request.verb} takes`,
        found: `at ${issue?.path.join('.') || 'the arguments'}: ${issue?.message ?? 'something else'}`,
        next: 'Correct the arguments; nothing was changed.',
      });
    }
    return found.handle(args.data);
  }

  #write(socket: Socket, line: string): void {
    if (socket.destroyed) return;
    socket.write(line);
    if (socket.writableLength > unreadBytesMax) this.#drop(socket, 'client-does-not-read');
  }

  #drop(socket: Socket, because: string): void {
    if (socket.destroyed) return;
    this.#log.warn('control-connection-dropped', { because });
    socket.destroy();
  }
}
