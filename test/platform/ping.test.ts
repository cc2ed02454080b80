/** Whether an address answers, over TCP on loopback. That the `ping` program is used where no port is named is shown in fence.system.ts. */
import { createServer } from 'node:net';
import { once } from 'node:events';
import { expect } from 'chai';
import { createSurroundings, type PingAddress } from '../../src/platform/ping.ts';

const reachAny = (addresses: readonly PingAddress[]): Promise<boolean> =>
  new Promise((resolve) => createSurroundings(addresses).reachAny(resolve));

describe('addresses that a node must reach', () => {
  it('a server that listens answers, and so does a host that refuses', async () => {
    const server = createServer((socket) => socket.destroy());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    expect(await reachAny([{ host: '127.0.0.1', port }])).to.equal(true);
    server.close();
    await once(server, 'close');
    expect(await reachAny([{ host: '127.0.0.1', port }])).to.equal(true);
  });

  it('one that answers is enough; when none does, that is the answer', async () => {
    const nowhere = { host: 'no-such-host.invalid', port: 80 };
    expect(await reachAny([nowhere, { host: '127.0.0.1', port: 1 }])).to.equal(true);
    expect(await reachAny([nowhere, nowhere])).to.equal(false);
  });
});
