/** Who may start its VM now, and what the others wait for. */
import { expect } from 'chai';
import fc from 'fast-check';
import {
  decideTurn,
  slotGraceMs,
  slotHeldMaxMs,
  slotsNeeded,
  turnTable,
  type TurnSituation,
} from '../../src/starts/decide-turn.ts';
import type { StartNotice } from '../../src/starts/start-notice.ts';
import type { SlotState } from '../../src/starts/start-ports.ts';
import { startDefaults, type StartSettings } from '../../src/starts/start-settings.ts';
import { notice } from './notices.ts';

const nowMs = 1_000_000;
const free: SlotState = { taken: false, holder: undefined };
const takenBy = (module: string, sinceMs = nowMs): SlotState => ({
  taken: true,
  holder: { module, sinceMs },
});

/** `vm1`, ready since now, beside others. */
function situation(
  others: readonly StartNotice[],
  changes: Partial<Omit<TurnSituation, 'self' | 'settings'>> & {
    self?: Partial<StartNotice>;
    settings?: Partial<StartSettings>;
  } = {},
): TurnSituation {
  const settings = { ...startDefaults, ...changes.settings };
  const after = settings.after.map(({ module }) => module);
  return {
    others,
    slots: [free],
    concurrent: 1,
    afterRunSinceMs: undefined,
    nowMs,
    ...changes,
    settings,
    self: notice('vm1', {
      phase: 'ready',
      sinceMs: nowMs,
      priority: settings.priority,
      after,
      ...changes.self,
    }),
  };
}

const rule = (given: TurnSituation): string => decideTurn(given).rule;
const ready = (module: string, changes: Partial<StartNotice> = {}) =>
  notice(module, { phase: 'ready', sinceMs: nowMs, ...changes });
const after = (module: string, required = false) => [{ module, required }];

