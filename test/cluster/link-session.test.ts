/**
 * One side of a link over several networks, in virtual time: which path is in use, and what is heard on the others. The other
 * side is the test: it opens, closes and says what it likes. Both sides together: test/scenarios/networks.test.ts.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { LinkSession } from '../../src/cluster/link-session.ts';
import { type ControlMessage, encodeControl, parseControl } from '../../src/link/control-messages.ts';
import { FrameParser, FrameType, HeaderWriter, joinChunks } from '../../src/link/frames.ts';
import type { LinkConnection, LinkHandler, LinkTransport } from '../../src/link/transport.ts';
import { VirtualClock } from '../base/virtual-clock.ts';

const timers = { heartbeatIntervalMs: 500, lostAfterMs: 3000 };
const [mine, theirs, theirsRestarted] = ['0', '1', '2'].map((digit) => digit.repeat(32)) as [
  string,
  string,
  string,
];
const headers = new HeaderWriter();

/** What one side said on one connection. */
class Connection implements LinkConnection {
  readonly peer = 'B';
  readonly said: (ControlMessage | 'heartbeat')[] = [];
  ended = '';
  readonly #network: Network;
  readonly #parser = new FrameParser({
    frame: ({ type }, payload) => {
      if (type === FrameType.heartbeat) this.said.push('heartbeat');
      else this.said.push(parseControl(joinChunks(payload)) as ControlMessage);
    },
  });

  constructor(network: Network) {
    this.#network = network;
  }

  send(header: Uint8Array, payload: readonly Uint8Array[]): void {
    for (const chunk of [header, ...payload]) expect(this.#parser.received(chunk)).to.equal(undefined);
  }

  queuedBytes(): number {
    return 0;
  }

  destroy(because: string): void {
    this.ended = because;
    this.#network.handler.closed(this, because);
  }
}

/** One network as the test plays it. */
class Network implements LinkTransport {
  handler!: LinkHandler;
  connection!: Connection;
  /** Numbers the stamps of the heartbeats of the peer. */
  #stamp = 0;

  start(handler: LinkHandler): void {
    this.handler = handler;
  }

  stop(): void {}

  open(): void {
    this.connection = new Connection(this);
    this.handler.opened(this.connection);
  }

  get isOpen(): boolean {
    return this.connection?.ended === '';
  }

  close(): void {
    this.connection.ended = 'the peer closed the connection';
    this.handler.closed(this.connection, this.connection.ended);
  }

