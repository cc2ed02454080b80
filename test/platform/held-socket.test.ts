import fs from 'node:fs';
import net from 'node:net';
import { once } from 'node:events';
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { fetchDescriptor, listenOnTcp, listenOnUnixPath } from '../../src/platform/held-socket.ts';
import { useTemporaryDirectory } from './temporary-directory.ts';

/** What `action` throws. */
function errorOf(action: () => unknown): WorldError {
  try {
    action();
  } catch (error) {
    if (error instanceof WorldError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('held socket', () => {
  const newPath = useTemporaryDirectory();

  it('keeps a client waiting until somebody accepts on the descriptor', async () => {
    const path = newPath();
    const fd = listenOnUnixPath(path, 8);
    expect(fs.statSync(path).mode & 0o777).to.equal(0o600);
    const client = net.connect(path);
    await once(client, 'connect');
    client.write('early');
    const server = net.createServer().listen({ fd });
    const [accepted] = (await once(server, 'connection')) as [net.Socket];
    const [bytes] = (await once(accepted, 'data')) as [Buffer];
    expect(bytes.toString()).to.equal('early');
    accepted.destroy();
    client.destroy();
    server.close();
    await once(server, 'close');
  });

  it('is copied back from a process by its number', async () => {
    const path = newPath();
    const fd = listenOnUnixPath(path, 8);
    const copy = fetchDescriptor(process.pid, fd);
    expect(copy).to.be.a('number').and.not.equal(fd);
    fs.closeSync(fd);
    const client = net.connect(path);
    await once(client, 'connect');
    client.destroy();
    fs.closeSync(copy as number);
    expect(fetchDescriptor(process.pid, 9999)).to.equal(undefined);
    expect(fetchDescriptor(2 ** 22 + 1, 3)).to.equal(undefined);
  });

  it('on a taken address is refused by name', async () => {
    const path = newPath();
    const fds = [listenOnUnixPath(path, 1), listenOnTcp('127.0.0.1', 0, 1)];
    const unixError = errorOf(() => listenOnUnixPath(path, 1));
    expect([unixError.code, unixError.wanted]).to.deep.equal(['port-in-use', `to listen on ${path}`]);
    const other = net.createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as net.AddressInfo;
    const tcpError = errorOf(() => listenOnTcp('127.0.0.1', port, 1));
    expect([tcpError.code, tcpError.wanted]).to.deep.equal(['port-in-use', `to listen on 127.0.0.1:${port}`]);
    other.close();
    for (const fd of fds) fs.closeSync(fd);
  });

  it('on a path that is too long is refused before anything is made', () => {
    expect(errorOf(() => listenOnUnixPath(newPath('x'.repeat(120)), 1)).wanted).to.contain(
      'at most 107 bytes',
    );
  });
});
