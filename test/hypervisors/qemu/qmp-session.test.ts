import { expect } from 'chai';
import fc from 'fast-check';
import {
  type QmpEvent,
  qmpCommandsMax,
  qmpLineBytesMax,
  QmpSession,
} from '../../../hypervisors/qemu/qmp-session.ts';
import { VirtualClock } from '../../base/virtual-clock.ts';

const greeting = '{"QMP": {"version": {}, "capabilities": ["oob"]}}\r\n';

class SessionBench {
  readonly clock = new VirtualClock();
  readonly sent: { execute?: string; id?: number; arguments?: object }[] = [];
  readonly events: QmpEvent[] = [];
  readonly closes: string[] = [];
  readyCount = 0;
  readonly session = new QmpSession(
    { send: (text) => void this.sent.push(JSON.parse(text)), close: () => {} },
    this.clock,
    {
      ready: () => {
        this.readyCount += 1;
      },
      event: (event) => this.events.push(event),
      closed: (because) => this.closes.push(because),
    },
  );

  feed(text: string): void {
    this.session.received(Buffer.from(text));
  }

  negotiate(): void {
    this.feed(greeting);
    this.feed('{"return": {}, "id": 0}\r\n');
  }
}

async function problemOf(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => 'none',
    (error: Error) => error.message,
  );
}

describe('QMP session', () => {
  let bench: SessionBench;

  beforeEach(() => {
    bench = new SessionBench();
  });

  it('negotiates, then answers commands in any order and tells events', async () => {
    bench.negotiate();
    expect(bench.readyCount).to.equal(1);
    const first = bench.session.execute('query-status', undefined, { timeoutMs: 1000 });
    const second = bench.session.execute('stop', { now: true }, { timeoutMs: 1000 });
    bench.feed(
      '{"return": {"two": 2}, "id": 2}\r\n{"timestamp": {}, "event": "STOP"}\r\n{"return": 1, "id": 1}\r\n',
    );
    expect(await second).to.deep.equal({ two: 2 });
    expect(await first).to.equal(1);
    expect(bench.events).to.deep.equal([{ name: 'STOP', data: {} }]);
    expect(bench.sent.map(({ execute }) => execute)).to.deep.equal([
      'qmp_capabilities',
      'query-status',
      'stop',
    ]);
    expect(bench.clock.pendingCount).to.equal(0);
  });

  it('a command that is refused fails with the words of QEMU', async () => {
    bench.negotiate();
    const attempt = bench.session.execute('cont', undefined, { timeoutMs: 1000 });
    bench.feed('{"error": {"class": "GenericError", "desc": "Resetting the VM is required"}, "id": 1}\n');
    expect(await problemOf(attempt)).to.include('Resetting the VM is required');
  });

  it('a reply after the deadline is dropped', async () => {
    bench.negotiate();
    const attempt = bench.session.execute('stop', undefined, { timeoutMs: 500 });
    bench.clock.advance(500);
    expect(await problemOf(attempt)).to.include('no reply within 500 ms');
    bench.feed('{"return": {}, "id": 1}\n');
    expect(bench.closes).to.deep.equal([]);
  });

  it('a caller that gives up is answered at once', async () => {
    bench.negotiate();
    const aborting = new AbortController();
    const attempt = bench.session.execute('stop', undefined, { timeoutMs: 500, signal: aborting.signal });
    aborting.abort();
    expect(await problemOf(attempt)).to.include('gave up');
    const wait = { timeoutMs: 500, signal: aborting.signal };
    expect(await problemOf(bench.session.execute('stop', undefined, wait))).to.include('gave up');
    expect(bench.clock.pendingCount).to.equal(0);
  });

  it('commands fail before the negotiation, over the limit, and when the connection ends', async () => {
    expect(await problemOf(bench.session.execute('stop', undefined, { timeoutMs: 9 }))).to.include(
      'no connection',
    );
    bench.negotiate();
    const attempts = Array.from({ length: qmpCommandsMax + 1 }, () =>
      problemOf(bench.session.execute('stop', undefined, { timeoutMs: 1000 })),
    );
    expect(await attempts.at(-1)).to.include('without a reply');
    bench.session.closed('the monitor hung up');
    expect(await attempts[0]).to.include('the monitor hung up');
    expect(bench.closes).to.deep.equal(['the monitor hung up']);
  });

  it('what is not the protocol ends the connection once', () => {
    for (const bytes of ['{"return": {}}\n', '[]\n', 'x\n', 'x'.repeat(qmpLineBytesMax + 1)]) {
      const fresh = new SessionBench();
      fresh.feed(bytes);
      fresh.feed(greeting);
      fresh.session.closed('socket closed');
      expect(fresh.closes).to.have.length(1);
      expect(fresh.closes[0]).to.include('broke the protocol');
      expect(fresh.readyCount).to.equal(0);
    }
  });

  it('the cut of the bytes does not matter', () => {
    const text = `${greeting}{"return": {}, "id": 0}\r\n{"event": "RESUME", "data": {"a": "\u00e4"}}\r\n{"event": "STOP"}\r\n`;
    const bytes = Buffer.from(text);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 12 }), (cuts) => {
        const fresh = new SessionBench();
        let from = 0;
        for (const cut of [...cuts.toSorted((left, right) => left - right), bytes.length]) {
          fresh.session.received(bytes.subarray(from, cut));
          from = cut;
        }
        expect(fresh.events).to.deep.equal([
          { name: 'RESUME', data: { a: '\u00e4' } },
          { name: 'STOP', data: {} },
        ]);
      }),
    );
  });

  it('foreign bytes never throw, whatever was negotiated before', () => {
    const line = fc.oneof(
      fc.string(),
      fc.json(),
      fc
        .record(
          {
            event: fc.anything(),
            data: fc.anything(),
            return: fc.anything(),
            error: fc.anything(),
            id: fc.anything(),
          },
          { requiredKeys: [] },
        )
        .map((value) => {
          try {
            return JSON.stringify(value) ?? '';
          } catch {
            return '';
          }
        }),
    );
    fc.assert(
      fc.property(fc.boolean(), fc.array(line, { maxLength: 5 }), (negotiated, lines) => {
        const fresh = new SessionBench();
        if (negotiated) fresh.negotiate();
        void problemOf(fresh.session.execute('stop', undefined, { timeoutMs: 1 }));
        for (const one of lines) fresh.feed(`${one}\n`);
        fresh.session.closed('end');
        expect(fresh.closes).to.have.length(1);
        expect(fresh.clock.pendingCount).to.equal(0);
      }),
    );
  });
});
