/** What a node with a fence and no record keeper does, over every situation. */
import { expect } from 'chai';
import {
  decideFence,
  type FenceSituation,
  type FenceTimers,
  secondaryFencesAfterMs,
} from '../../src/cluster/decide-fence.ts';

const timers: FenceTimers = { lostAfterMs: 3000, claimAfterMs: 6000, attemptMs: 20_000 };
const booleans = [false, true] as const;
const silencesMs = [0, 2999, 3000, 25_999, 26_000];

function forEachSituation(visit: (situation: FenceSituation) => void): number {
  let count = 0;
  for (const primary of booleans)
    for (const running of booleans)
      for (const forced of booleans)
        for (const sight of ['silent', 'out', 'new'] as const)
          for (const namedHolder of booleans)
            for (const proof of [undefined, 'B is off: its power is off'])
              for (const lastProblem of ['', 'no route to host'])
                for (const silenceMs of silencesMs) {
                  count += 1;
                  visit({
                    node: 'A',
                    peer: 'B',
                    primary,
                    running,
                    forced,
                    sight,
                    namedHolder,
                    proof,
                    lastProblem,
                    silenceMs,
                  });
                }
  return count;
}

/** The rules as conditions, each only where no earlier one applies; written from the rules, not from the code. */
const table: readonly [string, string, (situation: FenceSituation) => boolean][] = [
  [
    'restarted-on-fence-alone',
    'wait',
    ({ running, forced, sight, namedHolder }) => !running && !forced && !(sight === 'new' && namedHolder),
  ],
  ['peer-out', 'claim', ({ sight }) => sight !== 'silent'],
  ['peer-proved-off', 'claim', ({ proof }) => proof !== undefined],
  ['fence-delay', 'wait', ({ forced, primary, silenceMs }) => !forced && primary && silenceMs < 3000],
  ['fence-delay', 'wait', ({ forced, primary, silenceMs }) => !forced && !primary && silenceMs < 26_000],
  ['fence-first', 'fence', () => true],
];

describe('a node whose only arbiter is a fence', () => {
  it('follows the table in every situation', () => {
    const count = forEachSituation((situation) => {
      const { rule, action } = decideFence(situation, timers);
      const row = table.find(([, , applies]) => applies(situation));
      expect([rule, action], JSON.stringify(situation)).to.deep.equal(row?.slice(0, 2));
    });
    expect(count).to.equal(960);
  });

  it('goes on only with proof, or by the word of its peer', () => {
    forEachSituation((situation) => {
      const { action } = decideFence(situation, timers);
      if (action === 'claim')
        expect(situation.sight !== 'silent' || situation.proof !== undefined).to.equal(true);
    });
  });

  it('never goes on by itself after a restart, whatever is proved', () => {
    forEachSituation((situation) => {
      if (situation.running || situation.forced || situation.sight === 'new') return;
      expect(decideFence(situation, timers).action).to.equal('wait');
    });
  });

  it('as secondary switches its peer off only when the first attempt of the primary has ended', () => {
    const primaryEndsMs = timers.lostAfterMs + timers.attemptMs;
    expect(secondaryFencesAfterMs(timers)).to.be.above(primaryEndsMs);
  });

  it('says in every situation why, and what to do when the fence proves nothing', () => {
    forEachSituation((situation) => {
      const { because, rule } = decideFence(situation, timers);
      expect(because).to.match(/^\S.*[^.\s]$/);
      if (rule === 'fence-first' && situation.lastProblem !== '')
        expect(because).to.contain('no route to host').and.to.contain('--peer-is-off B');
    });
  });
});
