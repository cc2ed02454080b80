/**
 * The HTTP server of the agent: the same API over TLS for people and the other agent, and over a unix socket for this host.
 *
 * Order of each call: who is it, may it (before its body is read), is what it sends valid, do it, write the audit record,
 * answer. A fault in a route is answered as `agent-failed` and ends nothing else. Everything is bounded: connections,
 * bodies, time, and calls of one address.
 */
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer, Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Clock } from '../../base/clock.ts';
import { WorldError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type { Endpoint } from '../../config/link-config.ts';
import { replaceStaleFile } from '../../platform/control-socket.ts';
import { checkSocketPath } from '../../platform/socket-path.ts';
import { listenerOptions, type TlsIdentity } from '../../platform/tls.ts';
import { listenError } from '../../platform/tls-sockets.ts';
import type { Access } from '../access/access.ts';
import { AttemptLimits } from '../access/attempt-limits.ts';
import { describePrincipal, permissions, type Principal, refusalOf } from '../access/permissions.ts';
import { type AuditLog, type AuditRecord, auditedArguments } from '../journal/audit-log.ts';
import { errorBody, invalidRequest, statusOf } from './http-errors.ts';
import { bearerOf, localAddress, nobody, nodeOfCall, principalOfCall } from './principal.ts';
import { Answer, type Route, Stream } from './route.ts';

/** Longest body of a request. */
export const bodyBytesMax = 1024 * 1024;
export const connectionsMax = 256;
const handshakeDeadlineMs = 5000;
/** For a request to arrive as a whole, ms. */
const requestDeadlineMs = 10_000;
const keptAliveMs = 30_000;
/** Calls of one address; the console asks a few times a second, a scrape less. */
const callsPerAddress = { perSecond: 50, burst: 200 };

/** Answers are of now, and nothing in them is to be guessed at or framed. */
const answerHeaders = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const;

export interface ApiServerOptions {
  readonly routes: readonly Route[];
  readonly identity: TlsIdentity;
  readonly listen: readonly Endpoint[];
  readonly socket: string;
  readonly access: Access;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly log: Log;
  /** A call was answered, for the metrics. */
  readonly answered: (route: string, status: number, tookMs: number) => void;
}

interface CallState {
  principal: Principal;
  from: string;
}

export class ApiServer {
  readonly #options: ApiServerOptions;
  readonly #fastify: FastifyInstance;
  readonly #servers: Server[] = [];
  #identity: TlsIdentity;
  readonly #sockets = new Set<Socket>();
  readonly #calls = new WeakMap<object, CallState>();
  readonly #limits = new AttemptLimits(callsPerAddress);
  #listener: RequestListener = () => {};

  /** Throws `already-running`, `port-in-use`, `listen-failed` or `socket-failed`; then nothing listens. */
  static async start(options: ApiServerOptions): Promise<ApiServer> {
    const self = new ApiServer(options);
    try {
      await self.#fastify.ready();
      await self.#listenLocally();
      for (const address of options.listen) await self.#listenOn(address);
      return self;
    } catch (error) {
      await self.close();
      throw error;
    }
  }

  private constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#fastify = fastify({
      logger: false,
      bodyLimit: bodyBytesMax,
      routerOptions: { ignoreTrailingSlash: true, maxParamLength: 200 },
      frameworkErrors: (error, _request, reply) => this.#failed(error, reply),
      // It listens on nothing by itself: both kinds of server hand their requests to the same routes.
      serverFactory: (listener) => {
        this.#listener = listener as RequestListener;
        return createHttpServer();
      },
    });
    this.#fastify.addHook('onResponse', async (request, reply) => {
      options.answered(request.routeOptions.config.routeId ?? 'none', reply.statusCode, reply.elapsedTime);
    });
    this.#fastify.addHook('onSend', async (_request, reply, payload) => {
      void reply.headers(answerHeaders);
      return payload;
    });
    this.#fastify.setErrorHandler((error: Error, _request, reply) => this.#failed(error, reply));
    this.#fastify.setNotFoundHandler((request, reply) => {
      const error = new WorldError('not-found', {
        wanted: 'a page of the API, as /api/v1/openapi.json lists them',
        found: `${request.method} ${request.url.split('?')[0]}`,
        next: 'Correct the path; the agent may be of another version.',
      });
      void reply.code(statusOf(error.code)).send(errorBody(error));
    });
    for (const each of options.routes) this.#add(each);
  }

  /** Ports that it listens on, in the order of the configuration. */
  get ports(): number[] {
    return this.#servers.flatMap((server) => {
      const address = server.address();
      return typeof address === 'object' && address !== null ? [address.port] : [];
    });
  }

  /** From now on this node is `identity`; connections that are open stay. */
  useIdentity(identity: TlsIdentity): void {
    this.#identity = identity;
    for (const server of this.#servers)
      if (server instanceof HttpsServer) server.setSecureContext(listenerOptions(identity));
  }

  /** Stops listening, and drops all connections. */
  async close(): Promise<void> {
    const closed = this.#servers.map(
      (server) => new Promise<void>((resolve) => void server.close(() => resolve())),
    );
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
    await this.#fastify.close();
  }

  async #listenLocally(): Promise<void> {
    const { socket } = this.#options;
    checkSocketPath(socket);
    await replaceStaleFile(socket);
    const server = createHttpServer((request, response) => this.#listener(request, response));
    await this.#opened(server, () => {
      // The file is made inside listen(), so nobody sees it with wider rights.
      const mask = process.umask(0o177);
      try {
        server.listen(socket);
      } finally {
        process.umask(mask);
      }
    }).catch((error: Error) => {
      throw new WorldError(
        'socket-failed',
        {
          wanted: `to listen on the unix socket ${socket}`,
          found: error.message,
          next: 'Check that the directory exists and is writable.',
        },
        error,
      );
    });
  }

  async #listenOn(address: Endpoint): Promise<void> {
    const options = { ...listenerOptions(this.#identity), handshakeTimeout: handshakeDeadlineMs };
    const server = createHttpsServer(options, (request, response) => this.#listener(request, response));
    // A client that breaks the handshake harms itself only.
    server.on('tlsClientError', (_error, socket) => socket.destroy());
    await this.#opened(server, () => server.listen({ ...address, exclusive: true })).catch(
      (error: NodeJS.ErrnoException) => {
        throw listenError(error, address);
      },
    );
  }

  #opened(server: Server, listen: () => void): Promise<void> {
    this.#servers.push(server);
    server.maxConnections = connectionsMax;
    server.requestTimeout = requestDeadlineMs;
    server.headersTimeout = requestDeadlineMs;
    server.keepAliveTimeout = keptAliveMs;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    server.on('clientError', (_error, socket) => socket.destroy());
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.once('listening', () => {
        server.off('error', reject);
        server.on('error', (error) => this.#options.log.error('listener-failed', { because: error.message }));
        resolve();
      });
      listen();
    });
  }

  #add(each: Route): void {
    this.#fastify.route({
      method: each.method,
      url: each.path,
      config: { routeId: each.id },
      onRequest: (request, reply) => this.#admit(each, request, reply),
      handler: (request, reply) => this.#handle(each, request, reply),
    });
  }

  /** Who calls and whether that one may: before anything of the body is read. */
  async #admit(each: Route, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const from = addressOf(request);
    const state: CallState = { principal: nobody, from };
    this.#calls.set(request, state);
    const params = request.params as { readonly vm?: string };
    try {
      const { access, clock } = this.#options;
      // What people do from the other node's address does not keep its agent away.
      const isBounded = from !== localAddress && nodeOfCall(request, this.#identity) === undefined;
      if (isBounded && !this.#limits.take(from, clock.nowMs())) throw tooMany();
      const permission = permissions[each.id];
      if (permission.role === 'public') return undefined;
      state.principal = principalOfCall(request, from, access, this.#identity);
      const needed = { ...permission, role: each.role ?? permission.role };
      const refusal = refusalOf(needed, state.principal, params.vm);
      if (refusal !== undefined) throw notAllowed(each, refusal);
      return undefined;
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      if (each.audited)
        await this.#audit(request, state, params, statusOf(error.code), 'refused', error.found);
      return reply.code(statusOf(error.code)).send(errorBody(error));
    }
  }

  async #handle(each: Route, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const state = this.#calls.get(request) ?? { principal: nobody, from: addressOf(request) };
    const result = await this.#run(each, request, state);
    if (result instanceof Stream) {
      reply.hijack();
      result.run(reply.raw);
      return reply;
    }
    const answer = result instanceof Answer ? result : new Answer(200, result ?? null);
    if (each.audited) {
      const { status, body, job } = answer;
      const refused = status >= 400;
      const because = refused ? problemOf(body) : '';
      const outcome = refused ? (status < 500 ? 'refused' : 'failed') : status === 202 ? 'accepted' : 'done';
      const args = { ...(request.params as object), ...auditedArguments(request.body) };
      await this.#audit(request, state, args, status, outcome, because, job);
    }
    if (answer.contentType !== undefined) void reply.type(answer.contentType);
    return reply.code(answer.status).send(answer.body);
  }

  async #run(each: Route, request: FastifyRequest, state: CallState): Promise<unknown> {
    try {
      const params = each.params.safeParse(request.params);
      if (!params.success) throw invalidRequest('the path', params.error);
      const query = each.query.safeParse(request.query);
      if (!query.success) throw invalidRequest('the query', query.error);
      const body = each.body?.safeParse(request.body ?? {});
      if (body?.success === false) throw invalidRequest('the body', body.error);
      return await each.handle({
        params: params.data,
        query: query.data,
        body: body?.data,
        principal: state.principal,
        from: state.from,
        bearer: bearerOf(request.headers),
      });
    } catch (error) {
      const known = error instanceof WorldError ? error : this.#fault(error);
      return new Answer(statusOf(known.code), errorBody(known));
    }
  }

  #audit(
    request: FastifyRequest,
    { principal, from }: CallState,
    args: Record<string, unknown>,
    status: number,
    outcome: AuditRecord['outcome'],
    because: string,
    job?: string,
  ): Promise<void> {
    const what = `${request.method} ${request.url.split('?')[0]}`;
    const who = principal === nobody ? 'nobody' : describePrincipal(principal);
    const record = { who, from, what, args, outcome, status, because };
    return this.#options.audit.add(job === undefined ? record : { ...record, job });
  }

  /** What goes wrong outside the routes: a body that is no JSON, or too long. */
  #failed(error: Error & { statusCode?: number }, reply: FastifyReply): void {
    const isOfCaller = error.statusCode !== undefined && error.statusCode < 500;
    const known = isOfCaller
      ? new WorldError('request-invalid', {
          wanted: `a JSON object of at most ${bodyBytesMax} bytes`,
          found: error.message,
          next: 'Correct the request; nothing was changed.',
        })
      : this.#fault(error);
    void reply.code(error.statusCode ?? statusOf(known.code)).send(errorBody(known));
  }

  #fault(error: unknown): WorldError {
    const because = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#options.log.error('agent-fault', { because });
    return new WorldError(
      'agent-failed',
      {
        wanted: 'to answer the call',
        found: 'a fault of the agent',
        next: 'See `journalctl -u vmpair-agent`. Modules, VMs and failover do not need the agent.',
      },
      error,
    );
  }
}

declare module 'fastify' {
  interface FastifyContextConfig {
    routeId?: string;
  }
}

function addressOf(request: FastifyRequest): string {
  return request.raw.socket instanceof TLSSocket
    ? (request.raw.socket.remoteAddress ?? 'gone')
    : localAddress;
}

function problemOf(body: unknown): string {
  const { error } = (body ?? {}) as { readonly error?: { readonly found?: string } };
  return error?.found ?? '';
}

function tooMany(): WorldError {
  return new WorldError('limit-reached', {
    wanted: `at most ${callsPerAddress.perSecond} calls a second from one address`,
    found: 'more',
    next: 'Ask less often; the event stream tells changes at once.',
  });
}

function notAllowed({ method, path }: Route, refusal: string): WorldError {
  return new WorldError('not-allowed', {
    wanted: `the right to call ${method} ${path}`,
    found: refusal,
    next: 'Ask an administrator; `vmpair token list` and `vmpair user list` show the roles.',
  });
}
