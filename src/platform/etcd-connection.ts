/**
 * One connection to one member of etcd, for a few JSON requests one after the other.
 *
 * Invariants: it is never dialled a second time, so everything that was asked on it was answered by one and the same process, and what
 * was never posted never left. It ends with its signal. It repeats nothing.
 */
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import { WorldError } from '../base/errors.ts';
import { describeRefusal, violation } from './etcd-protocol.ts';

/** Longest answer; those of a key and a status are below 4 KiB. */
const answerBytesMax = 64 * 1024;
const httpOk = 200;

export interface EtcdTls {
  /** PEM; left out, the authorities that Node knows. */
  readonly ca?: string | undefined;
  /** PEM, for an etcd that asks its clients for a certificate. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** Hands out the one connection, and then fails. */
class OneConnection extends Agent {
  #socket: net.Socket | undefined;

  constructor(socket: net.Socket) {
    super({ keepAlive: true, maxSockets: 1 });
    this.#socket = socket;
  }

  override createConnection(_options: unknown, created?: (error: Error | null, stream: Duplex) => void) {
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket === undefined) created?.(new Error('etcd closed the connection'), new net.Socket());
    return socket;
  }
}

export class EtcdConnection {
  readonly #endpoint: URL;
  readonly #agent: OneConnection;
  readonly #signal: AbortSignal;

  /**
   * Resolves when TCP and, for https, TLS are established and the other side is who the endpoint names. Rejects with `WorldError`
   * arbiter-unreachable or certificate-rejected, or the reason of the signal.
   */
  static async open(endpoint: URL, options: EtcdTls, signal: AbortSignal): Promise<EtcdConnection> {
    signal.throwIfAborted();
    const secure = endpoint.protocol === 'https:';
    const host = endpoint.hostname.replace(/^\[(.*)\]$/, '$1');
    const address = { host, port: Number(endpoint.port || defaultPort(secure)) };
    const servername = net.isIP(host) === 0 ? { servername: host } : {};
    const socket = secure
      ? tls.connect({ ...address, ...options, ...servername, ALPNProtocols: ['http/1.1'] })
      : net.connect(address);
    socket.setNoDelay(true);
    const abandon = (): void => void socket.destroy();
    signal.addEventListener('abort', abandon, { once: true });
    socket.once('close', () => signal.removeEventListener('abort', abandon));
    await new Promise<void>((resolve, reject) => {
      socket.once(secure ? 'secureConnect' : 'connect', resolve);
      socket.on('error', (error) => reject(dialError(error)));
      socket.once('close', () =>
        reject(signal.aborted ? signal.reason : dialError(new Error('a connection that was closed at once'))),
      );
    });
    return new EtcdConnection(endpoint, socket, signal);
  }

  private constructor(endpoint: URL, socket: net.Socket, signal: AbortSignal) {
    this.#endpoint = endpoint;
    this.#agent = new OneConnection(socket);
    this.#signal = signal;
  }

  /**
   * Resolves to the parsed body of a success. Rejects with `WorldError` arbiter-unreachable, arbiter-rejected or
   * protocol-violation, or the reason of the signal.
   */
  async post(path: string, body: object, token: string | undefined): Promise<unknown> {
    this.#signal.throwIfAborted();
    const text = JSON.stringify(body);
    const asking = request({
      agent: this.#agent,
      method: 'POST',
      path,
      headers: {
        Host: this.#endpoint.host,
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(text),
        ...(token === undefined ? {} : { Authorization: token }),
      },
    });
    const answered = this.#answerOf(asking);
    asking.end(text);
    const { status, text: said } = await answered;
    const json = parseJson(said);
    if (status !== httpOk) throw describeRefusal(status, json, said);
    return json;
  }

  close(): void {
    this.#agent.destroy();
  }

  #answerOf(asking: ClientRequest): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const lost = (error = new Error('a connection that ended before the answer')): void =>
        reject(
          this.#signal.aborted
            ? this.#signal.reason
            : connectionError(
                error,
                'check that the endpoint is right (https or http), and read the log of etcd',
              ),
        );
      asking.on('error', lost);
      asking.on('response', (response: IncomingMessage) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > answerBytesMax)
            asking.destroy(new Error(`an answer of more than ${answerBytesMax} bytes`));
          else chunks.push(chunk);
        });
        response.on('error', lost);
        response.on('close', () => lost());
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') });
        });
      });
    });
  }
}

function defaultPort(secure: boolean): number {
  return secure ? 443 : 80;
}

/** `undefined` for text that is not JSON, which no shape accepts. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Codes of Node and OpenSSL for a certificate that is not accepted. */
const certificateCodes =
  /^(CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_|PATH_LENGTH_|ERR_TLS_CERT_ALTNAME_INVALID)/;

function dialError(error: Error): WorldError {
  const code = codeOf(error);
  if (certificateCodes.test(code)) {
    return new WorldError(
      'certificate-rejected',
      {
        wanted: 'a certificate of etcd for the host that the endpoint names',
        found: `${code}: ${error.message}`,
        next: 'correct `arbiter.tls.ca`, or issue etcd a certificate that names this host; check the clocks of both',
      },
      error,
    );
  }
  return connectionError(
    error,
    'check that etcd runs, that the endpoint is right (https or http, host, port), and that no firewall is in between',
  );
}

/** With TLS 1.3 the other side refuses our certificate only after it was connected. */
function connectionError(error: Error, next: string): WorldError {
  const code = codeOf(error);
  if (code.startsWith('HPE_')) return violation(`bytes that are no HTTP (${code})`);
  if (!/^ERR_SSL.*ALERT/.test(code))
    return new WorldError(
      'arbiter-unreachable',
      { wanted: 'a connection to etcd', found: code, next },
      error,
    );
  return new WorldError(
    'certificate-rejected',
    {
      wanted: 'etcd to accept our certificate',
      found: code,
      next: 'set `arbiter.tls.cert` and `arbiter.tls.key` to files that the authority of etcd signed; read the log of etcd',
    },
    error,
  );
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
}
