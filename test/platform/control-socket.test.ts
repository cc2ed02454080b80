import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { expect } from 'chai';
import fc from 'fast-check';
import { z } from 'zod';
import { WorldError } from '../../src/base/errors.ts';
import { ControlClient, callOnce } from '../../src/platform/control-client.ts';
import {
  ControlServer,
  noArgs,
  requestBytesMax,
  requestsInFlightMax,
  verb,
} from '../../src/platform/control-socket.ts';
import { JsonLineReader } from '../../src/platform/json-lines.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';

const busy = new WorldError('module-not-running', { wanted: 'a module', found: 'none', next: 'start it' });

async function failure(promise: Promise<unknown>): Promise<WorldError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof WorldError) return error;
    throw error;
  }
  throw new Error('the call succeeded');
}

describe('control socket', () => {
  let directory: TempDirectory;
  let path: string;
  let server: ControlServer;
  const verbs = {
    ping: verb(noArgs, () => ({ pid: process.pid })),
    add: verb(z.strictObject({ left: z.number(), right: z.number() }), ({ left, right }) => left + right),
    later: verb(noArgs, () => Promise.resolve('done')),
    never: verb(noArgs, () => new Promise(() => {})),
    refuse: verb(noArgs, () => {
      throw busy;
    }),
  };

  beforeEach(async () => {
    directory = makeTempDirectory();
    path = directory.file('test.sock');
    server = await ControlServer.listen({ path, verbs });
  });
  afterEach(async () => {
    await server.close();
    directory.remove();
  });

  /** Sends raw bytes and resolves to what came back until the server closed the connection. */
  async function raw(bytes: string | Uint8Array): Promise<string> {
    const socket = connect(path);
    let text = '';
    socket.on('data', (part) => {
      text += part.toString();
    });
    socket.on('error', () => {});
    const closed = once(socket, 'close');
    socket.end(bytes);
    await closed;
    return text;
  }

  it('calls are answered with typed arguments, many on one connection, in any order of their ends', async () => {
    const client = new ControlClient({ path });
    const never = failure(client.call('never', {}, 30));
    const answers = await Promise.all([
      client.call('add', { left: 1, right: 2 }),
      client.call('later'),
      client.call('ping'),
    ]);
    expect(answers).to.deep.equal([3, 'done', { pid: process.pid }]);
    expect((await never).code).to.equal('control-unreachable');
    client.close();
  });

  it('only the owner may open the file', () => {
    expect(statSync(path).mode & 0o777).to.equal(0o600);
  });

  it('an error of a verb reaches the caller with its code, wanted, found and next', async () => {
    const error = await failure(callOnce(path, 'refuse'));
    expect(error).to.include({
      code: 'module-not-running',
      wanted: 'a module',
      found: 'none',
      next: 'start it',
    });
  });

  it('an unknown verb and wrong arguments are refused with what would be right', async () => {
    expect(await failure(callOnce(path, 'pong')))
      .to.have.property('wanted')
      .that.contains('ping, add');
    expect(await failure(callOnce(path, 'toString'))).to.have.property('code', 'control-refused');
    const wrong = await failure(callOnce(path, 'add', { left: 'x', right: 2 }));
    expect(wrong.code).to.equal('control-refused');
    expect(wrong.found).to.match(/^at left: /);
    expect((await failure(callOnce(path, 'ping', { extra: 1 }))).found).to.contain('extra');
  });

  it('nobody at the path is unreachable, at once', async () => {
    expect((await failure(callOnce(directory.file('none.sock'), 'ping'))).code).to.equal(
      'control-unreachable',
    );
  });

  it('a process that does not answer is unreachable after the deadline, and a late answer harms nothing', async () => {
    const error = await failure(callOnce(path, 'never', {}, 20));
    expect(error.found).to.equal('no answer to "never" within 20 ms');
  });

  it('a server that ends fails the calls that wait, and the client connects to the next one', async () => {
    let losses = 0;
    const client = new ControlClient({ path, disconnected: () => void (losses += 1) });
    await client.call('ping');
    const waiting = failure(client.call('never'));
    await server.close();
    expect((await waiting).code).to.equal('control-unreachable');
    expect(losses).to.equal(1);
    server = await ControlServer.listen({ path, verbs });
    expect(await client.call('later')).to.equal('done');
    client.close();
  });

  it('subscribers get events, others do not', async () => {
    const seen: unknown[] = [];
    const client = new ControlClient({ path, event: (event) => seen.push(event) });
    const other = new ControlClient({ path, event: () => seen.push('wrong') });
    await other.call('ping');
    await client.call('subscribe');
    server.publish({ state: 'ALONE' });
    server.publish('second');
    await until('two events', () => seen.length === 2);
    expect(seen).to.deep.equal([{ state: 'ALONE' }, 'second']);
    client.close();
    other.close();
  });

  it('a file that nobody answers on is replaced', async () => {
    const stale = directory.file('stale.sock');
    const holder: Server = createServer().listen(stale);
    await once(holder, 'listening');
    // Renamed away and back: closing the server leaves the file, as a crash does.
    const { renameSync } = await import('node:fs');
    renameSync(stale, directory.file('kept'));
    holder.close();
    await once(holder, 'close');
    renameSync(directory.file('kept'), stale);
    const next = await ControlServer.listen({ path: stale, verbs });
    expect(await callOnce(stale, 'later')).to.equal('done');
    await next.close();
  });

  it('a path where a process answers, or where another kind of file is, is refused and kept', async () => {
    expect((await failure(ControlServer.listen({ path, verbs }))).code).to.equal('already-running');
    expect(await callOnce(path, 'later')).to.equal('done');
    const file = directory.file('file');
    writeFileSync(file, 'x');
    expect((await failure(ControlServer.listen({ path: file, verbs }))).code).to.equal('already-running');
    expect(existsSync(file)).to.equal(true);
  });

  it('a path that is too long for a socket is refused with its length', async () => {
    const long = directory.file('x'.repeat(120));
    const error = await failure(ControlServer.listen({ path: long, verbs }));
    expect(error.code).to.equal('socket-path-too-long');
    expect(error.found).to.contain(`${long.length} bytes`);
    expect(() => new ControlClient({ path: long })).to.throw(WorldError);
  });

  it('a directory that is not there is named', async () => {
    const error = await failure(ControlServer.listen({ path: directory.file('no/x.sock'), verbs }));
    expect(error.code).to.equal('socket-failed');
  });

  it('bytes that are no request end only their own connection', async () => {
    const client = new ControlClient({ path });
    await client.call('ping');
    for (const bytes of [
      'hello\n',
      '{}\n',
      '[]\n',
      '{"id":-1,"verb":"ping"}\n',
      'x'.repeat(requestBytesMax + 1),
    ]) {
      expect(await raw(bytes)).to.equal('');
    }
    expect(await raw(new Uint8Array([0xff, 0xfe, 0x0a]))).to.equal('');
    expect(await client.call('later')).to.equal('done');
    client.close();
  });

  it('a client that asks more than the limit without an answer is dropped', async () => {
    const lines = Array.from({ length: requestsInFlightMax + 1 }, (_, id) => `{"id":${id},"verb":"never"}\n`);
    expect(await raw(lines.join(''))).to.equal('');
  });
});

describe('JSON lines', () => {
  it('come out as they went in, however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.jsonValue(), { maxLength: 5 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
        (values, cuts) => {
          const bytes = Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join(''));
          const got: unknown[] = [];
          const reader = new JsonLineReader(1 << 20, (value) => got.push(value));
          let offset = 0;
          for (let turn = 0; offset < bytes.length; turn += 1) {
            const size = cuts[turn % cuts.length] ?? 1;
            expect(reader.feed(bytes.subarray(offset, offset + size))).to.equal(undefined);
            offset += size;
          }
          expect(JSON.stringify(got)).to.equal(JSON.stringify(values));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('foreign bytes never throw and nothing is read after a problem', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 })), (parts) => {
        let ended = false;
        const reader = new JsonLineReader(100, () => expect(ended).to.equal(false));
        for (const part of parts) ended = reader.feed(part) !== undefined || ended;
      }),
      { numRuns: 200 },
    );
  });
});
