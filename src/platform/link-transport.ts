/**
 * One network of the link between the two nodes, over TLS 1.3: listens or dials, proves who the other is, and keeps one
 * connection.
 *
 * The node whose name sorts first dials, the other listens. After the handshake the listening side, once it
 * has accepted the certificate of the dialler, sends `greeting`; the dialler counts the connection as open
 * only then, so that one that is about to be rejected is never reported open. With encryption off the greeting carries a
 * ticket for a second connection (plain-link.ts). A newer connection replaces the
 * older one: `closed` of the old comes before `opened` of the new. It has no heartbeats and no timers of open
 * connections: silence is judged above.
 *
 * Fault injection: while one of `cutMarkerFiles` exists the transport is a cut cable. Open connections stay open and
 * silent, what is sent is held and leaves after the file is gone, dials are not made and dialled ones are
 * ignored. Bytes that the operating system already has still arrive; when the process ends, so do its
 * connections: the lab cuts both ends.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { WorldError } from '../base/errors.ts';
import type { NodeName } from '../base/identity.ts';
import { dials, type LinkHandler, type LinkTransport } from '../link/transport.ts';
import { type CutWatch, watchCutMarkers } from './cut-marker.ts';
import { StreamConnection } from './link-connection.ts';
import { awaitLine, dialPlain, greeting, plainGreeting, plainPreface, Tickets } from './plain-link.ts';
import type { TlsIdentity } from './tls.ts';
import { type Dial, dialParty, type Listener, listenForParties, type SocketAddress } from './tls-sockets.ts';

/** From the end of one dial or connection to the next dial. */
const redialDelayMs = 250;
/** For connect, TLS handshake and greeting together; the listening side allows the same for its handshake. */
const openDeadlineMs = 1500;
/** Connections in handshake, superseded and open together. */
const connectionsMax = 32;

export interface LinkTransportOptions {
  readonly self: NodeName;
  readonly peer: NodeName;
  /** Where this node listens, when it is the one that listens. */
  readonly listen: SocketAddress;
  /** Where the peer listens, when this node is the one that dials. */
  readonly peerAddress: SocketAddress;
  readonly identity: TlsIdentity;
  /** The same on both sides; default true. */
  readonly encrypted?: boolean | undefined;
  /** Fault injection, see above. */
  readonly cutMarkerFiles?: readonly string[] | undefined;
}

export interface OpenedLinkTransport extends LinkTransport {
  /** Where it listens; `undefined` on the side that dials. */
  readonly address: SocketAddress | undefined;
  /**
   * From the next connection on this is `identity`. An open one stays, unless a key was revoked: then the other side has to
   * prove anew who it is.
   */
  useIdentity(identity: TlsIdentity): void;
  /** Like `stop`, for good; answers when the address is free again. */
  close(): Promise<void>;
}

/**
 * Takes the listening address, if this node listens; connections are made and accepted from `start` on.
 * Throws `WorldError` port-in-use or listen-failed.
 */
export async function openLinkTransport(options: LinkTransportOptions): Promise<OpenedLinkTransport> {
  const transport = new TlsLinkTransport(options);
  if (!dials(options.self, options.peer)) await transport.listen();
  return transport;
}

class TlsLinkTransport implements OpenedLinkTransport {
  readonly #options: LinkTransportOptions;
  #identity: TlsIdentity;
  readonly #cut: CutWatch;
  #listener: Listener | undefined;
  /** Absent while stopped. */
  #handler: LinkHandler | undefined;
  #connection: StreamConnection | undefined;
  /** Connections that a cut keeps from being closed on the wire. */
  readonly #lingering = new Set<StreamConnection>();
  #dial: Dial | undefined;
  #redial: NodeJS.Timeout | undefined;
  #lastFailure: string | undefined;
  #closing: Promise<void> | undefined;
  readonly #tickets = new Tickets(openDeadlineMs);

  constructor(options: LinkTransportOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#cut = watchCutMarkers(options.cutMarkerFiles ?? [], () => this.#cutChanged());
  }

  get address(): SocketAddress | undefined {
    return this.#listener?.address;
  }

