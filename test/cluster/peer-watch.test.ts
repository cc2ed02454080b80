/** Silence of the peer over several networks, in virtual time. One network: path-watch.test.ts. */
import { expect } from 'chai';
import fc from 'fast-check';
import { PathWatch } from '../../src/cluster/path-watch.ts';
import { PeerWatch } from '../../src/cluster/peer-watch.ts';
import { VirtualClock } from '../base/virtual-clock.ts';

const networksMax = 4;

function setUp(count = 2) {
  const clock = new VirtualClock();
  const paths = Array.from({ length: count }, () => new PathWatch(clock)) as [PathWatch, PathWatch];
  return { clock, paths, watch: new PeerWatch(clock, paths) };
}

describe('watch of the peer over several networks', () => {
  it('one network is silent: the peer is not', () => {
    const { clock, paths, watch } = setUp();
    clock.advance(5000);
    paths[1].observeHeartbeat(0, 1, clock.nowMs() - 100);
    expect([watch.silenceMs, watch.unheardMs, watch.doubtMs]).to.deep.equal([0, 0, 100]);
  });

  it('each network works in one direction only: there is none left on which both hear each other', () => {
    const { clock, paths, watch } = setUp();
    for (let ageMs = 0; ageMs <= 4000; ageMs += 500) {
      // This node hears on the first; the second, on which it is heard, brings nothing.
      paths[0].observeHeartbeat(ageMs, 1, 0);
      clock.advance(500);
    }
    expect(watch.silenceMs).to.equal(4500);
    expect(watch.unheardMs).to.equal(500);
  });

  it('the link changes its network: how long it has been there counts anew, the silence does not', () => {
    const { clock, paths, watch } = setUp();
    clock.advance(2000);
    watch.connected(paths[1]);
    clock.advance(300);
    expect([watch.connectedMs, watch.silenceMs]).to.deep.equal([300, 2300]);
  });

  it('whatever network each heartbeat takes or is lost on: doubt here is never shorter than the peer has not heard this node', () => {
    const network = fc.nat(networksMax - 1);
    const event = fc.oneof(
      fc.tuple(fc.constant('time' as const), fc.nat({ max: 3000 }), network),
      fc.tuple(fc.constantFrom('from-primary', 'from-secondary', 'new-connection'), fc.constant(0), network),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 80 }), (events) => {
        const clock = new VirtualClock();
        const pathsOf = () => Array.from({ length: networksMax }, () => new PathWatch(clock));
        const [primary, secondary] = [pathsOf(), pathsOf()];
        const [doubts, misses] = [new PeerWatch(clock, primary), new PeerWatch(clock, secondary)];
        const beat = (from: PathWatch, to: PathWatch): void =>
          to.observeHeartbeat(from.unheardMs, from.stamps.own, from.stamps.returned);
        for (const [kind, ms, index] of events) {
          const [own, peer] = [primary[index], secondary[index]] as [PathWatch, PathWatch];
          if (kind === 'time') clock.advance(ms);
          else if (kind === 'from-primary') beat(own, peer);
          else if (kind === 'from-secondary') beat(peer, own);
          else for (const end of [own, peer]) end.opened();
          expect(doubts.doubtMs).to.be.at.least(misses.unheardMs);
        }
      }),
    );
  });
});
