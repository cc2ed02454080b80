/**
 * Authenticated connections: listens for them and dials them. The link and the witness stand on this.
 *
 * Invariants: a socket is handed out only after mutual TLS and `authenticate` accepted the other side; every
 * handshake has a deadline; unauthenticated connections are bounded in number. It speaks no protocol of its
 * own and never dials twice.
 */
import net from 'node:net';
import tls from 'node:tls';
import { WorldError } from '../base/errors.ts';
import type { Party } from './certificate-identity.ts';
import { beginsPlain } from './plain-link.ts';
import {
  authenticate,
  describeConnectionError,
  dialOptions,
  type ExpectedParty,
  listenerOptions,
  secureContextOf,
  type TlsIdentity,
} from './tls.ts';

export interface SocketAddress {
  readonly host: string;
  /** 0 on the listening side: any free port. */
  readonly port: number;
}

/** How a listener of several clusters meets each dialler as the cluster that it asks for. */
export interface ServedClusters {
  /** For the server name of a TLS hello; `undefined`: the dialler named none, and meets `identity`. */
  identityFor(serverName: string): TlsIdentity | undefined;
  /** Asked once for each hello, before the costly part of the handshake; an error ends the connection. */
  admit(serverName: string): WorldError | undefined;
}

export interface ListenOptions {
  readonly address: SocketAddress;
  readonly identity: TlsIdentity;
  /** For a listener of several clusters; absent: all meet `identity`. */
  readonly clusters?: ServedClusters;
  readonly expected: ExpectedParty;
  readonly handshakeDeadlineMs: number;
  /** Connections in handshake and open together; more are closed at once. */
  readonly connectionsMax: number;
  /** Connections that have not shown who they are; more are closed at once. Absent: `connectionsMax`. */
  readonly handshakesMax?: number;
  /**
   * Answers false for a connection that is to be ignored: no byte is read from it; it is closed when its
   * dialler has given up.
   */
  readonly heeds?: () => boolean;
  /** Takes connections that begin without TLS; absent: they are rejected. Nothing is known of who it is. */
  readonly plainConnected?: (socket: net.Socket) => void;
  connected(socket: tls.TLSSocket, party: Party): void;
  rejected(error: WorldError): void;
}

export interface Listener {
  readonly address: SocketAddress;
  /** From now on this is `identity`; connections that are open stay. */
  useIdentity(identity: TlsIdentity): void;
  /** Closes the connections that were ignored until now, so that their diallers try again at once. */
  dropIgnored(): void;
  /** Stops listening and closes every connection that it accepted; answers when the address is free. */
  close(): Promise<void>;
}

/** Silence after which the operating system asks whether the other host is still there. */
const keepAliveDelayMs = 1000;
/** An ignored connection is kept for this many handshake deadlines: longer than its dialler waits. */
const ignoredHandshakes = 2;

/** What to say when an address cannot be listened on. */
export function listenError(error: NodeJS.ErrnoException, { host, port }: SocketAddress): WorldError {
  const wanted = `to listen on ${host}:${port}`;
  if (error.code === 'EADDRINUSE') {
    const next = 'end the other process (ss -ltnp names it), or configure another port';
    return new WorldError(
      'port-in-use',
      { wanted, found: 'another process that listens there', next },
      error,
    );
  }
  const next = 'configure an address of this host and a port that this user may use';
  return new WorldError('listen-failed', { wanted, found: error.code ?? error.message, next }, error);
}

/** Keeps a connection silent, and closes it after `durationMs`. */
function ignore(socket: net.Socket, durationMs: number): void {
  const timer = setTimeout(() => socket.destroy(), durationMs);
  socket.on('error', () => undefined);
  socket.on('close', () => clearTimeout(timer));
}

/** Looks at the first byte and leaves it in the stream. A connection that sends none by the deadline is closed. */
function tellApart(socket: net.Socket, deadlineMs: number, told: (isPlain: boolean) => void): void {
  const deadline = setTimeout(() => socket.destroy(), deadlineMs);
  const ignoreError = (): void => undefined;
  socket.on('error', ignoreError);
  socket.once('close', () => clearTimeout(deadline));
  socket.once('readable', () => {
    const first: unknown = socket.read();
    if (!(first instanceof Uint8Array)) return;
    clearTimeout(deadline);
    socket.unshift(first);
    told(beginsPlain(first[0] ?? 0));
    socket.removeListener('error', ignoreError);
  });
}

/** What TLS shows to a dialler, by the name in its hello. An unknown name is shown the default: the dialler says why it refuses. */
function chooseContext({ identityFor, admit }: ServedClusters): NonNullable<tls.TlsOptions['SNICallback']> {
  return (serverName, answer) => {
    const problem = admit(serverName);
    if (problem !== undefined) return answer(problem);
    const identity = identityFor(serverName);
    answer(null, identity === undefined ? undefined : secureContextOf(identity));
  };
}

