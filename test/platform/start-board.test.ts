/** The board of starts with real files and locks, all of one process. Several processes: start-board.system.ts. */
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import type { Log } from '../../src/base/log.ts';
import { silentLog } from '../../src/base/log.ts';
import { type ProcessIdentity, readProcessIdentity } from '../../src/platform/process-identity.ts';
import { FileStartBoard } from '../../src/platform/start-board.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { type OrderFacts, StartOrder } from '../../src/starts/start-order.ts';
import { startDefaults } from '../../src/starts/start-settings.ts';
import { notice } from '../starts/notices.ts';
import { useTemporaryDirectory } from './temporary-directory.ts';

const self = readProcessIdentity(process.pid) as ProcessIdentity;

/** Its peer is gone, and it may go on alone. */
const takesOver: OrderFacts = {
  hasVm: true,
  started: true,
  serving: true,
  upToDate: true,
  failover: true,
  connected: false,
  claimOpen: false,
  unheardMs: 6000,
  lostAfterMs: 3000,
  claimAfterMs: 6000,
  vm: 'off',
  peerVmStart: undefined,
};

describe('the board of starts', () => {
  const newPath = useTemporaryDirectory();
  let directory: string;
  const board = (module: string, options: { process?: ProcessIdentity; log?: Log } = {}) =>
    new FileStartBoard({
      directory: path.join(directory, 'starts'),
      module,
      vmStartFile: path.join(directory, `${module}.vm-start.json`),
      log: silentLog,
      ...options,
    });

  beforeEach(() => {
    directory = newPath('node');
    fs.mkdirSync(directory);
  });

  it('a module sees what the others say, not what it says itself', () => {
    const [one, two] = [board('vm1'), board('vm2')];
    one.publish(notice('vm1', { phase: 'ready' }));
    two.publish(notice('vm2', { priority: 7 }));
    expect(one.others()).to.deep.equal([notice('vm2', { priority: 7 })]);
    two.publish(notice('vm2', { priority: 8 }));
    expect(one.others()).to.deep.equal([notice('vm2', { priority: 8 })]);
  });

  it('what a process said that has ended counts for nothing: another with its pid, or one before the boot', () => {
    const ended = [
      { ...self, startTicks: '1' },
      { ...self, hostBoot: '0'.repeat(36) },
    ];
    ended.forEach((process, index) => board(`vm${index}`, { process }).publish(notice(`vm${index}`)));
    expect(board('other').others()).to.deep.equal([]);
  });

  it('files that are damaged, or of somebody else, are passed over', () => {
    const one = board('vm1');
    const file = (name: string, text: string) => fs.writeFileSync(path.join(directory, 'starts', name), text);
    file('vm2.notice.json', '{"process":');
    file('vm3.notice.json', JSON.stringify({ process: self, notice: { version: 2 } }));
    file('vm4.notice.json', JSON.stringify(null));
    file('README', 'no notice');
    expect(one.others()).to.deep.equal([]);
  });

  it('a slot is held by one, named for the others, and free when it is given back', () => {
    const [one, two] = [board('vm1'), board('vm2')];
    const slot = one.takeSlot(1);
    const [state] = two.slots(1);
    expect(state?.taken).to.equal(true);
    expect(state?.holder?.module).to.equal('vm1');
    expect(state?.holder?.sinceMs).to.be.within(two.nowMs() - 5000, two.nowMs());
    expect(two.takeSlot(1)).to.equal(undefined);
    const another = two.takeSlot(2);
    expect(another).to.not.equal(undefined);
    slot?.release();
    slot?.release();
    expect(two.slots(2).map(({ taken }) => taken)).to.deep.equal([false, true]);
    another?.release();
  });

  it('the name of a holder that died with its slot is not taken for the one that has it now', () => {
    const dead = board('vm1', { process: { ...self, startTicks: '1' } });
    const slot = dead.takeSlot(1);
    expect(board('vm2').slots(1)).to.deep.equal([{ taken: true, holder: undefined }]);
    slot?.release();
  });

  it('the last start of a VM is known to the next process of its module; a damaged record is none', () => {
    const record = { id: 'a', startedWith: { db: 'b' } };
    board('vm1').recordVmStart(record);
    expect(board('vm1').vmStart()).to.deep.equal(record);
    fs.writeFileSync(path.join(directory, 'vm1.vm-start.json'), '{"id":');
    expect(board('vm1').vmStart()).to.equal(undefined);
  });

  it('a board that cannot be used keeps no VM from being started, and says once why', () => {
    fs.writeFileSync(path.join(directory, 'starts'), 'a file where the directory should be');
    const said: string[] = [];
    const log = { ...silentLog, warn: (event: string) => void said.push(event) };
    const one = board('vm1', { log });
    one.publish(notice('vm1'));
    expect(one.others()).to.deep.equal([]);
    expect(one.slots(2).map(({ taken }) => taken)).to.deep.equal([false, false]);
    expect(one.takeSlot(2)).to.not.equal(undefined);
    expect(new Set(said)).to.deep.equal(new Set(['start-board-unusable']));
  });

  it('a VM that starts alone waits for its slot less than 50 ms, beside 24 modules with nothing to start', () => {
    for (let index = 0; index < 24; index += 1) board(`idle${index}`).publish(notice(`idle${index}`));
    const order = new StartOrder(
      {
        module: 'vm1',
        settings: startDefaults,
        concurrent: 4,
        needs: undefined,
        newStartId: () => 'start',
      },
      board('vm1'),
      systemClock,
      { facts: () => takesOver, turnCame: () => {}, decided: () => {}, restartVm: () => {} },
    );
    // The best of some: what else the machine does is not measured.
    const tookMs = Array.from({ length: 10 }, () => {
      const beganMs = performance.now();
      expect(order.mayStart()).to.equal(true);
      const endedMs = performance.now();
      order.end();
      return endedMs - beganMs;
    });
    expect(Math.min(...tookMs)).to.be.below(50);
  });
});
