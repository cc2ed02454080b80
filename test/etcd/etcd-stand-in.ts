/** Something between a module and etcd that spoils chosen requests; all others reach etcd. Plain HTTP. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * What becomes of a request. `lose-answer`: etcd carries it out. `die`: it does not get there, and the connection ends. `hang`: as
 * `die`, without an end. Anything else is sent as the bytes of the answer.
 */
export type Fate = 'pass' | 'lose-answer' | 'die' | 'hang' | { readonly bytes: string };

export interface StandIn {
  readonly url: URL;
  close(): void;
}

/** `judge` gets the path of each request. */
export async function standInFor(etcd: URL, judge: (path: string) => Fate): Promise<StandIn> {
  const server = createServer((asked, answer) => {
    void bodyOf(asked).then((body) => carryOut(etcd, asked, body, answer, judge(asked.url ?? '')));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function bodyOf(asked: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of asked) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function carryOut(etcd: URL, asked: IncomingMessage, body: Buffer, answer: ServerResponse, fate: Fate): void {
  const end = (): void => void answer.socket?.destroy();
  if (fate === 'hang') return;
  if (fate === 'die') return end();
  if (typeof fate === 'object') return void answer.socket?.end(fate.bytes);
  const { method, url, headers } = asked;
  const passed = request({ host: etcd.hostname, port: etcd.port, method, path: url, headers }, (answered) => {
    if (fate === 'lose-answer') return end();
    answer.writeHead(answered.statusCode ?? 0, { 'Content-Type': 'application/json' });
    answered.pipe(answer);
  });
  passed.on('error', end);
  passed.end(body);
}
