/** A TCP port that was free a moment ago: for labs and tests, where nothing is configured. Nobody reserves it. */
import { createServer } from 'node:net';
import { WorldError } from '../base/errors.ts';

export function findFreePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => {
      const next = 'Check that the address belongs to this machine.';
      reject(
        new WorldError(
          'port-in-use',
          { wanted: `a free port on ${host}`, found: error.message, next },
          error,
        ),
      );
    });
    server.listen(0, host, () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
