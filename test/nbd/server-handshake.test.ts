import { expect } from 'chai';
import { ExportTable } from '../../src/nbd/export-table.ts';
import { encodeExportChoice, encodeMetaContextQuery } from '../../src/nbd/option-data.ts';
import {
  encodeOption,
  NBD_CMD_BLOCK_STATUS,
  NBD_EINVAL,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_NAME,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from '../../src/nbd/protocol.ts';
import { optionDataBytesMax, optionsMax } from '../../src/nbd/server-handshake.ts';
import { handshakeTimeoutMs } from '../../src/nbd/server-session.ts';
import { MemoryDevice } from './memory-device.ts';
import { clientFlags, parseReplies, request, SessionBench } from './session-bench.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const types = (replies: readonly { replyType: number }[]): number[] =>
  replies.map((reply) => reply.replyType);

describe('NBD handshake of the server', () => {
  let exports: ExportTable;
  let bench: SessionBench;

  beforeEach(() => {
    exports = new ExportTable();
    exports.serve('disk0', new MemoryDevice(1024 * 1024));
    exports.serve('disk1', new MemoryDevice(8192), { readOnly: true });
    exports.withhold('disk2', 'the other node has the VM');
    bench = new SessionBench(exports);
  });

  const greet = (): void => bench.receive(clientFlags());

  it('the greeting is fixed newstyle without zeroes, byte for byte', () => {
    expect(bench.takeOutput().toString('hex')).to.equal('4e42444d4147494349484156454f50540003');
  });

  it('unknown client flags end the connection', () => {
    bench.receive(clientFlags(4));
    expect(bench.ended?.how).to.equal('destroyed');
  });

  it('a client that does not speak fixed newstyle gets nothing but NBD_OPT_EXPORT_NAME', () => {
    bench.receive(clientFlags(0), encodeOption(NBD_OPT_LIST, text('')));
    expect(bench.ended?.how).to.equal('destroyed');
    const old = new SessionBench(exports);
    old.receive(clientFlags(0));
    old.takeOutput();
    old.receive(encodeOption(NBD_OPT_EXPORT_NAME, text('disk0')));
    const reply = old.takeOutput();
    expect(reply.length).to.equal(134);
    expect(reply.readBigUInt64BE(0)).to.equal(1024n * 1024n);
    expect(reply.readUInt16BE(8)).to.equal(0b1001_0110_1101);
    expect(old.session.exportName).to.equal('disk0');
  });

  it('NBD_OPT_EXPORT_NAME leaves out the zeroes when the client declines them', () => {
    bench.receive(clientFlags(3));
    bench.takeOutput();
    bench.receive(encodeOption(NBD_OPT_EXPORT_NAME, text('disk1')));
    expect(bench.takeOutput().length).to.equal(10);
  });

  it('NBD_OPT_EXPORT_NAME for what is not served ends the session, as it has no error reply', () => {
    for (const name of ['disk2', 'nothing']) {
      const other = new SessionBench(exports);
      other.receive(clientFlags(), encodeOption(NBD_OPT_EXPORT_NAME, text(name)));
      expect(other.ended?.because).to.contain(name);
      expect(other.session.exportName).to.equal(undefined);
    }
  });

  it('an option without its magic number ends the connection', () => {
    greet();
    bench.receive(new Uint8Array(16));
    expect(bench.ended?.how).to.equal('destroyed');
  });

  it('NBD_OPT_ABORT is acknowledged, then the connection closes and what still comes is ignored', () => {
    greet();
    expect(types(bench.option(NBD_OPT_ABORT, text('bye')))).to.deep.equal([NBD_REP_ACK]);
    expect(bench.ended?.how).to.equal('closed');
    bench.receive(encodeOption(NBD_OPT_LIST, text('')));
    expect(bench.takeOutput().length).to.equal(0);
  });

  it('NBD_OPT_LIST names the exports that are served', () => {
    greet();
    const replies = bench.option(NBD_OPT_LIST);
    expect(types(replies)).to.deep.equal([NBD_REP_SERVER, NBD_REP_SERVER, NBD_REP_ACK]);
    expect(replies.slice(0, 2).map((reply) => reply.data.subarray(4).toString())).to.deep.equal([
      'disk0',
      'disk1',
    ]);
    expect(types(bench.option(NBD_OPT_LIST, text('x')))).to.deep.equal([NBD_REP_ERR_INVALID]);
  });

  it('NBD_OPT_LIST says why when no export is served now', () => {
    const table = new ExportTable();
    table.withhold('disk0', 'the other node has the VM');
    const other = new SessionBench(table);
    other.receive(clientFlags());
    const [reply] = other.option(NBD_OPT_LIST);
    expect(reply?.replyType).to.equal(NBD_REP_ERR_SHUTDOWN);
    expect(reply?.data.toString()).to.equal('the other node has the VM');
  });

  it('NBD_OPT_INFO describes the export and stays in the handshake', () => {
    greet();
    const wanted = [NBD_INFO_BLOCK_SIZE, NBD_INFO_NAME, 77];
    const replies = bench.option(NBD_OPT_INFO, encodeExportChoice('disk0', wanted));
    expect(types(replies)).to.deep.equal([NBD_REP_INFO, NBD_REP_INFO, NBD_REP_INFO, NBD_REP_ACK]);
    expect(replies.slice(0, 3).map((reply) => reply.data.toString('hex'))).to.deep.equal([
      '00000000000000100000096d',
      '0001'.concat(Buffer.from('disk0').toString('hex')),
      '0003000000010000100002000000',
    ]);
    expect(bench.session.exportName).to.equal(undefined);
    expect(types(bench.option(NBD_OPT_GO, encodeExportChoice('disk0', [])))).to.deep.equal([
      NBD_REP_INFO,
      NBD_REP_ACK,
    ]);
    expect(bench.session.exportName).to.equal('disk0');
  });

  it('a read-only export says so, and "do not fragment" is offered with structured replies only', () => {
    greet();
    const flags = () => bench.option(NBD_OPT_INFO, encodeExportChoice('disk1', []))[0]?.data.readUInt16BE(10);
    expect(flags()).to.equal(0x96d | 2);
    bench.option(NBD_OPT_STRUCTURED_REPLY);
    expect(flags()).to.equal(0x96d | 2 | 0x80);
  });

  it('NBD_OPT_GO for an unknown export, and for one that is withheld, says why and the client may go on', () => {
    greet();
    const [unknown] = bench.option(NBD_OPT_GO, encodeExportChoice('disk9', []));
    expect(unknown?.replyType).to.equal(NBD_REP_ERR_UNKNOWN);
    expect(unknown?.data.toString()).to.equal('there is no export "disk9"');
    const [withheld] = bench.option(NBD_OPT_GO, encodeExportChoice('disk2', []));
    expect(withheld?.replyType).to.equal(NBD_REP_ERR_SHUTDOWN);
    expect(withheld?.data.toString()).to.contain('the other node has the VM');
    exports.serve('disk2', new MemoryDevice(4096));
    expect(bench.option(NBD_OPT_GO, encodeExportChoice('disk2', [])).at(-1)?.replyType).to.equal(NBD_REP_ACK);
  });

  it('the empty name means the only export', () => {
    greet();
    expect(types(bench.option(NBD_OPT_GO, encodeExportChoice('', [])))).to.deep.equal([NBD_REP_ERR_UNKNOWN]);
    const table = new ExportTable();
    table.serve('disk0', new MemoryDevice(4096));
    const other = new SessionBench(table);
    other.receive(clientFlags());
    other.option(NBD_OPT_GO, encodeExportChoice('', []));
    expect(other.session.exportName).to.equal('disk0');
  });

  it('malformed option data are refused and the next option is understood', () => {
    greet();
    const malformed = [
      '',
      '0000',
      '00000005646973',
      'ffffffff000000000000',
      '0000000000020003',
      '00000002ff000000',
    ];
    for (const hex of malformed) {
      expect(types(bench.option(NBD_OPT_GO, Buffer.from(hex, 'hex'))), hex).to.deep.equal([
        NBD_REP_ERR_INVALID,
      ]);
    }
    expect(bench.ended).to.equal(undefined);
    expect(types(bench.option(NBD_OPT_LIST)).at(-1)).to.equal(NBD_REP_ACK);
  });

  it('unknown options, STARTTLS and extended headers among them, are unsupported', () => {
    greet();
    for (const option of [4, 5, 11, 0xffffffff]) {
      expect(types(bench.option(option, text('data')))).to.deep.equal([NBD_REP_ERR_UNSUP]);
    }
  });

  it('an option with too much data is refused, and its data are dropped as they come', () => {
    greet();
    bench.takeOutput();
    const data = new Uint8Array(optionDataBytesMax + 1);
    bench.receive(encodeOption(NBD_OPT_GO, data).subarray(0, 40_000));
    expect(bench.session.unparsedBytes).to.equal(0);
    bench.receive(encodeOption(NBD_OPT_GO, data).subarray(40_000));
    const type = bench.takeOutput().readUInt32BE(12);
    expect(type).to.equal(NBD_REP_ERR_TOO_BIG);
    expect(types(bench.option(NBD_OPT_LIST)).at(-1)).to.equal(NBD_REP_ACK);
    const endless = encodeOption(NBD_OPT_GO, text(''));
    endless.set([0xff], 12);
    bench.receive(endless);
    expect(bench.ended?.how).to.equal('destroyed');
  });

  it('a client that only ever sends options is cut off', () => {
    greet();
    for (let count = 0; count < optionsMax; count += 1) bench.option(99);
    expect(bench.ended).to.equal(undefined);
    bench.option(99);
    expect(bench.ended?.how).to.equal('destroyed');
  });

  it('a client that chooses no export in time is cut off', () => {
    greet();
    bench.clock.advance(handshakeTimeoutMs - 1);
    expect(bench.ended).to.equal(undefined);
    bench.clock.advance(1);
    expect(bench.ended?.how).to.equal('destroyed');
  });

  it('a client that chose its export is not cut off, and no timer is left', () => {
    bench.enter('disk0', { structured: true });
    expect(bench.clock.timersCount).to.equal(0);
  });

  describe('metadata contexts', () => {
    const query = (option: number, queries: readonly string[], name = 'disk0') =>
      bench.option(option, encodeMetaContextQuery(name, queries));

    beforeEach(greet);

    it('need structured replies', () => {
      expect(types(query(NBD_OPT_SET_META_CONTEXT, ['base:allocation']))).to.deep.equal([
        NBD_REP_ERR_INVALID,
      ]);
    });

    it('are listed for no query, the wildcard and the name, and not for others', () => {
      bench.option(NBD_OPT_STRUCTURED_REPLY);
      for (const queries of [[], ['base:'], ['x-other:', 'base:allocation']]) {
        const replies = query(NBD_OPT_LIST_META_CONTEXT, queries);
        expect(types(replies)).to.deep.equal([NBD_REP_META_CONTEXT, NBD_REP_ACK]);
        expect(replies[0]?.data.subarray(4).toString()).to.equal('base:allocation');
      }
      expect(types(query(NBD_OPT_LIST_META_CONTEXT, ['x-other:', 'base:dirty']))).to.deep.equal([
        NBD_REP_ACK,
      ]);
    });

    it('are selected by name only', () => {
      bench.option(NBD_OPT_STRUCTURED_REPLY);
      for (const queries of [[], ['base:'], ['qemu:allocation-depth']]) {
        expect(types(query(NBD_OPT_SET_META_CONTEXT, queries))).to.deep.equal([NBD_REP_ACK]);
      }
      const replies = query(NBD_OPT_SET_META_CONTEXT, ['base:allocation', 'base:allocation']);
      expect(types(replies)).to.deep.equal([NBD_REP_META_CONTEXT, NBD_REP_ACK]);
      expect(types(query(NBD_OPT_SET_META_CONTEXT, ['base:allocation'], 'disk9'))).to.deep.equal([
        NBD_REP_ERR_UNKNOWN,
      ]);
      expect(types(query(NBD_OPT_SET_META_CONTEXT, ['base:allocation'], 'disk2'))).to.deep.equal([
        NBD_REP_ERR_SHUTDOWN,
      ]);
    });

    it('are deselected by a later request that selects nothing, or fails', () => {
      for (const [queries, name] of [
        [['base:'], 'disk0'],
        [['base:allocation'], 'disk9'],
        [['base:allocation'], 'disk1'],
        [['base:allocation'], 'disk0'],
      ] as const) {
        bench = new SessionBench(exports);
        greet();
        bench.option(NBD_OPT_STRUCTURED_REPLY);
        query(NBD_OPT_SET_META_CONTEXT, ['base:allocation']);
        query(NBD_OPT_SET_META_CONTEXT, queries, name);
        bench.option(NBD_OPT_GO, encodeExportChoice('disk0', []));
        bench.receive(request({ command: NBD_CMD_BLOCK_STATUS, lengthBytes: 4096 }));
        const selected = name === 'disk0' && queries[0] === 'base:allocation';
        expect(parseReplies(bench.takeOutput())[0]?.error).to.equal(selected ? 0 : NBD_EINVAL);
      }
    });

    it('with malformed data are refused', () => {
      bench.option(NBD_OPT_STRUCTURED_REPLY);
      for (const hex of [
        '',
        '00000005',
        '00000000',
        '00000000ffffffff',
        '0000000000000001000000056162',
        '000000000000000099',
      ]) {
        const replies = bench.option(NBD_OPT_SET_META_CONTEXT, Buffer.from(hex, 'hex'));
        expect(types(replies), hex).to.deep.equal([NBD_REP_ERR_INVALID]);
      }
    });
  });
});
