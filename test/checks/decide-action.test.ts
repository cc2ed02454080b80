/** The table of what checks lead to, over every combination of what it reads. */
import { expect } from 'chai';
import {
  type ActionSituation,
  actionTable,
  decideAction,
  type FiredRule,
} from '../../src/checks/decide-action.ts';
import type { CheckAction } from '../../src/checks/settings.ts';

const actions: readonly CheckAction[] = ['restart', 'swap', 'stop', 'wait', 'notify'];
const booleans = [false, true];

/** No rule, each rule alone, and each two of them; a swap that helps and one that does not. */
const firedSets: readonly (readonly FiredRule[])[] = (() => {
  const each = actions.flatMap((action): FiredRule[] => {
    const rule = { name: `when-${action}`, action, because: 'check x fails', swapObstacle: undefined };
    return action === 'swap' ? [rule, { ...rule, swapObstacle: 'it fails there too' }] : [rule];
  });
  return [[], ...each.map((rule) => [rule]), ...each.flatMap((one) => each.map((other) => [one, other]))];
})();

function forEachSituation(look: (situation: ActionSituation) => void): void {
  for (const fired of firedSets)
    for (let bits = 0; bits < 2 ** 8; bits += 1) {
      const bit = (index: number): boolean => booleans[(bits >> index) & 1] === true;
      look({
        run: bit(0) ? 'started' : 'stopped',
        waiting: bit(1),
        waitsFor: bit(2) ? 'rule web makes the VM wait' : undefined,
        primary: bit(3),
        busy: bit(4),
        maintenance: bit(5),
        vmEnded: bit(6),
        endedInMaintenance: bit(7),
        fired,
        restarts: 3,
        restartsMax: bits % 3 === 0 ? 3 : 4,
      });
    }
}

describe('what the checks of a module lead to', () => {
  it('every row of the table is reached, and every situation has an answer with its reason', () => {
    const seen = new Set<string>();
    forEachSituation((situation) => {
      const { row, rule, because } = decideAction(situation);
      seen.add(row);
      expect([rule, because]).to.not.include('');
    });
    expect([...seen].sort()).to.deep.equal(actionTable.map(({ row }) => row).sort());
  });

  it('nothing is done to a VM that does not run here, in maintenance, or while an action is under way', () => {
    forEachSituation((situation) => {
      const { action } = decideAction(situation);
      const isCalm = situation.busy || !situation.primary || situation.maintenance;
      if (isCalm) expect(action).to.be.oneOf(['nothing', 'start']);
      if (situation.busy) expect(action).to.equal('nothing');
    });
  });

  it('beyond the limit there is no restart, by whatever rule', () => {
    forEachSituation((situation) => {
      if (situation.restarts < situation.restartsMax) return;
      expect(decideAction(situation).action).to.not.equal('restart');
    });
  });

  it('a swap is asked for only where nothing speaks against it', () => {
    forEachSituation((situation) => {
      const { action, rule } = decideAction(situation);
      if (action !== 'swap') return;
      const speaker = situation.fired.find(({ name, swapObstacle }) => name === rule && !swapObstacle);
      expect(speaker?.action).to.equal('swap');
    });
  });

  it('a node that waits starts only when every check is well, and does nothing else', () => {
    forEachSituation((situation) => {
      if (!situation.waiting || situation.busy) return;
      expect(decideAction(situation).action).to.equal(situation.waitsFor === undefined ? 'start' : 'nothing');
    });
  });

  it('a VM that ended and is to be moved is started here when the peer is no better', () => {
    const { action, because } = decideAction({
      run: 'started',
      waiting: false,
      waitsFor: undefined,
      primary: true,
      busy: false,
      maintenance: false,
      vmEnded: true,
      endedInMaintenance: false,
      fired: [{ name: 'vm', action: 'swap', because: 'it ended', swapObstacle: 'the pair is not in sync' }],
      restarts: 0,
      restartsMax: 3,
    });
    expect(action).to.equal('restart');
    expect(because).to.equal(
      'it ended; it is not moved: the pair is not in sync (restart 1 of 3 in 24 hours)',
    );
  });
});
