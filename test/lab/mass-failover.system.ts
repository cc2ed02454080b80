/**
 * A node with many VMs loses power: the other one starts them all in order, by the word of its module processes alone. Real modules,
 * simulated guests. How many slots are in use is read from the kernel's locks, from outside of the modules.
 *
 * Not verified here: how long a real VM takes to start, and what 25 of them do to the disks of the host.
 */
import { join } from 'node:path';
import { expect } from 'chai';
import { silentLog } from '../../src/base/log.ts';
import { startsDirectory } from '../../src/config/runtime-paths.ts';
import { FileStartBoard } from '../../src/platform/start-board.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';
import { ManyPairs } from './many-pairs.ts';

const pairs = 25;
const concurrent = 4;
const allRunDeadlineMs = 120_000;

/** When a module was told that its VM is to run, when it took its slot, and when the VM's process was there; time of day, ms. */
interface StartTimes {
  readonly module: string;
  readonly wantedMs: number;
  readonly turnMs: number;
  readonly processMs: number;
}

function startTimes(many: ManyPairs, module: string): StartTimes {
  const log = many.log('B', module);
  const at = (line: Record<string, unknown> | undefined): number => Date.parse(String(line?.['time']));
  const wanted = log.findIndex((line) => line['event'] === 'vm-wish' && line['wish'] === 'running');
  const since = log.slice(wanted);
  const turn = since.find((line) => line['event'] === 'decision' && line['action'] === 'start the VM');
  return {
    module,
    wantedMs: at(log[wanted]),
    turnMs: at(turn ?? log[wanted]),
    processMs: at(since.find((line) => line['event'] === 'vm-process-started')),
  };
}

describe('a node with many VMs loses power', function () {
  this.timeout(600_000);
  let directory: TempDirectory;
  let many: ManyPairs;

  before(async () => {
    directory = makeTempDirectory('in-memory');
    // The highest priority last, so that the order of files and names is not what is seen.
    const wishes = Array.from({ length: pairs }, (_none, index) => ({
      module: `vm${index + 1}`,
      start: { priority: 4 * index },
    }));
    many = await ManyPairs.create(join(directory.path, 'lab'), wishes, { concurrent });
    await many.start();
  });

  after(async () => {
    await many.lab.stop();
    directory.remove();
  });

  it(`E6: ${pairs} VMs start on the other node, the highest priority first, at most ${concurrent} at the same time`, async function () {
    const { runtimeDir } = many.lab.nodes.B;
    const board = new FileStartBoard({
      directory: startsDirectory(runtimeDir),
      module: 'test',
      vmStartFile: join(runtimeDir, 'test.vm-start.json'),
      log: silentLog,
    });
    let slotsTakenMax = 0;
    const lostAtMs = performance.now();
    await many.lab.powerOff('A');
    await until(
      'every VM runs on B',
      () => {
        const taken = board.slots(pairs).filter((slot) => slot.taken);
        slotsTakenMax = Math.max(slotsTakenMax, taken.length);
        return board.others().filter(({ vm }) => vm === 'here').length === pairs;
      },
      allRunDeadlineMs,
    );
    const seconds = ((performance.now() - lostAtMs) / 1000).toFixed(1);
    if (this.test !== undefined) this.test.title += ` (${seconds} s from the power-off to the last)`;

    expect(slotsTakenMax).to.equal(concurrent);
    const starts = many.modules.map((module) => startTimes(many, module));
    starts.forEach((start, index) => {
      // Those above that were to start as well when this one took its slot, and started after it.
      const overtaken = starts
        .slice(index + 1)
        .filter(({ wantedMs, processMs }) => wantedMs < start.turnMs && processMs > start.processMs);
      const names = overtaken.map(({ module }) => module).join(', ');
      expect(overtaken.length, `${start.module} overtook ${names}`).to.be.below(concurrent);
    });
  });
});
