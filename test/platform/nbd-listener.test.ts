import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import koffi from 'koffi';
import { WorldError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import { ExportTable } from '../../src/nbd/export-table.ts';
import { payloadBytesMax } from '../../src/nbd/protocol.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';
import { type NbdAddress, nbdConnectionsMax, NbdListener } from '../../src/platform/nbd-listener.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { MemoryDevice } from '../nbd/memory-device.ts';

const clock = systemClock;

/** A listening unix socket that Node does not accept on, as the owner of a module's sockets has it. */
function heldListeningSocket(path: string): { readonly fd: number; duplicate(): number } {
  const libc = koffi.load(null);
  const socket = libc.func('int socket(int domain, int type, int protocol)');
  const bind = libc.func('int bind(int fd, const uint8_t *address, uint32_t length)');
  const listen = libc.func('int listen(int fd, int backlog)');
  const dup = libc.func('int dup(int fd)');
  const fd = socket(1, 1, 0) as number;
  const address = Buffer.concat([Buffer.from([1, 0]), Buffer.from(path), Buffer.from([0])]);
  expect(bind(fd, address, address.length)).to.equal(0);
  expect(listen(fd, 16)).to.equal(0);
  return { fd, duplicate: () => dup(fd) as number };
}

describe('NBD listener', () => {
  let folder: string;
  let path: string;
  let device: MemoryDevice;
  let exports: ExportTable;
  const listeners: NbdListener[] = [];

  const listen = async (address: NbdAddress): Promise<NbdListener> => {
    const listener = await NbdListener.listen(address, { exports, clock, log: silentLog });
    listeners.push(listener);
    return listener;
  };
  const connect = () => connectNbd({ path }, 'disk0', { clock });

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'vmpair-nbd-'));
    path = join(folder, 'nbd.sock');
    device = new MemoryDevice(payloadBytesMax);
    exports = new ExportTable();
    exports.serve('disk0', device);
  });

  afterEach(async () => {
    await Promise.all(listeners.splice(0).map((listener) => listener.close('the test is over')));
    rmSync(folder, { recursive: true });
  });

  it('the longest payload goes there and back over a unix socket', async () => {
    await listen({ path });
    const client = await connect();
    const data = new Uint8Array(payloadBytesMax).fill(3);
    data[payloadBytesMax - 1] = 4;
    await client.write(0, data);
    expect(Buffer.compare(await client.read(0, payloadBytesMax), data)).to.equal(0);
    await client.disconnect();
  });

  it('serves over TCP', async () => {
    const { port } = await listen({ host: '127.0.0.1', port: 0 });
    const client = await connectNbd({ host: '127.0.0.1', port: port ?? 0 }, 'disk0', { clock });
    await client.write(512, new Uint8Array(512).fill(9));
    expect((await client.read(512, 1))[0]).to.equal(9);
    await client.disconnect();
  });

  it('a client that connected before the server ran waits in the backlog of a held socket and is served', async () => {
    const held = heldListeningSocket(path);
    const early = connect();
    const listener = await listen({ fd: held.duplicate() });
    const client = await early;
    await client.flush();
    await listener.close('restart');
    listeners.pop();
    expect(await client.ended).to.be.a('string');
    const again = connect();
    await listen({ fd: held.fd });
    await (await again).flush();
  });

  it('an address that is taken is told', async () => {
    await listen({ path });
    try {
      await listen({ path });
    } catch (error) {
      expect(error).to.be.instanceOf(WorldError).and.to.have.property('code', 'port-in-use');
      return;
    }
    throw new Error('it should have failed');
  });

  it('an address where nobody listens is told', async () => {
    try {
      await connect();
    } catch (error) {
      expect(error).to.be.instanceOf(WorldError).and.to.have.property('code', 'nbd-unreachable');
      return;
    }
    throw new Error('it should have failed');
  });

  it('withdrawing one export ends its connections and leaves the others', async () => {
    exports.serve('disk1', new MemoryDevice(4096));
    const listener = await listen({ path });
    const withdrawn = await connect();
    const other = await connectNbd({ path }, 'disk1', { clock });
    device.holding = true;
    const lost = withdrawn.flush().then(
      () => 'answered',
      (error: WorldError) => error.code,
    );
    await other.flush();
    listener.closeConnections('this node is no longer primary', 'disk0');
    expect(await lost).to.equal('nbd-connection-lost');
    await withdrawn.ended;
    device.release();
    await other.flush();
    expect(listener.connectionsCount).to.equal(1);
  });

  it('a client that does not read its replies is not served further until it does, and others are', async () => {
    await listen({ path });
    const readsCount = 60;
    const option = Buffer.from(
      '49484156454f5054000000070000000b'.concat('00000005', '6469736b30', '0000'),
      'hex',
    );
    const read = Buffer.from(
      '25609513000000000000000000000001'.concat('0000000000000000', '00100000'),
      'hex',
    );
    const greedy = createConnection({ path });
    greedy.pause();
    const reads = Array<Buffer>(readsCount).fill(read);
    greedy.write(Buffer.concat([Buffer.from('00000001', 'hex'), option, ...reads]));
    const client = await connect();
    for (let turn = 0; turn < 20; turn += 1) await client.flush();
    const served = () => device.calls.filter((call) => call.name === 'read').length;
    expect(served()).to.be.within(1, 20);
    let receivedBytes = 0;
    const wantedBytes = 18 + 32 + 20 + readsCount * (16 + 1024 * 1024);
    await new Promise<void>((resolve) => {
      greedy.on('data', (bytes) => {
        receivedBytes += bytes.length;
        if (receivedBytes >= wantedBytes) resolve();
      });
      greedy.resume();
    });
    expect(receivedBytes).to.equal(wantedBytes);
    expect(served()).to.equal(readsCount);
    greedy.destroy();
    await client.flush();
  });

  it('more clients than the limit are turned away', async () => {
    const listener = await listen({ path });
    const clients = await Promise.all(Array.from({ length: nbdConnectionsMax }, connect));
    expect(listener.connectionsCount).to.equal(nbdConnectionsMax);
    expect(
      await connect().then(
        () => 'connected',
        (error: WorldError) => error.code,
      ),
    ).to.equal('nbd-unreachable');
    await Promise.all(clients.map((client) => client.disconnect()));
  });
});