  /** The peer heard this side `ageMs` ago. */
  beat(ageMs = 0): void {
    if (!this.isOpen) return;
    this.#stamp += 1;
    this.handler.received(
      this.connection,
      headers.encode(FrameType.heartbeat, 0, 0, 0, 0, this.#stamp, ageMs),
    );
  }

  says(message: ControlMessage): void {
    const payload = encodeControl(message);
    this.frame(FrameType.control, payload);
  }

  frame(type: FrameType, payload: Uint8Array = new Uint8Array(0)): void {
    this.handler.received(this.connection, headers.encode(type, 0, 0, payload.length, 1, 0, 4096));
    if (payload.length > 0 && this.isOpen) this.handler.received(this.connection, payload);
  }
}

function setUp(chooses: boolean, count = 2) {
  const clock = new VirtualClock();
  const networks = Array.from({ length: count }, () => new Network());
  const events: string[] = [];
  const numberOf = (connection: LinkConnection): number =>
    networks.findIndex((network) => network.connection === connection) + 1;
  const session: LinkSession = new LinkSession(
    networks,
    clock,
    { timers, chooses, instance: mine },
    {
      opened: ({ connection }) => events.push(`opened ${numberOf(connection)}`),
      control: ({ type }) => events.push(type),
      request: ({ type }) => void events.push(`request ${type}`),
      dirtyBits: () => undefined,
      lost: () => events.push('lost'),
      failed: (because) => events.push(`failed ${because}`),
    },
  );
  session.start();
  /** Time passes while the peer beats on some networks, twice as often as it must. */
  const pass = (ms: number, ...beating: readonly number[]): void => {
    for (let leftMs = ms; leftMs > 0; leftMs -= 250) {
      clock.advance(Math.min(250, leftMs));
      for (const number of beating) networks[number - 1]?.beat();
    }
  };
  const choose = (number: number, epoch: number, instance = theirs): void =>
    networks[number - 1]?.says({ type: 'use-path', instance, epoch });
  const [first, second] = networks as [Network, Network];
  const states = () => session.paths.map(({ state }) => state).join(' ');
  return { clock, networks, first, second, events, session, pass, choose, states };
}

describe('link over several networks: the side that chooses', () => {
  it('one network: it is chosen as soon as it opens, before anything else is said', () => {
    const { first, events, session } = setUp(true, 1);
    first.open();
    expect(events).to.deep.equal(['opened 1']);
    session.channel?.control({ type: 'handover' });
    expect(first.connection.said).to.deep.equal([
      'heartbeat',
      { type: 'use-path', instance: mine, epoch: 1 },
      'heartbeat',
      { type: 'handover' },
    ]);
  });

  it('a network that is not the first choice opens first: it waits one heartbeat interval for those before it', () => {
    const { first, second, events, pass } = setUp(true);
    second.open();
    pass(400, 2);
    expect(events).to.deep.equal([]);
    first.open();
    expect(events).to.deep.equal(['opened 1']);
  });

  it('the first choice does not open: the next one is used', () => {
    const { first, second, events, pass, states } = setUp(true);
    first.handler.failed('nobody answers');
    second.open();
    pass(600, 2);
    expect(events).to.deep.equal(['failed network 1: nobody answers', 'opened 2']);
    expect(states()).to.equal('down active');
  });

  it('the network in use closes: the other one is chosen at once, after the loss was told', () => {
    const { clock, first, second, events, pass } = setUp(true);
    first.open();
    second.open();
    pass(1000, 1, 2);
    first.close();
    expect(events).to.deep.equal(['opened 1', 'lost']);
    clock.advance(0);
    expect(events).to.deep.equal(['opened 1', 'lost', 'opened 2']);
    expect(second.connection.said).to.deep.include({ type: 'use-path', instance: mine, epoch: 2 });
  });

  it('the network in use falls silent: after three heartbeats it is closed and the other one chosen', () => {
    const { first, second, events, pass, session } = setUp(true);
    first.open();
    second.open();
    pass(1000, 1, 2);
    pass(1400, 2);
    expect(events).to.deep.equal(['opened 1']);
    pass(300, 2);
    expect(events).to.deep.equal(['opened 1', 'lost', 'opened 2']);
    expect(first.connection.ended).to.contain('silent');
    expect(session.watch.silenceMs).to.be.at.most(500);
  });

  it('a network that comes back is standby, and the one in use stays', () => {
    const { first, second, events, pass, states } = setUp(true);
    first.open();
    second.open();
    pass(1000, 1, 2);
    first.close();
    pass(500, 2);
    first.open();
    pass(60_000, 1, 2);
    expect(events).to.deep.equal(['opened 1', 'lost', 'opened 2']);
    expect(states()).to.equal('standby active');
    second.close();
    pass(100, 1);
    expect(events.slice(3)).to.deep.equal(['lost', 'opened 1']);
  });

  it('every network is silent: none is chosen, and all are closed when the peer counts as lost', () => {
    const { first, second, events, pass, session } = setUp(true);
    first.open();
    second.open();
    pass(1000, 1, 2);
    pass(2900);
    expect([first.isOpen, second.isOpen]).to.deep.equal([true, true]);
    pass(300);
    expect([first.isOpen, second.isOpen]).to.deep.equal([false, false]);
    expect(events).to.deep.equal(['opened 1', 'lost']);
    expect(session.watch.silenceMs).to.equal(3200);
  });

  it('this process was stopped for longer than any silence: nothing is changed', () => {
    const { clock, first, second, events, pass } = setUp(true);
    first.open();
    second.open();
    pass(1000, 1, 2);
    clock.freeze(2500);
    pass(5000, 1, 2);
    expect(events).to.deep.equal(['opened 1']);
    expect([first.isOpen, second.isOpen]).to.deep.equal([true, true]);
  });

  it('heartbeats wait behind much data: bytes count as well', () => {
    const { clock, first, second, events, pass } = setUp(true);
    first.open();
    second.open();
    pass(1000, 1, 2);
    const header = headers.encode(FrameType.write, 0, 0, 32 * 1024, 1, 0, 32 * 1024);
    first.handler.received(first.connection, header);
    for (let turn = 0; turn < 20; turn += 1) {
      clock.advance(500);
      second.beat();
      first.handler.received(first.connection, new Uint8Array(512));
    }
    expect(events).to.deep.equal(['opened 1']);
  });

  it('a network on which the peer does not hear this side is not chosen', () => {
    const { clock, first, second, events, pass, states } = setUp(true);
    first.open();
    second.open();
    pass(1000, 1, 2);
    for (let ageMs = 0; ageMs <= 2000; ageMs += 500) {
      first.beat();
      second.beat(ageMs);
      clock.advance(500);
    }
    first.close();
    clock.advance(100);
    expect(events).to.deep.equal(['opened 1', 'lost']);
    expect(states()).to.equal('down down');
    second.beat();
    clock.advance(100);
    expect(events).to.deep.equal(['opened 1', 'lost', 'opened 2']);
  });

  it('a standby network falls silent: it is closed, to be dialled anew, and the one in use stays', () => {
    const { first, second, events, pass } = setUp(true);
    first.open();
    second.open();
    pass(1000, 1, 2);
    pass(1800, 1);
    expect(second.isOpen).to.equal(false);
    expect(events).to.deep.equal(['opened 1']);
  });

  it('the peer chooses, which is not its to do: that connection ends', () => {
    const { first, second, events, choose } = setUp(true);
    first.open();
    second.open();
    choose(2, 1);
    expect(second.connection.ended).to.contain('not its to make');
    expect(events).to.deep.equal(['opened 1']);
  });

  it('stopped: every connection ends, and one that opens late ends too', () => {
    const { first, second, events, session, clock } = setUp(true);
    first.open();
    second.open();
    session.stop('the operator stopped this module');
    clock.advance(5000);
    expect(events).to.deep.equal(['opened 1', 'lost']);
    second.open();
    clock.advance(5000);
    expect([first.isOpen, second.isOpen]).to.deep.equal([false, false]);
    expect(events).to.deep.equal(['opened 1', 'lost']);
    expect(clock.pendingCount).to.equal(0);
  });
});

describe('link over several networks: the side that is told', () => {
  it('an open connection is nothing yet; it is the link when the peer says so', () => {
    const { first, events, pass, choose, session } = setUp(false);
    first.open();
    pass(2000, 1);
    expect(session.channel).to.equal(undefined);
    choose(1, 1);
    expect(events).to.deep.equal(['opened 1']);
  });

  it('another network is chosen: the one that was in use is closed first, and what it still brings is ignored', () => {
    const { first, second, events, choose } = setUp(false);
    first.open();
    second.open();
    choose(1, 1);
    choose(2, 2);
    expect(events).to.deep.equal(['opened 1', 'lost', 'opened 2']);
    expect(first.connection.ended).to.contain('another network');
    first.frame(FrameType.flush);
    second.frame(FrameType.flush);
    expect(events.slice(3)).to.deep.equal([`request ${FrameType.flush}`]);
  });

  it('an older choice arrives after a newer one: its connection ends, the newer one holds', () => {
    const { first, second, events, choose } = setUp(false);
    first.open();
    second.open();
    choose(2, 2);
    choose(1, 1);
    expect(events).to.deep.equal(['opened 2']);
    expect([first.isOpen, second.isOpen]).to.deep.equal([false, true]);
  });

  it('the peer was restarted and counts anew: its choice holds', () => {
    const { first, second, events, choose } = setUp(false);
    first.open();
    second.open();
    choose(1, 7);
    choose(2, 1, theirsRestarted);
    expect(events).to.deep.equal(['opened 1', 'lost', 'opened 2']);
  });

  it('a newer connection of the network in use: the earlier one is lost, the new one is not in use before it is chosen', () => {
    const { first, events, choose, session } = setUp(false);
    first.open();
    choose(1, 1);
    first.open();
    expect(events).to.deep.equal(['opened 1', 'lost']);
    expect(session.channel).to.equal(undefined);
    choose(1, 2);
    expect(events.slice(2)).to.deep.equal(['opened 1']);
  });

  for (const [what, say] of [
    ['a request', (network: Network) => network.frame(FrameType.flush)],
    ['an answer', (network: Network) => network.frame(FrameType.done)],
    ['a control message', (network: Network) => network.says({ type: 'handover' })],
  ] as const)
    it(`${what} on a network that is not in use ends that connection and reaches nobody`, () => {
      const { first, second, events, choose } = setUp(false);
      first.open();
      second.open();
      choose(1, 1);
      say(second);
      expect(second.connection.ended).to.contain('not in use');
      expect(first.isOpen).to.equal(true);
      expect(events).to.deep.equal(['opened 1']);
    });

  it('the network in use falls silent here alone: it is closed, and the choice is left to the peer', () => {
    const { first, second, events, pass, choose } = setUp(false);
    first.open();
    second.open();
    choose(1, 1);
    pass(1000, 1, 2);
    pass(1700, 2);
    expect(first.isOpen).to.equal(false);
    expect(events).to.deep.equal(['opened 1', 'lost']);
    choose(2, 2);
    expect(events).to.deep.equal(['opened 1', 'lost', 'opened 2']);
  });
});

describe('link over several networks: always', () => {
  const event = fc.oneof(
    fc.tuple(fc.constant('time' as const), fc.nat({ max: 4000 }), fc.nat(1)),
    fc.tuple(fc.constantFrom('open', 'close', 'beat', 'request'), fc.constant(0), fc.nat(2)),
    fc.tuple(fc.constant('choose' as const), fc.integer({ min: 1, max: 6 }), fc.nat(2)),
  );

  for (const chooses of [true, false])
    it(`${chooses ? 'choosing' : 'told'}: losses and openings alternate, and one connection is in use at most once`, () => {
      fc.assert(
        fc.property(fc.array(event, { maxLength: 60 }), (steps) => {
          const { clock, networks, events, session, choose } = setUp(chooses, 3);
          const used = new Set<LinkConnection>();
          let last = session.channel;
          for (const [kind, value, index] of steps) {
            const network = networks[index] as Network;
            if (kind === 'time') clock.advance(value);
            else if (kind === 'open') network.open();
            else if (!network.isOpen) continue;
            else if (kind === 'close') network.close();
            else if (kind === 'beat') network.beat();
            else if (kind === 'choose') choose(index + 1, value);
            else network.frame(FrameType.flush);
            const { channel } = session;
            if (channel !== undefined && channel !== last) {
              expect(used.has(channel.connection)).to.equal(false);
              used.add(channel.connection);
            }
            last = channel;
            expect(channel?.closed ?? false).to.equal(false);
          }
          const turns = events.filter((each) => each === 'lost' || each.startsWith('opened'));
          turns.forEach((each, at) => expect(each === 'lost').to.equal(at % 2 === 1));
          expect(session.channel !== undefined).to.equal(turns.length % 2 === 1);
        }),
      );
    });
});
