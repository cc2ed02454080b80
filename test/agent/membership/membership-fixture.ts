/** Bare servers in directories, and a minimal HTTPS server in the place of the agent: it routes a path to a handler. */
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { WorldError } from '../../../src/base/errors.ts';
import { JoinDesk } from '../../../src/agent/membership/answer-join.ts';
import { localHost } from '../../../src/agent/membership/local-host.ts';
import { initCluster } from '../../../src/agent/membership/init.ts';
import { joinPath } from '../../../src/agent/membership/join-messages.ts';
import { directoriesUnder, type NodeFiles, nodeFilesIn } from '../../../src/agent/membership/node-files.ts';
import { authenticate, listenerOptions, readIdentity } from '../../../src/platform/tls.ts';
import type { Party } from '../../../src/platform/certificate-identity.ts';

export const loopback = '127.0.0.1';

export type Handler = (body: unknown, caller: Party | undefined) => Promise<unknown>;

export interface StandInAgent {
  readonly port: number;
  readonly handlers: Map<string, Handler>;
  /** Takes up the identity that the files hold now. */
  reload(): void;
  close(): Promise<void>;
}

export async function startAgent(files: NodeFiles): Promise<StandInAgent> {
  const handlers = new Map<string, Handler>();
  const server = createServer(listenerOptions(readIdentity(files.tls)), (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const handler = handlers.get(request.url ?? '');
      const identity = readIdentity(files.tls);
      const { clusterId } = identity.self;
      const party = authenticate(request.socket as TLSSocket, identity, { clusterId });
      const work = handler?.(
        JSON.parse(Buffer.concat(chunks).toString()),
        party instanceof WorldError ? undefined : party,
      );
      void Promise.resolve(work).then(
        (answer) => response.end(JSON.stringify(answer)),
        (error: WorldError) => {
          const { code, wanted, found, next } = error;
          response.statusCode = 409;
          response.end(JSON.stringify({ error: { code, wanted, found, next } }));
        },
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, loopback, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    handlers,
    reload: () => server.setSecureContext(listenerOptions(readIdentity(files.tls))),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export function filesUnder(root: string): NodeFiles {
  return nodeFilesIn(directoriesUnder(root));
}

/** The first node of a cluster with its agent; the agent's port is known before the cluster names it. */
export async function firstNode(root: string, port: number): Promise<NodeFiles> {
  const files = filesUnder(root);
  await initCluster({ files, name: 'plant7', node: 'A', address: { host: loopback, port } });
  return files;
}

/** Lets the stand-in agent of A answer joins; `nowMs` is the wall clock. */
export function answerJoins(agent: StandInAgent, files: NodeFiles, nowMs: () => number = Date.now): JoinDesk {
  const desk = new JoinDesk(localHost(files, 'A', nowMs));
  agent.handlers.set(joinPath, (body) => desk.answer(body));
  return desk;
}
