/** What a node does while it cannot hear its peer, over every situation. What the arbiter answers is not decided here. */
import { expect } from 'chai';
import {
  type AloneSituation,
  aloneTable,
  decideAlone,
  type PeerSight,
} from '../../src/cluster/decide-alone.ts';
import { forEachSituation, timers } from './alone-universe.ts';

type Rule = (situation: AloneSituation, decision: ReturnType<typeof decideAlone>) => boolean;

/** All rules in one pass over all situations; names those that are broken, with the first situation. */
function expectAll(rules: Readonly<Record<string, Rule>>): void {
  const broken = new Map<string, string>();
  const count = forEachSituation((situation) => {
    const decision = decideAlone(situation, timers);
    for (const [name, rule] of Object.entries(rules)) {
      if (!rule(situation, decision) && !broken.has(name))
        broken.set(name, JSON.stringify({ situation, decision }));
    }
  });
  expect(count).to.be.above(100_000);
  expect([...broken]).to.deep.equal([]);
}

const asksNothing = ({ action }: ReturnType<typeof decideAlone>): boolean =>
  action === 'nothing' || action === 'wait';

const isSilent = (peer: PeerSight): boolean => peer === 'silent' || peer === 'answers';

/** The table as conditions, each row only where no earlier one applies; written from the rules, not from the code. */
const table: readonly [string, string, (situation: AloneSituation) => boolean][] = [
  ['stopped', 'nothing', ({ started }) => !started],
  ['already-alone', 'nothing', ({ alone }) => alone],
  ['operation-open', 'wait', ({ operationOpen }) => operationOpen],
  ['connected', 'nothing', ({ peer }) => peer === 'answers'],
  ['not-up-to-date', 'wait', ({ data }) => data !== 'up-to-date'],
  ['disk-in-doubt', 'wait', ({ doubt }) => doubt !== 'none'],
  ['may-not-claim', 'wait', ({ mayNotClaim, forced }) => mayNotClaim !== undefined && !forced],
  [
    'alone-before-restart',
    'claim',
    ({ primary, namedHolder, arbiter }) => primary && namedHolder && arbiter === 'record',
  ],
  ['peer-silent', 'wait', ({ primary, peer, silenceMs }) => primary && isSilent(peer) && silenceMs < 3000],
  [
    'primary-without-arbiter',
    'go-on-without-arbiter',
    ({ primary, arbiter }) => primary && arbiter !== 'record',
  ],
  ['primary-lost-peer', 'claim', ({ primary }) => primary],
  ['failover-off', 'wait', ({ failover, forced }) => !failover && !forced],
  [
    'holder-without-arbiter',
    'go-on-without-arbiter',
    ({ arbiter, namedHolder, peer }) => arbiter === 'none' && namedHolder && peer === 'new',
  ],
  ['secondary-without-arbiter', 'wait', ({ arbiter, forced }) => arbiter === 'none' && !forced],
  ['claim-delay', 'wait', ({ peer, silenceMs }) => isSilent(peer) && silenceMs < 6000],
  [
    'claim-delay',
    'wait',
    ({ rebooted, peer, silenceMs }) => rebooted && isSilent(peer) && silenceMs < 12_000,
  ],
  [
    'claim-delay',
    'wait',
    ({ rebooted, preferred, peer, silenceMs }) =>
      rebooted && !preferred && isSilent(peer) && silenceMs < 18_000,
  ],
  ['prim', 'claim', ({ forced }) => forced],
  ['split-brain-allowed', 'go-on-without-arbiter', ({ arbiter }) => arbiter === 'split-brain-allowed'],
  ['secondary-lost-peer', 'claim', () => true],
];

describe('alone table', () => {
  it('is safe in every situation', () => {
    expectAll({
      'a copy that is not up to date asks for nothing': ({ data }, decision) =>
        data === 'up-to-date' || asksNothing(decision),
      'a node whose peer answers, and holds something, asks for nothing': ({ peer }, decision) =>
        peer !== 'answers' || asksNothing(decision),
      'a disk in doubt asks for nothing, not even when the operator says so': ({ doubt }, decision) =>
        doubt === 'none' || asksNothing(decision),
      'a stopped node does nothing': ({ started }, { action }) => started || action === 'nothing',
      'one operation at a time': ({ operationOpen }, decision) => !operationOpen || asksNothing(decision),
      'only a primary goes on without an arbiter, or the one that was alone and meets an empty peer, and only when there is none':
        ({ primary, arbiter, namedHolder, peer }, { action }) =>
          action !== 'go-on-without-arbiter' ||
          arbiter === 'split-brain-allowed' ||
          (arbiter === 'none' && (primary || (namedHolder && peer === 'new'))),
      'nobody but a restarted holder asks before the peer is lost or out, not even when the operator says so':
        ({ silenceMs, peer, primary, namedHolder }, decision) =>
          !isSilent(peer) ||
          (primary && namedHolder) ||
          silenceMs >= timers.lostAfterMs ||
          asksNothing(decision),
      'a secondary asks later than a primary pauses its VM, unless no VM runs there': (
        { primary, peer, silenceMs },
        decision,
      ) => primary || !isSilent(peer) || silenceMs > timers.pauseAfterMs || asksNothing(decision),
      'a secondary that may not fail over waits for its operator': (
        { primary, failover, forced },
        decision,
      ) => primary || failover || forced || asksNothing(decision),
    });
  });

  it('follows the table', () => {
    expectAll({
      'the row that applies first': (situation, { rule, action }) => {
        const row = table.find(([, , applies]) => applies(situation));
        return row?.[0] === rule && row[1] === action;
      },
    });
  });

  it('every row decides some situations, and the rows have different names', () => {
    const deciding = new Set<string>();
    forEachSituation((situation) => deciding.add(decideAlone(situation, timers).rule));
    expect([...deciding].sort()).to.deep.equal(aloneTable.map(({ rule }) => rule).sort());
  });

  it('every decision has a sentence for people, without a full stop', () => {
    const sentences = new Set<string>();
    forEachSituation((situation) => sentences.add(decideAlone(situation, timers).because));
    for (const sentence of sentences) expect(sentence).to.match(/^\S.*[^.\s]$/);
  });
});
