/**
 * The witness on the network: accepts the nodes of the clusters that it serves, answers their requests one after the
 * other.
 *
 * Invariants: each connection is of one cluster, the one whose authority signed its certificate; a swap is answered only after
 * the store made it durable. Lines, connections, rates and silence are bounded, for each cluster and together. It decides
 * nothing itself (answer-request.ts, arbiter/compare-and-swap.ts) and forgets a connection with its end.
 */
import type { TLSSocket } from 'node:tls';
import {
  encodeLine,
  LineCutter,
  parseRequest,
  type WitnessResponse,
  witnessProtocolVersion,
} from '../arbiter/witness-protocol.ts';
import { WorldError } from '../base/errors.ts';
import { type Party, serverNameOf } from '../platform/certificate-identity.ts';
import { listenForParties, type SocketAddress } from '../platform/tls-sockets.ts';
import { type AnswerOptions, answerRequest, failure } from './answer-request.ts';
import { BoundedLog } from './bounded-log.ts';
import type { ClusterIdentities } from './cluster-identities.ts';
import {
  type ClusterLimit,
  type ClusterLimitFigures,
  clusterLimitFigures,
  ClusterLimits,
  connectionsMax,
  handshakesMax,
} from './cluster-limits.ts';

const handshakeDeadlineMs = 5000;
/** A connection on which nothing was asked or answered for so long is closed. */
const idleDeadlineMs = 10_000;
/** How long a connection that broke the protocol is kept, so that the node can read why. */
const lingerMs = 1000;
/** Requests of one connection that wait for their turn; reading pauses above. */
const waitingRequestsMax = 16;
/** Answers that a node does not read; above, its connection ends. */
const unreadBytesMax = 64 * 1024;

export interface WitnessServerOptions extends AnswerOptions {
  readonly listen: SocketAddress;
  readonly clusters: ClusterIdentities;
  /** Of each cluster; absent: `clusterLimitFigures`. */
  readonly limits?: ClusterLimitFigures;
}

export interface WitnessServer {
  readonly address: SocketAddress;
  connectionCount(clusterId: string): number;
  /** To be called when the clusters have changed: the connections of those that are gone end. */
  clustersChanged(withdrawn: readonly string[]): void;
  /** Closes the address and all connections; what is under way in the store goes on, unanswered. */
  close(): Promise<void>;
}

/** Throws `WorldError` port-in-use or listen-failed. */
export async function startWitnessServer(options: WitnessServerOptions): Promise<WitnessServer> {
  const { clusters, listen, log, metrics } = options;
  const nowMs = (): number => performance.now();
  const limits = new ClusterLimits(nowMs, options.limits ?? clusterLimitFigures);
  const strangers = new BoundedLog(log, nowMs);
  const socketsOf = new Map<string, Set<TLSSocket>>();

  const overLimit = (clusterId: string, limit: ClusterLimit): WorldError => {
    metrics.rateLimited.inc({ cluster: clusterId, limit });
    return new WorldError('limit-reached', {
      wanted: `cluster ${clusterId} within its limit of ${limit}`,
      found: 'more than a pair that works asks for',
      next: 'look at the logs of its modules; the other clusters are served on',
    });
  };
  const reject = (error: WorldError): void => {
    metrics.connectionsRejected.inc({ code: error.code });
    strangers.warn('connection-rejected', { code: error.code, because: error.message });
  };
  const connected = (socket: TLSSocket, party: Party): void => {
    const { clusterId } = party;
    if (!limits.opens(clusterId)) {
      socket.on('error', () => undefined);
      socket.destroy();
      return reject(overLimit(clusterId, 'connections'));
    }
    const sockets = socketsOf.get(clusterId) ?? new Set();
    socketsOf.set(clusterId, sockets.add(socket));
    metrics.connections.inc({ cluster: clusterId });
    socket.once('close', () => {
      limits.closes(clusterId);
      metrics.connections.dec({ cluster: clusterId });
      sockets.delete(socket);
    });
    serve(socket, party, options, () =>
      limits.admitsRequest(clusterId) ? undefined : overLimit(clusterId, 'request-rate'),
    );
  };

  const listener = await listenForParties({
    address: listen,
    identity: clusters.first,
    clusters: {
      identityFor: (serverName) => clusters.byServerName(serverName),
      admit: (serverName) => {
        const clusterId = clusters.byServerName(serverName)?.self.clusterId;
        if (clusterId === undefined) {
          // It goes on, so that the dialler learns by our certificate that it is at the wrong witness.
          strangers.warn('cluster-unknown', { serverName, wanted: serverNameOf('CLUSTER') });
          return undefined;
        }
        return limits.admitsHello(clusterId) ? undefined : overLimit(clusterId, 'connection-rate');
      },
    },
    expected: { role: 'node' },
    handshakeDeadlineMs,
    connectionsMax,
    handshakesMax,
    connected,
    rejected: reject,
  });
  return {
    address: listener.address,
    connectionCount: (clusterId) => limits.connectionCount(clusterId),
    clustersChanged: (withdrawn) => {
      listener.useIdentity(clusters.first);
      for (const clusterId of withdrawn)
        for (const socket of socketsOf.get(clusterId) ?? []) socket.destroy();
    },
    close: () => listener.close(),
  };
}

/** Speaks with one node until the connection ends. `admit` answers why a request is not carried out. */
function serve(
  socket: TLSSocket,
  party: Party,
  options: WitnessServerOptions,
  admit: () => WorldError | undefined,
): void {
  const lines = new LineCutter();
  const waiting: Uint8Array[] = [];
  const { log } = options;
  let busy = false;
  let overlong = false;

  const say = (response: WitnessResponse): void => {
    if (socket.destroyed) return;
    socket.write(encodeLine(response));
    if (socket.writableLength > unreadBytesMax) socket.destroy();
  };
  const violate = (problem: string): void => {
    waiting.length = 0;
    log.warn('protocol-violation', { clusterId: party.clusterId, node: party.name, because: problem });
    say(failure(null, 'protocol-violation', problem));
    socket.removeListener('data', arrived);
    socket.end();
    socket.resume();
    const linger = setTimeout(() => socket.destroy(), lingerMs);
    socket.once('close', () => clearTimeout(linger));
  };
  const work = async (): Promise<void> => {
    busy = true;
    for (let line = waiting.shift(); line !== undefined; line = waiting.shift()) {
      const request = parseRequest(line);
      if (!request.ok) return violate(request.problem);
      const limit = admit();
      say(
        limit === undefined
          ? await answerRequest(request.value, party, options)
          : failure(request.value.id, 'request-rejected', limit.message),
      );
      if (waiting.length < waitingRequestsMax && !overlong) socket.resume();
    }
    busy = false;
    if (overlong) violate('a line is too long');
  };
  const arrived = (bytes: Uint8Array): void => {
    if (overlong) return;
    overlong = !lines.push(bytes, (line) => waiting.push(line));
    if (overlong || waiting.length >= waitingRequestsMax) socket.pause();
    if (!busy) void work();
  };

  socket.setTimeout(idleDeadlineMs, () => socket.destroy());
  socket.on('error', (error) => log.debug('connection-ended', { node: party.name, because: error.message }));
  socket.on('data', arrived);
  socket.write(
    encodeLine({
      hello: {
        protocol: witnessProtocolVersion,
        witness: partyNameOf(options.clusters, party.clusterId),
        store: options.store.id,
      },
    }),
  );
}

/** Under which name the witness is known to a cluster. */
function partyNameOf(clusters: ClusterIdentities, clusterId: string): string {
  return (clusters.byServerName(serverNameOf(clusterId)) ?? clusters.first).self.name;
}
