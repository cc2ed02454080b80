/**
 * A process that stands for a module in start-board.system.ts: real board, real clock, and a VM that is a word of the test. Told by
 * messages what happens; tells when it starts its VM. Ends with its parent.
 */
import path from 'node:path';
import { silentLog } from '../../src/base/log.ts';
import { FileStartBoard } from '../../src/platform/start-board.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { StartOrder } from '../../src/starts/start-order.ts';
import { startDefaults } from '../../src/starts/start-settings.ts';

const [directory = '', module = '', priority = '50'] = process.argv.slice(2);
let serving = false;
let runs = false;

const order = new StartOrder(
  {
    module,
    settings: { ...startDefaults, priority: Number(priority) },
    concurrent: 1,
    needs: undefined,
    newStartId: () => 'start',
  },
  new FileStartBoard({
    directory: path.join(directory, 'starts'),
    module,
    vmStartFile: path.join(directory, `${module}.vm-start.json`),
    log: silentLog,
  }),
  systemClock,
  {
    facts: () => ({
      hasVm: true,
      started: true,
      serving,
      upToDate: true,
      failover: true,
      connected: true,
      claimOpen: false,
      unheardMs: 0,
      lostAfterMs: 3000,
      claimAfterMs: 6000,
      vm: runs ? 'here' : 'off',
      peerVmStart: undefined,
    }),
    turnCame: () => process.send?.('starts'),
    decided: (rule) => process.send?.(rule),
    restartVm: () => {},
  },
);

const told: Readonly<Record<string, () => void>> = {
  want: () => {
    serving = true;
    if (order.mayStart()) process.send?.('starts');
    process.send?.('wanted');
  },
  runs: () => {
    runs = true;
    order.end();
  },
};
process.on('message', (word: string) => told[word]?.());
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
