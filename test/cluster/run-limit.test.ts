/** The limit that a module gives its VM. That the supervisor keeps to it is tested with module-watch, and in the simulation. */
import { expect } from 'chai';
import { decideRunLimitMs, type RunSituation } from '../../src/cluster/run-limit.ts';
import { timerProfiles } from '../../src/config/timers.ts';

const timers = timerProfiles.default;

function limit(situation: Partial<RunSituation> = {}): number | undefined {
  const inSync: RunSituation = {
    vm: 'running',
    wish: 'running',
    alone: false,
    mayWrite: true,
    doubtMs: 300,
    connectedMs: 60_000,
  };
  return decideRunLimitMs({ ...inSync, ...situation }, timers);
}

describe('how long a VM may run without a word of its module', () => {
  it('in sync: until the time at which a module that lost its peer pauses it', () => {
    expect(limit()).to.equal(timers.pauseAfterMs - 300);
    expect(limit({ wish: 'stopped-gracefully', vm: 'stopping' })).to.equal(timers.pauseAfterMs - 300);
  });

  it('the link has been silent for a while: only what is left, and nothing afterwards', () => {
    expect(limit({ mayWrite: false, doubtMs: 4400 })).to.equal(600);
    expect(limit({ mayWrite: false, doubtMs: 9000 })).to.equal(0);
  });

  it('alone by the record: no limit, however long the peer is gone', () => {
    expect(limit({ alone: true, doubtMs: 1e6 })).to.equal(undefined);
  });

  it('just connected again: the doubt of before does not pause a guest that may write', () => {
    expect(limit({ doubtMs: 9000, connectedMs: 200 })).to.equal(timers.lostAfterMs - 200);
    expect(limit({ doubtMs: 9000, connectedMs: 200, mayWrite: false })).to.equal(0);
  });

  it('the module wants it paused or gone, and it still runs: not at all', () => {
    for (const wish of ['paused', 'destroyed', 'as-is'] as const) {
      for (const vm of ['running', 'starting', 'stopping', 'unknown'] as const)
        expect(limit({ wish, vm, alone: true }), `${wish} ${vm}`).to.equal(0);
      for (const vm of ['paused', 'stopped', 'none'] as const)
        expect(limit({ wish, vm }), `${wish} ${vm}`).to.equal(undefined);
    }
  });

  it('a VM that is being started or resumed is limited like one that runs', () => {
    for (const vm of ['starting', 'stopped', 'paused', 'unknown'] as const)
      expect(limit({ vm }), vm).to.equal(timers.pauseAfterMs - 300);
  });

  it('the limit ends before the peer claims, in every profile, whatever the link did', () => {
    for (const profile of Object.values(timerProfiles)) {
      for (let doubtMs = 0; doubtMs < 2 * profile.claimAfterMs; doubtMs += 50) {
        const held = {
          vm: 'running',
          wish: 'running',
          alone: false,
          mayWrite: false,
          connectedMs: 0,
        } as const;
        const leftMs = decideRunLimitMs({ ...held, doubtMs }, profile) as number;
        if (leftMs > 0) expect(doubtMs + leftMs).to.be.at.most(profile.pauseAfterMs);
      }
    }
  });
});
