/** What a module tells its subscribers: each change once, within 50 ms, and nothing while nobody listens. */
import { expect } from 'chai';
import {
  type ShownState,
  stateEventsIntervalMs,
  tellStateEvents,
} from '../../modules/mirror/state-events.ts';
import type { DatedDecision } from '../../src/cluster/decision-log.ts';
import { VirtualClock } from '../base/virtual-clock.ts';
import { sampleStatus } from './sample-status.ts';

describe('state events of a module', () => {
  let clock: VirtualClock;
  let told: { kind?: string; state?: string; rule?: string }[];
  let shown: ShownState;
  let decisions: DatedDecision[];
  let listens: boolean;
  beforeEach(() => {
    clock = new VirtualClock();
    told = [];
    const { state, readiness, because, axes } = sampleStatus();
    shown = { state, readiness, because, axes };
    decisions = [];
    listens = true;
    tellStateEvents({
      clock,
      hasSubscribers: () => listens,
      publish: (event) => told.push(event),
      shown: () => shown,
      decisions: () => decisions,
    });
    told.length = 0;
  });

  const decide = (rule: string): void => {
    decisions.unshift({ rule, action: 'act', because: 'why', at: '' });
  };

  it('a change is told once, within the interval', () => {
    shown = { ...shown, state: 'ALONE' };
    clock.advance(stateEventsIntervalMs);
    expect(told.map(({ kind, state }) => [kind, state])).to.deep.equal([['state', 'ALONE']]);
    clock.advance(10 * stateEventsIntervalMs);
    expect(told).to.have.length(1);
  });

  it('decisions are told each once, oldest first, before the state that they lead to', () => {
    decide('first');
    decide('second');
    shown = { ...shown, state: 'ALONE' };
    clock.advance(stateEventsIntervalMs);
    decide('third');
    clock.advance(stateEventsIntervalMs);
    expect(told.map(({ rule, state }) => rule ?? state)).to.deep.equal(['first', 'second', 'ALONE', 'third']);
  });

  it('what happened while nobody listened is not told later; the state is', () => {
    listens = false;
    decide('missed');
    shown = { ...shown, state: 'WAIT' };
    clock.advance(stateEventsIntervalMs);
    expect(told).to.deep.equal([]);
    listens = true;
    clock.advance(stateEventsIntervalMs);
    expect(told.map(({ rule, state }) => rule ?? state)).to.deep.equal(['WAIT']);
  });
});