  get #isEncrypted(): boolean {
    return this.#options.encrypted !== false;
  }

  async listen(): Promise<void> {
    const { peer } = this.#options;
    const identity = this.#identity;
    try {
      this.#listener = await listenForParties({
        address: this.#options.listen,
        identity,
        expected: { clusterId: identity.self.clusterId, role: 'node', name: peer },
        handshakeDeadlineMs: openDeadlineMs,
        connectionsMax,
        heeds: () => this.#handler !== undefined && !this.#cut.isCut(),
        ...(this.#isEncrypted ? {} : { plainConnected: (socket) => this.#plainAccepted(socket) }),
        connected: (socket) => this.#accepted(socket),
        rejected: (error) => this.#failed(error),
      });
    } catch (error) {
      this.#cut.stop();
      throw error;
    }
  }

  start(handler: LinkHandler): void {
    if (this.#handler !== undefined || this.#closing !== undefined) return;
    this.#handler = handler;
    this.#lastFailure = undefined;
    this.#listener?.dropIgnored();
    if (dials(this.#options.self, this.#options.peer)) this.#dialNow();
  }

  /** The listening address stays taken, so that `start` finds it again; who dials meanwhile is not heeded. */
  stop(): void {
    this.#handler = undefined;
    clearTimeout(this.#redial);
    this.#dial?.abandon();
    this.#dial = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.destroy('the transport was stopped');
  }

  useIdentity(identity: TlsIdentity): void {
    const known = this.#identity.revokedKeys;
    this.#identity = identity;
    this.#listener?.useIdentity(identity);
    if ([...identity.revokedKeys].some((key) => !known.has(key)))
      this.#connection?.close('a key was revoked: the peer has to prove anew who it is');
  }

  close(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  async #shutDown(): Promise<void> {
    this.#cut.stop();
    const connection = this.#connection;
    this.stop();
    connection?.setCut(false);
    for (const lingering of this.#lingering) lingering.setCut(false);
    await this.#listener?.close();
  }

  #dialNow(): void {
    if (this.#handler === undefined) return;
    if (this.#cut.isCut()) return this.#dialLater();
    const { peer, peerAddress } = this.#options;
    const identity = this.#identity;
    const expected = { clusterId: identity.self.clusterId, role: 'node', name: peer } as const;
    const startedMs = performance.now();
    const leftMs = (): number => openDeadlineMs - (performance.now() - startedMs);
    this.#dial = dialParty(
      { address: peerAddress, identity, expected, deadlineMs: openDeadlineMs },
      (result) => {
        if (result instanceof WorldError) return this.#dialFailed(result);
        this.#dial = awaitLine(result, leftMs(), (line) => {
          if (line instanceof WorldError) return this.#dialFailed(line);
          if (this.#isEncrypted && line === greeting) return this.#dialled(result);
          if (!this.#isEncrypted && line.startsWith(plainGreeting)) {
            return this.#dialPlain(result, line.slice(plainGreeting.length), leftMs());
          }
          result.on('error', () => undefined);
          result.destroy();
          this.#dialFailed(modesDiffer(this.#isEncrypted, line));
        });
      },
    );
  }

  /** The peer has proved who it is; the frames go over a second connection. */
  #dialPlain(authenticated: TLSSocket, ticket: string, deadlineMs: number): void {
    authenticated.on('error', () => undefined);
    this.#dial = dialPlain(this.#options.peerAddress, ticket, deadlineMs, (result) => {
      authenticated.destroy();
      if (result instanceof WorldError) this.#dialFailed(result);
      else this.#dialled(result);
    });
  }

  #dialled(stream: Duplex): void {
    this.#dial = undefined;
    this.#opened(stream);
  }

  #dialFailed(error: WorldError): void {
    this.#dial = undefined;
    this.#failed(error);
    this.#dialLater();
  }

  #dialLater(): void {
    if (this.#handler === undefined || !dials(this.#options.self, this.#options.peer)) return;
    clearTimeout(this.#redial);
    this.#redial = setTimeout(() => this.#dialNow(), redialDelayMs);
  }

  #accepted(socket: TLSSocket): void {
    if (this.#handler === undefined || this.#cut.isCut()) {
      socket.on('error', () => undefined);
      return void socket.destroy();
    }
    if (this.#isEncrypted) {
      socket.write(`${greeting}\n`);
      return this.#opened(socket);
    }
    socket.on('error', () => undefined);
    // The dialler closes it when it has its second connection, or has given up.
    setTimeout(() => socket.destroy(), openDeadlineMs).unref();
    socket.write(`${plainGreeting}${this.#tickets.issue(performance.now())}\n`);
  }

  /** Somebody came without encryption: only a ticket that a node got over TLS opens the link. */
  #plainAccepted(socket: Socket): void {
    awaitLine(socket, openDeadlineMs, (line) => {
      if (line instanceof WorldError) return;
      const ticket = line.startsWith(plainPreface) ? line.slice(plainPreface.length) : '';
      if (
        this.#tickets.redeem(ticket, performance.now()) &&
        this.#handler !== undefined &&
        !this.#cut.isCut()
      ) {
        socket.write(`${greeting}\n`);
        return this.#opened(socket);
      }
      socket.on('error', () => undefined);
      socket.destroy();
    });
  }

  /** The stream is authenticated and greeted; what it runs over is of no concern from here on. */
  #opened(stream: Duplex): void {
    if (this.#handler === undefined) return void stream.destroy();
    this.#lastFailure = undefined;
    this.#connection?.close('a newer connection of the peer replaced this one');
    const connection = new StreamConnection(
      this.#options.peer,
      stream,
      this.#handler,
      (gone) => {
        if (this.#cut.isCut()) this.#lingering.add(gone);
        if (this.#connection !== gone) return;
        this.#connection = undefined;
        this.#dialLater();
      },
      this.#isEncrypted,
    );
    this.#connection = connection;
    this.#handler.opened(connection);
  }

  /** Tells the handler once per reason and not once per attempt. */
  #failed(error: WorldError): void {
    const handler = this.#handler;
    if (handler === undefined || this.#cut.isCut() || error.message === this.#lastFailure) return;
    this.#lastFailure = error.message;
    handler.failed(error.message);
  }

  #cutChanged(): void {
    const cut = this.#cut.isCut();
    if (cut && this.#dial !== undefined) {
      this.#dial.abandon();
      this.#dial = undefined;
      this.#dialLater();
    }
    this.#connection?.setCut(cut);
    if (cut) return;
    this.#listener?.dropIgnored();
    for (const connection of this.#lingering) connection.setCut(false);
    this.#lingering.clear();
  }
}

function modesDiffer(encrypted: boolean, line: string): WorldError {
  const mode = (on: boolean): string => `encryption: ${on ? 'on' : 'off'}`;
  const isKnown = line === greeting || line.startsWith(plainGreeting);
  return new WorldError('peer-unreachable', {
    wanted: isKnown ? `a link with ${mode(encrypted)}` : 'the greeting of the peer',
    found: isKnown ? `${mode(!encrypted)} in the configuration of the peer` : 'other bytes',
    next: isKnown
      ? 'give both nodes the same module.yaml and restart the module on both'
      : 'run the same version of vmpair on both nodes',
  });
}
