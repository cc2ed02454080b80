import { once } from 'node:events';
import { closeSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { takeExclusiveLock } from '../../src/platform/exclusive-lock.ts';
import { boundPath, fetchDescriptor, listenOnUnixSocket } from '../../src/platform/listening-socket.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

describe('listening socket', () => {
  let directory: TempDirectory;
  beforeEach(() => {
    directory = makeTempDirectory();
  });
  afterEach(() => directory.remove());

  it('a client that connects before anybody serves waits and is served later', async () => {
    const path = directory.file('held.sock');
    const fd = listenOnUnixSocket(path);
    expect(boundPath(fd)).to.equal(path);
    expect(statSync(path).mode & 0o777).to.equal(0o600);
    const client = connect(path);
    await once(client, 'connect');
    const server = createServer((socket) => socket.end('hello')).listen({ fd });
    const [bytes] = (await once(client, 'data')) as [Buffer];
    expect(bytes.toString()).to.equal('hello');
    server.close();
  });

  it('a path that is too long, or in no directory, is refused', () => {
    expect(() => listenOnUnixSocket(directory.file('x'.repeat(108)))).to.throw(WorldError, '107 bytes');
    expect(() => listenOnUnixSocket(directory.file('no/x.sock')))
      .to.throw(WorldError)
      .with.property('code', 'socket-failed');
  });

  it('what is no socket has no bound path, and what is not there is not fetched', () => {
    expect(boundPath(0)).to.equal(undefined);
    expect(fetchDescriptor(process.pid, 9999)).to.equal(undefined);
    expect(fetchDescriptor(2 ** 30, 0)).to.equal(undefined);
  });

  it('a descriptor that was fetched is the same socket', () => {
    const fd = listenOnUnixSocket(directory.file('held.sock'));
    const copy = fetchDescriptor(process.pid, fd);
    expect(boundPath(copy ?? -1)).to.equal(directory.file('held.sock'));
    closeSync(fd);
    closeSync(copy ?? -1);
  });

  it('an exclusive lock is refused while it is held and free afterwards', () => {
    const path = directory.file('lock');
    const lock = takeExclusiveLock(path, 'test');
    expect(() => takeExclusiveLock(path, 'test')).to.throw(WorldError, `pid ${process.pid}`);
    lock.release();
    takeExclusiveLock(path, 'test').release();
  });
});
