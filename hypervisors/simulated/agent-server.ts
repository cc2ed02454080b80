/** The guest agent of the simulated guest: answers `guest-sync-delimited` as the QEMU guest agent does, unless the guest hangs. */
import { createServer, type Server } from 'node:net';

const sentinel = Buffer.of(0xff);
/** Longest request, bytes. */
const requestBytesMax = 4096;

export function serveAgent(socketPath: string, hangs: () => boolean): Promise<Server> {
  const server = createServer((socket) => {
    let pending = '';
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      pending += bytes.toString('latin1');
      const lines = pending.split('\n');
      pending = lines.pop() ?? '';
      if (pending.length > requestBytesMax) return void socket.destroy();
      for (const line of lines) {
        const id = /^\xff?\{"execute":"guest-sync-delimited","arguments":\{"id":(\d+)\}\}$/.exec(line)?.[1];
        if (id !== undefined && !hangs())
          socket.write(Buffer.concat([sentinel, Buffer.from(`{"return": ${id}}\n`)]));
      }
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => resolve(server));
  });
}