/** The other end, so that the two views of one connection can be told to be one. */
function remoteEnd({ remoteAddress, remotePort }: net.Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/**
 * Listens for parties of our cluster. Throws `WorldError` port-in-use or listen-failed. What is wrong with
 * single connections is told to `rejected`.
 */
export async function listenForParties(options: ListenOptions): Promise<Listener> {
  const sockets = new Set<net.Socket>();
  const ignored = new Set<net.Socket>();
  /** Remote ends of connections that have not shown who they are. */
  const anonymous = new Set<string>();
  const { clusters, handshakesMax = options.connectionsMax } = options;
  let { identity } = options;
  const handshakes = tls.createServer({
    ...listenerOptions(identity),
    ...(clusters === undefined ? {} : { SNICallback: chooseContext(clusters) }),
    handshakeTimeout: options.handshakeDeadlineMs,
  });
  handshakes.on('tlsClientError', (error, socket) => {
    options.rejected(
      describeConnectionError(
        error,
        `the party that dialled us from ${socket.remoteAddress ?? 'an unknown address'}`,
      ),
    );
    socket.destroy();
  });
  handshakes.on('secureConnection', (socket) => {
    anonymous.delete(remoteEnd(socket));
    const { servername } = socket as { readonly servername?: string | false | null };
    const met = (servername ? clusters?.identityFor(servername) : undefined) ?? identity;
    const party = authenticate(socket, met, { clusterId: met.self.clusterId, ...options.expected });
    if (!(party instanceof WorldError)) return options.connected(socket, party);
    socket.on('error', () => undefined);
    socket.destroy();
    options.rejected(party);
  });
  const server = net.createServer({
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: keepAliveDelayMs,
  });
  server.on('connection', (socket) => {
    if (sockets.size >= options.connectionsMax || anonymous.size >= handshakesMax)
      return void socket.destroy();
    const end = remoteEnd(socket);
    sockets.add(socket);
    anonymous.add(end);
    socket.on('close', () => {
      sockets.delete(socket);
      anonymous.delete(end);
    });
    if (options.heeds?.() === false) {
      ignored.add(socket);
      socket.on('close', () => ignored.delete(socket));
      return ignore(socket, ignoredHandshakes * options.handshakeDeadlineMs);
    }
    const { plainConnected } = options;
    if (plainConnected === undefined) return void handshakes.emit('connection', socket);
    tellApart(socket, options.handshakeDeadlineMs, (isPlain) => {
      if (isPlain) plainConnected(socket);
      else handshakes.emit('connection', socket);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, options.address)));
    server.listen({ ...options.address, exclusive: true }, resolve);
  });
  const bound = server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : options.address.port;
  return {
    address: { host: options.address.host, port },
    useIdentity: (next) => {
      identity = next;
      handshakes.setSecureContext(listenerOptions(next));
    },
    dropIgnored: () => {
      for (const socket of ignored) socket.destroy();
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

export interface DialOptions {
  readonly address: SocketAddress;
  readonly identity: TlsIdentity;
  readonly expected: ExpectedParty;
  /** For connect and handshake together. */
  readonly deadlineMs: number;
}

export interface Dial {
  /** Gives up without an answer. No effect once `done` was called. */
  abandon(): void;
}

/**
 * Dials a party of our cluster; calls `done` exactly once, unless abandoned, and not from inside this call.
 */
export function dialParty(options: DialOptions, done: (result: tls.TLSSocket | WorldError) => void): Dial {
  const { host, port } = options.address;
  const { role, name } = options.expected;
  const what = `${role ?? 'party'}${name === undefined ? '' : ` ${name}`} at ${host}:${port}`;
  const socket = tls.connect({ ...dialOptions(options.identity, options.expected), host, port });
  socket.setNoDelay(true);
  socket.setKeepAlive(true, keepAliveDelayMs);
  const settle = (result: tls.TLSSocket | WorldError | undefined): void => {
    clearTimeout(deadline);
    socket.removeListener('error', failed);
    socket.removeListener('secureConnect', succeeded);
    if (!(result instanceof tls.TLSSocket)) {
      socket.on('error', () => undefined);
      socket.destroy();
    }
    if (result !== undefined) done(result);
  };
  const failed = (error: Error): void => settle(describeConnectionError(error, what));
  const succeeded = (): void => {
    const party = authenticate(socket, options.identity, options.expected);
    settle(party instanceof WorldError ? party : socket);
  };
  const deadline = setTimeout(
    () => failed(new Error(`no connection within ${options.deadlineMs} ms`)),
    options.deadlineMs,
  );
  socket.once('error', failed);
  socket.once('secureConnect', succeeded);
  return { abandon: () => settle(undefined) };
}
