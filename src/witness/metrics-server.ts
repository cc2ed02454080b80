/**
 * `/metrics` and `/healthz` over plain HTTP, for a monitoring system: read only, and without secrets. Bounded in
 * connections and in time; everything else is 404.
 */
import { createServer, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { Registry } from 'prom-client';
import { listenError, type SocketAddress } from '../platform/tls-sockets.ts';

const connectionsMax = 32;
const requestDeadlineMs = 5000;

/** `problems`: why nodes do not get what they ask for. `warnings`: what needs a person soon. */
export interface WitnessHealth {
  readonly status: 'ok' | 'degraded' | 'failed';
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

export interface MetricsServer {
  readonly address: SocketAddress;
  close(): Promise<void>;
}

export interface MetricsServerOptions {
  readonly listen: SocketAddress;
  readonly registry: Registry;
  health(): WitnessHealth;
}

/** Throws `WorldError` port-in-use or listen-failed. */
export async function startMetricsServer({
  listen,
  registry,
  health,
}: MetricsServerOptions): Promise<MetricsServer> {
  const server = createServer(
    { requestTimeout: requestDeadlineMs, headersTimeout: requestDeadlineMs },
    (request, response) => {
      const readOnly = request.method === 'GET' || request.method === 'HEAD';
      if (readOnly && request.url === '/metrics') return void sendMetrics(registry, response);
      if (readOnly && request.url === '/healthz') return sendHealth(health(), response);
      response.writeHead(404, { 'content-type': 'text/plain' }).end('/metrics or /healthz\n');
    },
  );
  server.maxConnections = connectionsMax;
  server.listen({ ...listen, exclusive: true });
  try {
    await once(server, 'listening');
  } catch (error) {
    if (error instanceof Error) throw listenError(error, listen);
    throw error;
  }
  return { address: addressOf(server, listen), close: () => closeServer(server) };
}

async function sendMetrics(registry: Registry, response: ServerResponse): Promise<void> {
  response.writeHead(200, { 'content-type': registry.contentType }).end(await registry.metrics());
}

/** 200 also when single records or clusters are refused: restarting the witness would not help. */
function sendHealth(health: WitnessHealth, response: ServerResponse): void {
  response
    .writeHead(health.status === 'failed' ? 503 : 200, { 'content-type': 'application/json' })
    .end(`${JSON.stringify(health)}\n`);
}

function addressOf(server: Server, listen: SocketAddress): SocketAddress {
  const bound = server.address();
  return {
    host: listen.host,
    port: typeof bound === 'object' && bound !== null ? bound.port : listen.port,
  };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
