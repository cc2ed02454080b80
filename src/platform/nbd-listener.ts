/**
 * The NBD server at a listening socket: accepts clients and gives each a `ServerSession`.
 *
 * An inherited descriptor is the rule for modules: its owner keeps the socket open across restarts, so that clients wait in
 * the backlog. Closing the listener never removes such a socket from the file system.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { WorldError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { ExportTable } from '../nbd/export-table.ts';
import { ServerSession } from '../nbd/server-session.ts';
import { CorkedSocket } from './corked-socket.ts';

/** Clients of one listener; more are turned away. */
export const nbdConnectionsMax = 64;

export type NbdAddress =
  | { readonly fd: number }
  | { readonly path: string }
  | { readonly host: string; readonly port: number };

export interface NbdListenerOptions {
  readonly exports: ExportTable;
  readonly clock: Clock;
  readonly log: Log;
}

export class NbdListener {
  readonly #server: Server;
  readonly #options: NbdListenerOptions;
  readonly #sessions = new Set<ServerSession>();

  private constructor(options: NbdListenerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** Resolves when clients are accepted. Errors: `port-in-use`. */
  static listen(address: NbdAddress, options: NbdListenerOptions): Promise<NbdListener> {
    const listener = new NbdListener(options);
    const server = listener.#server;
    return new Promise((resolve, reject) => {
      server.once('error', (error) => reject(listenError(address, error)));
      server.listen(address, () => {
        server.removeAllListeners('error');
        server.on('error', (error) => options.log.error('nbd-accept-failed', { because: error.message }));
        resolve(listener);
      });
    });
  }

  /** The TCP port, when it listens on one. */
  get port(): number | undefined {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : undefined;
  }

  get connectionsCount(): number {
    return this.#sessions.size;
  }

  /** Ends the connections of one export, or all: nothing that is still in flight is answered. */
  closeConnections(because: string, exportName?: string): void {
    for (const session of this.#sessions) {
      if (exportName === undefined || session.exportName === exportName) session.shutdown(because);
    }
  }

  /** Accepts no more and ends all connections; resolves when they are gone. */
  close(because: string): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.closeConnections(because);
    });
  }

  #accept(socket: Socket): void {
    const { exports, clock, log } = this.#options;
    if (this.#sessions.size >= nbdConnectionsMax) {
      socket.on('error', () => {});
      socket.destroy();
      log.warn('nbd-client-turned-away', { because: `there are ${nbdConnectionsMax} connections already` });
      return;
    }
    const corked = new CorkedSocket(socket, {
      received: (bytes) => session.received(bytes),
      drained: () => session.drained(),
      closed: (because) => {
        session.closed();
        this.#sessions.delete(session);
        log.info('nbd-client-gone', {
          because,
          export: session.exportName,
          unansweredRequests: session.inFlightCount,
        });
      },
    });
    const session = new ServerSession(exports, corked, clock);
    this.#sessions.add(session);
    log.info('nbd-client-connected', { connections: this.#sessions.size });
  }
}

function listenError(address: NbdAddress, error: Error): WorldError {
  return new WorldError(
    'port-in-use',
    {
      wanted: `to listen for NBD clients at ${JSON.stringify(address)}`,
      found: error.message,
      next: 'stop the process that has this address, or choose another',
    },
    error,
  );
}