describe('the turn of a VM', () => {
  it('comes at once when nothing else starts', () => {
    expect(decideTurn(situation([])).action).to.equal('take-slot');
    expect(rule(situation([notice('vm2'), notice('vm3', { vm: 'here' })]))).to.equal('start-turn');
  });

  it('every rule of the table has a name of its own', () => {
    expect(new Set(turnTable.map((row) => row.rule)).size).to.equal(turnTable.length);
  });

  it('a higher priority goes first, a lower one does not', () => {
    expect(rule(situation([ready('vm2', { priority: 51 })]))).to.equal('higher-priority');
    expect(rule(situation([ready('vm2', { priority: 49 })]))).to.equal('start-turn');
  });

  it('of one priority, who came first goes first; of those that came together, the first by name', () => {
    expect(rule(situation([ready('vm2', { sinceMs: nowMs - 1 })]))).to.equal('higher-priority');
    expect(rule(situation([ready('vm2', { sinceMs: nowMs + 1 })]))).to.equal('start-turn');
    expect(rule(situation([ready('vm0')]))).to.equal('higher-priority');
    expect(rule(situation([ready('vm2')]))).to.equal('start-turn');
  });

  it('as many go as there are slots, without waiting for each other', () => {
    const others = [ready('vm2', { priority: 90 }), ready('vm3', { priority: 80 })];
    expect(rule(situation(others, { concurrent: 3, slots: [free, free, free] }))).to.equal('start-turn');
    expect(rule(situation(others, { concurrent: 2, slots: [free, free] }))).to.equal('higher-priority');
    expect(rule(situation(others, { concurrent: 3, slots: [takenBy('x'), free, free] }))).to.equal(
      'higher-priority',
    );
  });

  it('all slots are taken: it waits and names who starts', () => {
    const { action, because } = decideTurn(situation([], { slots: [takenBy('vm7')] }));
    expect(action).to.equal('wait');
    expect(because).to.equal('at most 1 of the VMs of this node start at the same time; now vm7');
  });

  it('a holder that does not give its slot back for long is not counted, and one slot more is looked at', () => {
    const stuck = takenBy('vm7', nowMs - slotHeldMaxMs - slotGraceMs - 1);
    expect(slotsNeeded([stuck], 1, nowMs)).to.equal(2);
    expect(rule(situation([], { slots: [stuck, free] }))).to.equal('start-turn');
    expect(rule(situation([], { slots: [stuck, takenBy('vm8')] }))).to.equal('slots-taken');
    const fresh = takenBy('vm7', nowMs - slotHeldMaxMs);
    expect(slotsNeeded([fresh], 1, nowMs)).to.equal(1);
    expect(slotsNeeded([{ taken: true, holder: undefined }], 1, nowMs)).to.equal(1);
  });

  it('one that is expected soon goes first by a higher priority only, and until its time is over', () => {
    const expected = (changes: Partial<StartNotice>) =>
      rule(situation([notice('vm0', { phase: 'expected', expectedByMs: nowMs + 1, ...changes })]));
    expect(expected({ priority: 60 })).to.equal('higher-priority');
    expect(expected({ priority: 50 })).to.equal('start-turn');
    expect(expected({ priority: 60, expectedByMs: nowMs })).to.equal('start-turn');
  });

  it('one whose VM did not come up goes behind those that had no turn', () => {
    const self = { failedTurns: 1 };
    expect(rule(situation([ready('vm2', { priority: 1 })], { self }))).to.equal('higher-priority');
    expect(rule(situation([ready('vm2', { priority: 90, failedTurns: 1 })]))).to.equal('start-turn');
  });

  describe('after another VM', () => {
    const settings = { after: after('db') };

    it('waits until that one runs, here or at the peer', () => {
      expect(rule(situation([notice('db')], { settings }))).to.equal('dependency-not-running');
      expect(rule(situation([notice('db', { phase: 'starting' })], { settings }))).to.equal(
        'dependency-not-running',
      );
      expect(rule(situation([notice('db', { vm: 'here' })], { settings }))).to.equal('start-turn');
      expect(rule(situation([notice('db', { vm: 'at-peer' })], { settings }))).to.equal('start-turn');
    });

    it('a name that no module answers to is said, and waited for until the deadline', () => {
      const { because } = decideTurn(situation([], { settings }));
      expect(because).to.equal(
        'the VM starts after db (no module of this node answers to that name), which does not run',
      );
      const sinceMs = nowMs - startDefaults.deadlineMs;
      expect(rule(situation([], { settings, self: { sinceMs } }))).to.equal('start-deadline');
    });

    it('the deadline ends the wait, but not for what is required', () => {
      const sinceMs = nowMs - startDefaults.deadlineMs;
      const { rule: name, because } = decideTurn(situation([notice('db')], { settings, self: { sinceMs } }));
      expect(name).to.equal('start-deadline');
      expect(because).to.equal('the VM has waited 120 s, its deadline, for db and waits no longer');
      const required = { after: after('db', true) };
      expect(rule(situation([notice('db')], { settings: required, self: { sinceMs } }))).to.equal(
        'required-not-running',
      );
    });

    it('the deadline ends the wait for higher priorities, and a slot is still waited for', () => {
      const sinceMs = nowMs - startDefaults.deadlineMs;
      const others = [ready('vm2', { priority: 99 })];
      expect(rule(situation(others, { self: { sinceMs } }))).to.equal('start-deadline');
      expect(rule(situation(others, { self: { sinceMs }, slots: [takenBy('vm3')] }))).to.equal('slots-taken');
    });

    it('starts its delay later', () => {
      const delayed = { ...settings, delayMs: 5000 };
      const others = [notice('db', { vm: 'here' })];
      const since = (afterRunSinceMs: number) =>
        rule(situation(others, { settings: delayed, afterRunSinceMs }));
      expect(since(nowMs)).to.equal('start-delay');
      expect(since(nowMs - 4999)).to.equal('start-delay');
      expect(since(nowMs - 5000)).to.equal('start-turn');
    });

    it('gives no way to a higher priority that waits itself', () => {
      const waiting = notice('vm2', { priority: 99, phase: 'waiting', after: ['vm1'], sinceMs: nowMs });
      expect(rule(situation([waiting]))).to.equal('start-turn');
    });

    it('counts as high as the highest that waits for it, also through others', () => {
      const others = [
        notice('app', { priority: 90, phase: 'waiting', after: ['cache'] }),
        notice('cache', { priority: 10, phase: 'waiting', after: ['vm1'] }),
        ready('other', { priority: 60, sinceMs: nowMs - 1 }),
      ];
      expect(rule(situation(others))).to.equal('start-turn');
      expect(rule(situation(others.slice(1)))).to.equal('higher-priority');
    });
  });

  describe('of VMs that are to start after each other', () => {
    const ring = (names: readonly string[], changes: Partial<StartNotice> = {}) =>
      names.map((name, index) =>
        notice(name, {
          phase: 'waiting',
          after: [names[(index + 1) % names.length] as string],
          sinceMs: nowMs,
          ...changes,
        }),
      );

    it('the highest by priority, then the first by name, goes ahead; the others wait for it', () => {
      const [, vm2, vm3] = ring(['vm1', 'vm2', 'vm3']);
      const settings = { after: after('vm2', true) };
      const others = [vm2 as StartNotice, vm3 as StartNotice];
      const decision = decideTurn(situation(others, { settings }));
      expect(decision.rule).to.equal('start-cycle');
      expect(decision.because).to.contain('vm1, vm2, vm3 are to start after each other');
      expect(
        rule(situation([{ ...(vm2 as StartNotice), priority: 60 }, vm3 as StartNotice], { settings })),
      ).to.equal('required-not-running');
    });

    it('nobody is skipped that does not wait: it may still come', () => {
      const settings = { after: after('vm2') };
      const idle = notice('vm2', { after: ['vm1'] });
      expect(rule(situation([idle], { settings }))).to.equal('dependency-not-running');
    });

    it('whatever the dependencies of a set of VMs, one that waits can always go, or waits for one that is not to start', () => {
      const names = ['a', 'b', 'c', 'd', 'e'];
      const someNames = fc.uniqueArray(fc.constantFrom(...names), { maxLength: 4 });
      const oneVm = fc.record({
        after: someNames,
        priority: fc.constantFrom(10, 50),
        running: fc.boolean(),
        required: fc.boolean(),
      });
      fc.assert(
        fc.property(fc.array(oneVm, { minLength: 5, maxLength: 5 }), (vms) => {
          const all = vms.map((vm, index) =>
            notice(names[index] as string, {
              after: vm.after.filter((name) => name !== names[index]),
              priority: vm.priority,
              sinceMs: nowMs,
              ...(vm.running ? { vm: 'here' as const } : { phase: 'waiting' as const }),
            }),
          );
          const waiting = all.filter(({ phase }) => phase === 'waiting');
          if (waiting.length === 0) return;
          const canGo = waiting.filter((self) => {
            const required = vms[names.indexOf(self.module)]?.required === true;
            return (
              decideTurn({
                self,
                settings: {
                  ...startDefaults,
                  priority: self.priority,
                  after: self.after.map((module) => ({ module, required })),
                },
                others: all.filter((each) => each !== self),
                slots: [free],
                concurrent: 1,
                afterRunSinceMs: undefined,
                nowMs,
              }).action === 'take-slot'
            );
          });
          expect(canGo).to.not.deep.equal([]);
        }),
        { numRuns: 500 },
      );
    });
  });
});
