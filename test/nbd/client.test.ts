import { expect } from 'chai';
import { NbdRequestError } from '../../src/nbd/client-replies.ts';
import { NbdClient } from '../../src/nbd/client.ts';
import { WorldError } from '../../src/base/errors.ts';
import { ExportTable } from '../../src/nbd/export-table.ts';
import {
  encodeGreeting,
  encodeOptionReply,
  NBD_ENOSPC,
  NBD_FLAG_SEND_DF,
  NBD_OPT_GO,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
} from '../../src/nbd/protocol.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryDevice } from './memory-device.ts';
import { joinClient } from './session-bench.ts';

const sizeBytes = 1024 * 1024;
const noData = new Uint8Array(0);

/** The error that a promise rejects with. */
async function failure(promise: Promise<unknown>): Promise<WorldError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof WorldError) return error;
    throw error;
  }
  throw new Error('it should have failed');
}

describe('NBD client', () => {
  let device: MemoryDevice;
  let exports: ExportTable;

  beforeEach(() => {
    device = new MemoryDevice(sizeBytes);
    exports = new ExportTable();
    exports.serve('disk0', device);
  });

  it('negotiates all that the server offers', async () => {
    const { client } = joinClient(exports, { exportName: 'disk0' });
    const negotiated = await client.negotiated;
    expect(negotiated).to.deep.include({
      sizeBytes,
      structuredReplies: true,
      allocationContext: true,
      minimumBlockBytes: 1,
      preferredBlockBytes: 4096,
      payloadBytesMax: 32 * 1024 * 1024,
    });
    expect(negotiated.transmissionFlags & NBD_FLAG_SEND_DF).to.equal(NBD_FLAG_SEND_DF);
  });

  it('reads back what it wrote, byte by byte over the wire', async () => {
    const { client } = joinClient(exports, { exportName: 'disk0', pieceBytes: () => 1 });
    await client.negotiated;
    const data = Uint8Array.from({ length: 1000 }, (_, index) => index % 251);
    await client.write(4000, data, { fua: true });
    await client.flush();
    expect(await client.read(4000, 1000)).to.deep.equal(data);
    expect(await client.read(4000, 1000, { fragment: false })).to.deep.equal(data);
    await client.zero(4000, 500, { noHole: true });
    await client.trim(4096, 4096);
    expect((await client.read(4000, 1000)).every((byte) => byte === 0)).to.equal(true);
    expect(await client.blockStatus(0, 8192)).to.deep.equal([
      { lengthBytes: 4096, hole: false, zero: false },
      { lengthBytes: 4096, hole: true, zero: true },
    ]);
    expect(await client.blockStatus(0, 8192, { one: true })).to.have.length(1);
  });

  it('has many requests in flight, answered in any order', async () => {
    const { client } = joinClient(exports, { exportName: 'disk0', pieceBytes: () => 17 });
    await client.negotiated;
    device.holding = true;
    for (let index = 0; index < 100; index += 1) device.bytes[index * 512] = index;
    const reads = Array.from({ length: 100 }, (_, index) => client.read(index * 512, 512));
    while (device.heldCount < 100) await Promise.resolve();
    device.release('newest-first');
    const results = await Promise.all(reads);
    expect(results.map((data) => data[0])).to.deep.equal(results.map((_, index) => index));
  });

  it('tells errors of the server by value and message', async () => {
    const { client } = joinClient(exports, { exportName: 'disk0' });
    await client.negotiated;
    const error = await failure(client.write(sizeBytes, new Uint8Array(512)));
    expect(error).to.be.instanceOf(NbdRequestError);
    expect(error).to.have.property('errorValue', NBD_ENOSPC);
    expect(error.code).to.equal('nbd-request-failed');
    expect(error.found).to.equal('NBD_ENOSPC (28): the range ends beyond the export');
    device.failures.push('io-error');
    expect((await failure(client.read(0, 512))).found).to.contain('NBD_EIO (5)');
    device.fastZeroSupported = false;
    expect((await failure(client.zero(0, 512, { fast: true }))).found).to.contain('NBD_ENOTSUP (95)');
    await client.flush();
  });

  it('tells why an export is refused', async () => {
    exports.withhold('disk1', 'the other node has the VM');
    const unknown = await failure(joinClient(exports, { exportName: 'disk9' }).client.negotiated);
    expect(unknown.code).to.equal('nbd-export-refused');
    expect(unknown.found).to.equal('there is no export "disk9"');
    const withheld = await failure(joinClient(exports, { exportName: 'disk1' }).client.negotiated);
    expect(withheld.found).to.contain('the other node has the VM');
  });

  it('loses its requests when the server withdraws the export', async () => {
    const { client, session } = joinClient(exports, { exportName: 'disk0' });
    await client.negotiated;
    device.holding = true;
    const lost = failure(client.flush());
    while (device.heldCount === 0) await Promise.resolve();
    session.shutdown('this node is no longer primary');
    expect((await lost).code).to.equal('nbd-connection-lost');
    expect(await client.ended).to.equal('this node is no longer primary');
    expect((await failure(client.flush())).code).to.equal('nbd-connection-lost');
  });

  it('disconnects when its requests are answered', async () => {
    const { client, session } = joinClient(exports, { exportName: 'disk0' });
    await client.negotiated;
    device.holding = true;
    const flush = client.flush();
    const ended = client.disconnect();
    while (device.heldCount === 0) await Promise.resolve();
    device.release();
    await flush;
    expect(await ended).to.equal('the client disconnected');
    expect(session.inFlightCount).to.equal(0);
  });

  it('gives up when a reply does not come in time', async () => {
    const { client, clock } = joinClient(exports, { exportName: 'disk0' });
    await client.negotiated;
    device.holding = true;
    const first = client.flush();
    clock.advance(30_000);
    const second = failure(client.flush());
    while (device.heldCount < 2) await Promise.resolve();
    device.releaseOne();
    await first;
    clock.advance(59_999);
    expect(clock.timersCount).to.equal(1);
    clock.advance(1);
    expect((await second).found).to.contain('no reply within 60000 ms');
    expect(clock.timersCount).to.equal(0);
  });

  describe('with a server by hand', () => {
    let clock: ManualClock;
    let client: NbdClient;
    let destroyed: string | undefined;

    beforeEach(() => {
      clock = new ManualClock();
      destroyed = undefined;
      const port = {
        send: () => {},
        close: () => {},
        destroy: (because: string) => {
          destroyed = because;
        },
      };
      client = new NbdClient(port, clock, {
        exportName: 'disk0',
        address: 'the test',
        handshakeTimeoutMs: 1000,
        requestTimeoutMs: 1000,
      });
    });

    const enter = async (): Promise<void> => {
      client.received(encodeGreeting());
      client.received(encodeOptionReply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_UNSUP, noData));
      const info = Buffer.from('000000000000001000000001', 'hex');
      client.received(encodeOptionReply(NBD_OPT_GO, NBD_REP_INFO, info));
      client.received(encodeOptionReply(NBD_OPT_GO, NBD_REP_ACK, noData));
      await client.negotiated;
    };

    it('a server that says nothing is given up in time', async () => {
      clock.advance(1000);
      expect((await failure(client.negotiated)).code).to.equal('nbd-unreachable');
      expect(destroyed).to.not.equal(undefined);
    });

    it('something that is no NBD server is told as that', async () => {
      client.received(new TextEncoder().encode('SSH-2.0-OpenSSH_9.2p1 Debian'));
      expect((await failure(client.negotiated)).code).to.equal('protocol-violation');
    });

    it('a server without structured replies is used with simple ones', async () => {
      await enter();
      const read = client.read(0, 4);
      client.received(Buffer.from('67446698000000000000000000000001aabbccdd', 'hex'));
      expect(Buffer.from(await read).toString('hex')).to.equal('aabbccdd');
    });

    const violations: readonly [string, string][] = [
      ['no magic number', '00000000'],
      ['a reply to no request', '67446698000000000000000000000009'],
      ['data outside the request', '668e33ef0001000100000000000000010000000900000000000000ffaa'],
      ['a chunk longer than the request allows', '668e33ef000100010000000000000001ffffffff'],
      ['a reply that ends without the data', '668e33ef00010000000000000000000100000000'],
      ['a malformed error chunk', '668e33ef00018001000000000000000100000006000000050009'],
      ['an unknown chunk', '668e33ef00010063000000000000000100000000'],
    ];
    for (const [name, hex] of violations) {
      it(`${name} ends the connection`, async () => {
        await enter();
        const read = failure(client.read(0, 4));
        client.received(Buffer.from(hex, 'hex'));
        await read;
        expect(destroyed).to.not.equal(undefined);
        expect(await client.ended).to.be.a('string');
      });
    }
  });
});
