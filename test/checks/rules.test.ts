/** Which rules hold, what a VM waits for, and when the peer counts as healthier. */
import { expect } from 'chai';
import type { CheckState } from '../../src/checks/check-watch.ts';
import { type ChecksMessage, healthObstacle, PeerWord, peerWordValidMs } from '../../src/checks/peer-word.ts';
import { decideRuleState, firedRules, startObstacle } from '../../src/checks/rule-state.ts';
import type { RuleSettings } from '../../src/checks/settings.ts';
import { PeerChannel } from '../../src/engine/peer-channel.ts';
import { VirtualClock } from '../base/virtual-clock.ts';

const states: readonly CheckState[] = ['unknown', 'well', 'failing', 'idle'];

function rule(kind: 'all' | 'any', action: RuleSettings['action'] = 'restart'): RuleSettings {
  return { name: 'both', when: { kind, checks: ['a', 'b'] }, action };
}

const stateOf = (a: CheckState, b: CheckState) => (name: string) => ({
  state: name === 'a' ? a : b,
  because: `${name} said so`,
});

describe('a rule over two checks', () => {
  it('holds and is undecided exactly as all and any say, for all states', () => {
    for (const a of states)
      for (const b of states) {
        const pair = [a, b];
        const fails = pair.filter((state) => state === 'failing').length;
        const open = pair.filter((state) => state === 'unknown').length;
        const all = fails === 2 ? 'holds' : fails + open === 2 ? 'undecided' : 'does-not-hold';
        const any = fails > 0 ? 'holds' : open > 0 ? 'undecided' : 'does-not-hold';
        expect(decideRuleState(rule('all'), stateOf(a, b)), `all ${a} ${b}`).to.equal(all);
        expect(decideRuleState(rule('any'), stateOf(a, b)), `any ${a} ${b}`).to.equal(any);
      }
  });

  it('says which of its checks fail and what they found', () => {
    const [holding] = firedRules([rule('any')], stateOf('well', 'failing'));
    expect(holding?.because).to.equal('check b fails: b said so');
  });

  it('keeps the VM from starting while it makes the node wait, and until its checks have answered', () => {
    const wait = [rule('any', 'wait')];
    expect(startObstacle(wait, stateOf('well', 'failing'))).to.include('check b fails');
    expect(startObstacle(wait, stateOf('well', 'unknown'))).to.include('until its checks have answered');
    expect(startObstacle(wait, stateOf('well', 'well'))).to.equal(undefined);
    expect(startObstacle([rule('any')], stateOf('failing', 'failing'))).to.equal(undefined);
  });
});

describe('the word to the peer', () => {
  const message: ChecksMessage = {
    type: 'checks',
    well: [],
    failing: [],
    restarts: { epoch: 0, agesMs: [] },
    maintenance: { sequence: 0, leftMs: 0 },
  };
  const channels = () => {
    const sent: string[] = [];
    const connection = {
      peer: 'B',
      send: (_header: Uint8Array, [payload]: readonly Uint8Array[]) =>
        void sent.push(new TextDecoder().decode(payload)),
      queuedBytes: () => 0,
      destroy: () => {},
    };
    return { sent, channel: new PeerChannel(connection) };
  };

  it('an older peer, which does not know the message, is told nothing; nor is one that has not said what it knows', () => {
    const { sent, channel } = channels();
    const word = new PeerWord(new VirtualClock());
    word.tell(channel, [1], 'news', () => message);
    word.tell(channel, undefined, 'news', () => message);
    expect(sent).to.deep.equal([]);
    word.tell(channel, [2, 1], 'news', () => message);
    expect(sent.map((text) => JSON.parse(text) as unknown)).to.deep.equal([message]);
  });

  it('news are told at once, the same again after a while, and on every new connection', () => {
    const clock = new VirtualClock();
    const { sent, channel } = channels();
    const word = new PeerWord(clock);
    const tell = (news: string, on = channel): number => {
      word.tell(on, [2], news, () => message);
      return sent.length;
    };
    expect([tell('one'), tell('one'), tell('two')]).to.deep.equal([1, 1, 2]);
    clock.advance(10_000);
    expect(tell('two')).to.equal(3);
    const other = channels();
    tell('two', other.channel);
    expect(other.sent.length).to.equal(1);
  });

  it('what was heard counts on its connection only, and not for ever', () => {
    const clock = new VirtualClock();
    const { channel } = channels();
    const word = new PeerWord(clock);
    word.observe(message, channel);
    expect(word.current(channel)).to.equal(message);
    expect(word.current(channels().channel)).to.equal(undefined);
    clock.advance(peerWordValidMs + 1);
    expect(word.current(channel)).to.equal(undefined);
  });
});

describe('whether the peer is healthier', () => {
  const word = (well: string[], failing: string[]): ChecksMessage => ({
    type: 'checks',
    well,
    failing,
    restarts: { epoch: 0, agesMs: [] },
    maintenance: { sequence: 0, leftMs: 0 },
  });

  it('it is when what fails here is well there', () => {
    expect(healthObstacle(['lan'], ['lan'], word(['lan'], []))).to.equal(undefined);
  });
  it('it is not when the same fails there, or has not answered there', () => {
    expect(healthObstacle(['lan'], ['lan'], word([], ['lan']))).to.equal('lan fails on the peer as well');
    expect(healthObstacle(['lan'], ['lan'], word([], []))).to.include('does not know yet');
  });
  it('it is not when something else fails there alone; it may when that fails here too', () => {
    expect(healthObstacle(['lan'], ['lan'], word(['lan'], ['room']))).to.equal('room fails on the peer');
    expect(healthObstacle(['lan'], ['lan', 'room'], word(['lan'], ['room']))).to.equal(undefined);
  });
  it('a peer that says nothing is not, unless the rule is about the VM alone', () => {
    expect(healthObstacle(['lan'], ['lan'], undefined)).to.include('does not say');
    expect(healthObstacle([], [], undefined)).to.equal(undefined);
  });
});
