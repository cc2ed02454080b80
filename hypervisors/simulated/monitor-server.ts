/**
 * The server side of the few QMP commands that the adapter uses, so that the simulated guest is driven, paused by the
 * supervisor and adopted exactly as QEMU is. One listening socket per client, as with QEMU; commands in order.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { JsonLineReader } from '../../src/platform/json-lines.ts';

/** Longest command line, bytes. */
const commandBytesMax = 64 * 1024;

/** Does a command; resolves to what `return` holds. Rejects with what the error description says. */
export type CommandHandler = (name: string) => Promise<object>;

export class MonitorServer {
  readonly #execute: CommandHandler;
  readonly #servers: Server[] = [];
  readonly #clients = new Set<Socket>();

  constructor(execute: CommandHandler) {
    this.#execute = execute;
  }

  listen(socketPath: string): Promise<void> {
    const server = createServer((socket) => this.#serve(socket));
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(socketPath, resolve);
    });
  }

  /** To every client. Resolves when the bytes are with the operating system. */
  async tell(event: string, data: object): Promise<void> {
    const nowMs = Date.now();
    const timestamp = { seconds: Math.floor(nowMs / 1000), microseconds: (nowMs % 1000) * 1000 };
    const line = `${JSON.stringify({ timestamp, event, data })}\r\n`;
    const clients = [...this.#clients];
    await Promise.all(clients.map((client) => new Promise<void>((sent) => client.write(line, () => sent()))));
  }

  #serve(socket: Socket): void {
    this.#clients.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => this.#clients.delete(socket));
    const send = (message: object) => socket.write(`${JSON.stringify(message)}\r\n`);
    let queue = Promise.resolve();
    const reader = new JsonLineReader(commandBytesMax, (value) => {
      const { execute, id } = Object(value) as { execute?: unknown; id?: unknown };
      queue = queue.then(async () => {
        try {
          send({ return: await this.#execute(String(execute)), id });
        } catch (error) {
          const desc = error instanceof Error ? error.message : String(error);
          send({ error: { class: 'GenericError', desc }, id });
        }
      });
    });
    socket.on('data', (bytes) => {
      if (reader.feed(bytes) !== undefined) socket.destroy();
    });
    send({
      QMP: { version: { qemu: { major: 0, minor: 0, micro: 0 }, package: 'simulated' }, capabilities: [] },
    });
  }
}
