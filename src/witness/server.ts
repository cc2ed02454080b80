/**
 * The witness on the network: accepts nodes of its cluster authority, answers their requests one after the
 * other.
 *
 * Invariants: the cluster of every request is the one of the certificate; a node claims only for itself or
 * for both; a swap is answered only after the store made it durable. Lines, connections and silence are
 * bounded. It decides nothing itself (arbiter/compare-and-swap.ts) and forgets a connection with its end.
 */
import type { TLSSocket } from 'node:tls';
import {
  encodeLine,
  LineCutter,
  parseRequest,
  type WitnessFailureCode,
  type WitnessRequest,
  type WitnessResponse,
  witnessProtocolVersion,
} from '../arbiter/witness-protocol.ts';
import { assertNever } from '../base/assert.ts';
import { WorldError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Party } from '../platform/certificate-identity.ts';
import type { TlsIdentity } from '../platform/tls.ts';
import { listenForParties, type SocketAddress } from '../platform/tls-sockets.ts';
import type { RecordStore } from './record-store.ts';

const handshakeDeadlineMs = 5000;
/** A connection on which nothing was asked or answered for so long is closed. */
const idleDeadlineMs = 10_000;
/** How long a connection that broke the protocol is kept, so that the node can read why. */
const lingerMs = 1000;
const connectionsMax = 256;
/** Requests of one connection that wait for their turn; reading pauses above. */
const waitingRequestsMax = 16;

export interface WitnessOptions {
  readonly listen: SocketAddress;
  readonly identity: TlsIdentity;
  readonly store: RecordStore;
  readonly log: Log;
}

export interface WitnessServer {
  readonly address: SocketAddress;
  /** Closes the address and all connections; what is under way in the store goes on, unanswered. */
  close(): Promise<void>;
}

/** Throws `WorldError` port-in-use or listen-failed. */
export async function startWitnessServer(options: WitnessOptions): Promise<WitnessServer> {
  const { log } = options;
  return await listenForParties({
    address: options.listen,
    identity: options.identity,
    expected: { role: 'node' },
    handshakeDeadlineMs,
    connectionsMax,
    connected: (socket, party) => serve(socket, party, options),
    rejected: (error) => log.warn('connection-rejected', { code: error.code, because: error.message }),
  });
}

function failure(id: number | null, code: WitnessFailureCode, message: string): WitnessResponse {
  return { id, kind: 'failure', code, message: message.slice(0, 1000) };
}

/** Carries out one request; never throws for what the world does. */
async function answerRequest(
  request: WitnessRequest,
  party: Party,
  { store, log }: WitnessOptions,
): Promise<WitnessResponse> {
  const { id, moduleId } = request;
  const key = { clusterId: party.clusterId, moduleId };
  try {
    if (request.op === 'read') {
      return { id, kind: 'record', record: (await store.read(key)) ?? null };
    }
    if (request.store !== null && request.store !== store.id) return { id, kind: 'other-store' };
    const { expected, next } = request;
    if (next.holder !== 'both' && next.holder !== party.name) {
      const because = `node ${party.name} may claim for itself or for both, not for ${next.holder}`;
      return failure(id, 'request-rejected', because);
    }
    const { action, rule, because } = await store.swap(key, expected ?? undefined, next);
    const { generation, holder, operationId } = next;
    log.info('swap', { ...key, node: party.name, generation, holder, operationId, rule, because });
    switch (action.kind) {
      case 'write':
      case 'already':
        return { id, kind: 'granted', record: action.record };
      case 'refuse':
        return { id, kind: 'refused', record: action.record ?? null };
      case 'reject':
        return failure(id, 'request-rejected', `${rule}: ${because}`);
      default:
        return assertNever(action, 'answer of a swap');
    }
  } catch (error) {
    if (!(error instanceof WorldError)) throw error;
    log.error('request-failed', { ...key, node: party.name, code: error.code, because: error.message });
    return failure(id, error.code === 'record-damaged' ? 'record-damaged' : 'storage-failed', error.message);
  }
}

/** Speaks with one node until the connection ends. */
function serve(socket: TLSSocket, party: Party, options: WitnessOptions): void {
  const lines = new LineCutter();
  const waiting: Uint8Array[] = [];
  let busy = false;
  let overlong = false;

  const say = (response: WitnessResponse): void => {
    if (!socket.destroyed) socket.write(encodeLine(response));
  };
  const violate = (problem: string): void => {
    waiting.length = 0;
    options.log.warn('protocol-violation', { node: party.name, because: problem });
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
      say(await answerRequest(request.value, party, options));
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
  socket.on('error', (error) =>
    options.log.debug('connection-ended', { node: party.name, because: error.message }),
  );
  socket.on('data', arrived);
  socket.write(
    encodeLine({
      hello: {
        protocol: witnessProtocolVersion,
        witness: options.identity.self.name,
        store: options.store.id,
      },
    }),
  );
}
