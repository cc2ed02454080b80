import { expect } from 'chai';
import type { BlockError } from '../../src/base/block-device.ts';
import { ExportTable } from '../../src/nbd/export-table.ts';
import { encodeExportChoice } from '../../src/nbd/option-data.ts';
import {
  encodeOption,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EOVERFLOW,
  NBD_EPERM,
  NBD_OPT_GO,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  payloadBytesMax,
} from '../../src/nbd/protocol.ts';
import {
  droppedPayloadBytesMax,
  inFlightBytesMax,
  queuedReplyBytesMax,
  requestsInFlightMax,
} from '../../src/nbd/server-transmission.ts';
import { MemoryDevice } from './memory-device.ts';
import {
  type ChunkReply,
  clientFlags,
  parseReplies,
  request,
  type RequestFields,
  SessionBench,
} from './session-bench.ts';

const sizeBytes = 1024 * 1024;

describe('NBD transmission of the server', () => {
  let device: MemoryDevice;
  let exports: ExportTable;
  let bench: SessionBench;

  const start = (options: { structured: boolean; readOnly?: boolean }): void => {
    device = new MemoryDevice(sizeBytes);
    exports = new ExportTable();
    exports.serve('disk0', device, { readOnly: options.readOnly ?? false });
    bench = new SessionBench(exports);
    bench.enter('disk0', options);
  };
  /** Sends one request and returns its only reply. */
  const ask = (fields: RequestFields, payload: Uint8Array = new Uint8Array(0)): ChunkReply => {
    bench.receive(request({ cookie: 77, ...fields }), payload);
    const replies = parseReplies(bench.takeOutput(), new Map([[77, fields.lengthBytes ?? 0]]));
    expect(replies).to.have.length(1);
    const [reply] = replies;
    if (reply === undefined) throw new Error('no reply');
    expect(reply.cookie).to.equal(77);
    expect(reply.final).to.equal(true);
    return reply;
  };

  beforeEach(() => start({ structured: true }));

  describe('commands', () => {
    it('a write is answered by a simple reply, byte for byte, and reaches the device', () => {
      bench.receive(request({ command: NBD_CMD_WRITE, cookie: 5, offsetBytes: 4096, lengthBytes: 3 }));
      expect(bench.takeOutput().length).to.equal(0);
      bench.receive(new Uint8Array([1, 2, 3]));
      expect(bench.takeOutput().toString('hex')).to.equal('6744669800000000fedcba9800000005');
      expect([...device.bytes.subarray(4095, 4100)]).to.deep.equal([0, 1, 2, 3, 0]);
      expect(device.calls).to.deep.equal([
        { name: 'write', offsetBytes: 4096, lengthBytes: 3, fua: false, chunksCount: 1 },
      ]);
    });

    it('a read is answered by one data chunk, byte for byte', () => {
      device.bytes.set([9, 8, 7], 512);
      bench.receive(request({ command: NBD_CMD_READ, cookie: 6, offsetBytes: 512, lengthBytes: 3 }));
      const hex = '668e33ef00010001fedcba98000000060000000b0000000000000200090807';
      expect(bench.takeOutput().toString('hex')).to.equal(hex);
    });

    it('without structured replies a read is a simple reply with data', () => {
      start({ structured: false });
      device.bytes.set([9, 8, 7], 512);
      bench.receive(request({ command: NBD_CMD_READ, cookie: 6, offsetBytes: 512, lengthBytes: 3 }));
      expect(bench.takeOutput().toString('hex')).to.equal('6744669800000000fedcba9800000006090807');
    });

    it('FUA reaches the device with writes, trims and zeroes, and is tolerated on the rest', () => {
      const flags = NBD_CMD_FLAG_FUA;
      ask({ command: NBD_CMD_WRITE, flags, lengthBytes: 1 }, new Uint8Array(1));
      ask({ command: NBD_CMD_TRIM, flags, lengthBytes: 4096 });
      ask({ command: NBD_CMD_WRITE_ZEROES, flags, lengthBytes: 4096 });
      const seen = device.calls.map((call) => call.fua ?? call.zero?.fua);
      expect(seen).to.deep.equal([true, true, true]);
      for (const command of [NBD_CMD_READ, NBD_CMD_BLOCK_STATUS]) {
        expect(ask({ command, flags, lengthBytes: 512 }).error).to.equal(0);
      }
      expect(ask({ command: NBD_CMD_FLUSH, flags }).error).to.equal(0);
    });

    it('a flush reaches the device; one with a range is refused', () => {
      expect(ask({ command: NBD_CMD_FLUSH }).error).to.equal(0);
      expect(device.calls).to.deep.equal([{ name: 'flush', offsetBytes: 0, lengthBytes: 0 }]);
      expect(ask({ command: NBD_CMD_FLUSH, lengthBytes: 512 }).error).to.equal(NBD_EINVAL);
      expect(ask({ command: NBD_CMD_FLUSH, offsetBytes: 512 }).error).to.equal(NBD_EINVAL);
    });

    it('write zeroes passes on whether it may punch and must be fast', () => {
      ask({ command: NBD_CMD_WRITE_ZEROES, lengthBytes: 4096 });
      ask({ command: NBD_CMD_WRITE_ZEROES, lengthBytes: 4096, flags: NBD_CMD_FLAG_NO_HOLE });
      ask({ command: NBD_CMD_WRITE_ZEROES, lengthBytes: 4096, flags: NBD_CMD_FLAG_FAST_ZERO });
      expect(device.calls.map((call) => call.zero)).to.deep.equal([
        { fua: false, mayPunch: true, fast: false },
        { fua: false, mayPunch: false, fast: false },
        { fua: false, mayPunch: true, fast: true },
      ]);
      device.fastZeroSupported = false;
      const reply = ask({ command: NBD_CMD_WRITE_ZEROES, lengthBytes: 4096, flags: NBD_CMD_FLAG_FAST_ZERO });
      expect(reply.error).to.equal(NBD_ENOTSUP);
    });

    it('"not supported" is only ever said of a fast zero', () => {
      device.failures.push('not-supported');
      expect(ask({ command: NBD_CMD_TRIM, lengthBytes: 4096 }).error).to.equal(NBD_EINVAL);
    });

    it('zeroes and trims may be longer than the longest payload', () => {
      const large = new MemoryDevice(payloadBytesMax + 4096);
      exports.serve('large', large);
      bench = new SessionBench(exports);
      bench.enter('large', { structured: true });
      expect(ask({ command: NBD_CMD_TRIM, lengthBytes: large.sizeBytes }).error).to.equal(0);
      expect(ask({ command: NBD_CMD_WRITE_ZEROES, lengthBytes: large.sizeBytes }).error).to.equal(0);
    });

    it('block status joins equal neighbours, and gives one extent when asked for one', () => {
      ask({ command: NBD_CMD_WRITE, offsetBytes: 8192, lengthBytes: 8192 }, new Uint8Array(8192));
      const all = ask({ command: NBD_CMD_BLOCK_STATUS, lengthBytes: 65536 });
      expect(all.kind).to.equal(NBD_REPLY_TYPE_BLOCK_STATUS);
      expect(all.payload.toString('hex')).to.equal(
        '00000001000020000000000300002000000000000000c00000000003',
      );
      const one = ask({
        command: NBD_CMD_BLOCK_STATUS,
        offsetBytes: 8192,
        lengthBytes: 65536,
        flags: NBD_CMD_FLAG_REQ_ONE,
      });
      expect(one.payload.toString('hex')).to.equal('000000010000200000000000');
    });

    it('block status without a negotiated context, or of no bytes, is refused', () => {
      expect(ask({ command: NBD_CMD_BLOCK_STATUS, lengthBytes: 0 }).error).to.equal(NBD_EINVAL);
      start({ structured: false });
      expect(ask({ command: NBD_CMD_BLOCK_STATUS, lengthBytes: 512 }).error).to.equal(NBD_EINVAL);
    });

    it('requests for no bytes succeed and do not reach the device', () => {
      const read = ask({ command: NBD_CMD_READ });
      expect(read.kind).to.equal(NBD_REPLY_TYPE_NONE);
      for (const command of [NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES]) {
        expect(ask({ command, offsetBytes: sizeBytes }).error).to.equal(0);
      }
      expect(device.calls).to.deep.equal([]);
    });
  });

  describe('refusals', () => {
    const rows: readonly [string, RequestFields, number][] = [
      [
        'a read beyond the end',
        { command: NBD_CMD_READ, offsetBytes: sizeBytes - 1, lengthBytes: 2 },
        NBD_EINVAL,
      ],
      [
        'a write beyond the end',
        { command: NBD_CMD_WRITE, offsetBytes: sizeBytes - 1, lengthBytes: 2 },
        NBD_ENOSPC,
      ],
      [
        'a trim beyond the end',
        { command: NBD_CMD_TRIM, offsetBytes: sizeBytes, lengthBytes: 1 },
        NBD_EINVAL,
      ],
      [
        'zeroes beyond the end',
        { command: NBD_CMD_WRITE_ZEROES, offsetBytes: sizeBytes, lengthBytes: 1 },
        NBD_ENOSPC,
      ],
      ['a status beyond the end', { command: NBD_CMD_BLOCK_STATUS, lengthBytes: sizeBytes + 1 }, NBD_EINVAL],
      ['a write at 2^63', { command: NBD_CMD_WRITE, offsetBytes: 2 ** 63, lengthBytes: 1 }, NBD_ENOSPC],
      ['a read of no bytes at 2^60', { command: NBD_CMD_READ, offsetBytes: 2 ** 60 }, NBD_EINVAL],
      [
        'a read longer than the longest payload',
        { command: NBD_CMD_READ, lengthBytes: payloadBytesMax + 1 },
        NBD_EOVERFLOW,
      ],
      ['the cache command', { command: 5, lengthBytes: 1 }, NBD_EINVAL],
      ['an unknown command', { command: 0xffff, lengthBytes: 1 }, NBD_EINVAL],
      ['an unknown flag', { command: NBD_CMD_READ, flags: 0x8000, lengthBytes: 1 }, NBD_EINVAL],
      [
        '"no hole" on a write',
        { command: NBD_CMD_WRITE, flags: NBD_CMD_FLAG_NO_HOLE, lengthBytes: 1 },
        NBD_EINVAL,
      ],
      [
        '"do not fragment" on a trim',
        { command: NBD_CMD_TRIM, flags: NBD_CMD_FLAG_DF, lengthBytes: 1 },
        NBD_EINVAL,
      ],
      [
        '"one extent" on zeroes',
        { command: NBD_CMD_WRITE_ZEROES, flags: NBD_CMD_FLAG_REQ_ONE, lengthBytes: 1 },
        NBD_EINVAL,
      ],
      ['"fast" on a flush', { command: NBD_CMD_FLUSH, flags: NBD_CMD_FLAG_FAST_ZERO }, NBD_EINVAL],
    ];
    for (const structured of [true, false]) {
      for (const [name, fields, error] of rows) {
        it(`${name} is refused with ${error}${structured ? '' : ', without structured replies'}`, () => {
          start({ structured });
          const payload = new Uint8Array(fields.command === NBD_CMD_WRITE ? (fields.lengthBytes ?? 0) : 0);
          const reply = ask(fields, payload);
          const withoutDf = error === NBD_EOVERFLOW && !structured;
          expect(reply.error).to.equal(withoutDf ? NBD_EINVAL : error);
          expect(reply.kind).to.equal(structured ? NBD_REPLY_TYPE_ERROR : 'simple');
          expect(device.calls).to.deep.equal([]);
          expect(ask({ command: NBD_CMD_READ, lengthBytes: 512 }).payload.length).to.be.above(0);
        });
      }
    }

    it('"do not fragment" is refused where it was not offered, and served where it was', () => {
      const fields = { command: NBD_CMD_READ, flags: NBD_CMD_FLAG_DF, lengthBytes: 65536 };
      expect(ask(fields).kind).to.equal(NBD_REPLY_TYPE_OFFSET_DATA);
      start({ structured: false });
      expect(ask(fields).error).to.equal(NBD_EINVAL);
    });

    it('everything that writes is not permitted on a read-only export', () => {
      start({ structured: true, readOnly: true });
      expect(ask({ command: NBD_CMD_WRITE, lengthBytes: 1 }, new Uint8Array(1)).error).to.equal(NBD_EPERM);
      expect(ask({ command: NBD_CMD_TRIM, lengthBytes: 1 }).error).to.equal(NBD_EPERM);
      expect(ask({ command: NBD_CMD_WRITE_ZEROES, lengthBytes: 1 }).error).to.equal(NBD_EPERM);
      expect(ask({ command: NBD_CMD_FLUSH }).error).to.equal(0);
    });

    it('the message of an error is for people', () => {
      const reply = ask({ command: NBD_CMD_READ, offsetBytes: sizeBytes, lengthBytes: 1 });
      expect(reply.payload.subarray(6).toString()).to.equal('the range ends beyond the export');
      expect(reply.payload.readUInt16BE(4)).to.equal(reply.payload.length - 6);
    });

    it('the payload of a refused write is dropped as it comes, then the write is answered', () => {
      const lengthBytes = payloadBytesMax + 1;
      bench.receive(request({ command: NBD_CMD_WRITE, cookie: 3, lengthBytes }));
      for (let leftBytes = lengthBytes; leftBytes > 0; leftBytes -= 1024 * 1024) {
        expect(bench.takeOutput().length).to.equal(0);
        bench.receive(new Uint8Array(Math.min(leftBytes, 1024 * 1024)));
        expect(bench.session.unparsedBytes).to.equal(0);
      }
      expect(parseReplies(bench.takeOutput())[0]?.error).to.equal(NBD_EINVAL);
      expect(ask({ command: NBD_CMD_FLUSH }).error).to.equal(0);
    });

    it('a write that no client can mean ends the connection', () => {
      bench.receive(request({ command: NBD_CMD_WRITE, lengthBytes: droppedPayloadBytesMax + 1 }));
      expect(bench.ended?.how).to.equal('destroyed');
    });

    it('a request without its magic number ends the connection', () => {
      bench.receive(new Uint8Array(28));
      expect(bench.ended?.how).to.equal('destroyed');
      expect(bench.takeOutput().length).to.equal(0);
    });
  });

  describe('errors of the device', () => {
    const rows: readonly [BlockError, number][] = [
      ['io-error', NBD_EIO],
      ['no-space', NBD_ENOSPC],
      ['not-permitted', NBD_EPERM],
    ];
    for (const [failure, error] of rows) {
      for (const structured of [true, false]) {
        it(`${failure} is told as ${error} for reads and writes${structured ? '' : ', without structured replies'}`, () => {
          start({ structured });
          device.failures.push(failure, failure, failure);
          const read = ask({ command: NBD_CMD_READ, lengthBytes: 512 });
          expect(read.kind).to.equal(structured ? NBD_REPLY_TYPE_ERROR : 'simple');
          expect(read.error).to.equal(error);
          expect(ask({ command: NBD_CMD_WRITE, lengthBytes: 1 }, new Uint8Array(1)).error).to.equal(error);
          expect(ask({ command: NBD_CMD_FLUSH }).error).to.equal(error);
        });
      }
    }

    it('a device that shuts down ends the connection, and no request is answered any more', () => {
      for (const later of [false, true]) {
        start({ structured: true });
        device.holding = later;
        device.failures.push('shutting-down');
        bench.receive(request({ command: NBD_CMD_FLUSH }), request({ command: NBD_CMD_FLUSH, cookie: 2 }));
        device.release();
        expect(bench.ended?.how).to.equal('destroyed');
        expect(bench.takeOutput().length).to.equal(0);
      }
    });
  });

  describe('held requests', () => {
    beforeEach(() => {
      device.holding = true;
    });

    it('are answered when the device completes them, in its order', () => {
      for (const cookie of [1, 2, 3])
        bench.receive(request({ command: NBD_CMD_READ, cookie, lengthBytes: 512 }));
      expect(bench.takeOutput().length).to.equal(0);
      expect(bench.session.inFlightCount).to.equal(3);
      device.release('newest-first');
      expect(parseReplies(bench.takeOutput()).map((reply) => reply.cookie)).to.deep.equal([3, 2, 1]);
      expect(bench.session.inFlightCount).to.equal(0);
    });

    it('keep the request limit: reading stops, and goes on when one completes', () => {
      const flush = (cookie: number) => bench.receive(request({ command: NBD_CMD_FLUSH, cookie }));
      for (let cookie = 0; cookie < requestsInFlightMax + 10; cookie += 1) flush(cookie);
      expect(bench.paused).to.equal(true);
      expect(device.heldCount).to.equal(requestsInFlightMax);
      device.releaseOne();
      expect(device.heldCount).to.equal(requestsInFlightMax);
      expect(bench.paused).to.equal(true);
      device.release();
      expect(bench.paused).to.equal(false);
      expect(parseReplies(bench.takeOutput())).to.have.length(requestsInFlightMax + 10);
      expect(bench.session.unparsedBytes).to.equal(0);
    });

    it('keep the byte limit for reads and writes together', () => {
      const large = new MemoryDevice(payloadBytesMax);
      large.holding = true;
      exports.serve('large', large);
      bench = new SessionBench(exports);
      bench.enter('large', { structured: true });
      const lengthBytes = payloadBytesMax;
      bench.receive(request({ command: NBD_CMD_READ, cookie: 1, lengthBytes }));
      bench.receive(request({ command: NBD_CMD_WRITE, cookie: 2, lengthBytes }), new Uint8Array(lengthBytes));
      expect(large.heldCount).to.equal(inFlightBytesMax / payloadBytesMax);
      expect(bench.paused).to.equal(false);
      bench.receive(request({ command: NBD_CMD_READ, cookie: 3, lengthBytes: 1 }));
      expect(bench.paused).to.equal(true);
      large.releaseOne();
      expect(bench.paused).to.equal(false);
      expect(large.heldCount).to.equal(2);
    });

    it('complete into nothing when the client is gone', () => {
      bench.receive(request({ command: NBD_CMD_WRITE, lengthBytes: 4 }), new Uint8Array([1, 2, 3, 4]));
      bench.receive(request({ command: NBD_CMD_READ, lengthBytes: 4 }));
      bench.session.closed();
      device.release();
      expect(bench.takeOutput().length).to.equal(0);
      expect(bench.session.inFlightCount).to.equal(0);
      expect([...device.bytes.subarray(0, 4)]).to.deep.equal([1, 2, 3, 4]);
    });

    it('complete into nothing when the export is withdrawn', () => {
      bench.receive(request({ command: NBD_CMD_FLUSH }));
      bench.session.shutdown('this node is no longer primary');
      expect(bench.ended).to.deep.equal({ how: 'destroyed', because: 'this node is no longer primary' });
      device.release();
      bench.receive(request({ command: NBD_CMD_FLUSH }));
      expect(bench.takeOutput().length).to.equal(0);
      expect(device.calls).to.have.length(1);
    });

    it('are answered before a disconnecting client is let go', () => {
      bench.receive(request({ command: NBD_CMD_FLUSH, cookie: 1 }), request({ command: NBD_CMD_DISC }));
      bench.receive(request({ command: NBD_CMD_FLUSH, cookie: 2 }));
      expect(bench.ended).to.equal(undefined);
      device.release();
      expect(parseReplies(bench.takeOutput()).map((reply) => reply.cookie)).to.deep.equal([1]);
      expect(bench.ended?.how).to.equal('closed');
      expect(device.calls).to.have.length(1);
    });
  });

  it('a client that disconnects with nothing in flight is let go at once', () => {
    bench.receive(request({ command: NBD_CMD_DISC }));
    expect(bench.ended).to.deep.equal({ how: 'closed', because: 'the client disconnected' });
  });

  it('a client that does not read its replies gets no more requests begun until it does', () => {
    bench.pretendedQueuedBytes = queuedReplyBytesMax + 1;
    bench.receive(request({ command: NBD_CMD_READ, lengthBytes: 512 }));
    expect(bench.paused).to.equal(true);
    expect(device.calls).to.deep.equal([]);
    bench.pretendedQueuedBytes = 0;
    bench.session.drained();
    expect(bench.paused).to.equal(false);
    expect(device.calls).to.have.length(1);
  });

  it('a deep pipeline against a device that completes inside the call does not nest', () => {
    const flush = request({ command: NBD_CMD_FLUSH });
    const pipeline = Buffer.concat(Array.from({ length: 50_000 }, () => flush));
    device.recordCalls = false;
    bench.receive(pipeline);
    expect(bench.takeOutput().length).to.equal(50_000 * 16);
    expect(bench.pausesCount).to.equal(0);
  });

  it('a payload in many pieces stays many pieces', () => {
    bench.receive(request({ command: NBD_CMD_WRITE, lengthBytes: 3000 }));
    for (let piece = 0; piece < 3; piece += 1) bench.receive(new Uint8Array(1000).fill(piece + 1));
    expect(device.calls[0]?.chunksCount).to.equal(3);
    expect([device.bytes[0], device.bytes[1000], device.bytes[2999]]).to.deep.equal([1, 2, 3]);
  });

  it('a client that sends its first requests without waiting for the end of the negotiation is served', () => {
    bench = new SessionBench(exports);
    bench.receive(
      Buffer.concat([
        clientFlags(),
        encodeOption(NBD_OPT_GO, encodeExportChoice('disk0', [])),
        request({ command: NBD_CMD_FLUSH }),
      ]),
    );
    expect(device.calls.map((call) => call.name)).to.deep.equal(['flush']);
  });

  it('a change of the export table leaves a running session on its device', () => {
    exports.withhold('disk0', 'swap');
    expect(ask({ command: NBD_CMD_FLUSH }).error).to.equal(0);
  });
});
