/** VMs that depend on each other, and a node that is too small: what real modules do and say. The guests are simulated. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { vmFiles } from '../../hypervisors/qemu/qemu-hypervisor.ts';
import { findVmProcess } from '../../hypervisors/vm-process.ts';
import { silentLog } from '../../src/base/log.ts';
import type { LabNode } from '../../src/lab/lab-layout.ts';
import { modulePaths, startsDirectory } from '../../src/config/runtime-paths.ts';
import { FileStartBoard } from '../../src/platform/start-board.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';
import { ManyPairs } from './many-pairs.ts';

const waitMs = 60_000;

describe('VMs of one node', function () {
  this.timeout(300_000);
  let directory: TempDirectory;
  let many: ManyPairs;

  const vm = (node: LabNode, module: string) =>
    findVmProcess(vmFiles({ module, runtimeDirectory: many.lab.nodes[node].runtimeDir }));
  const rules = async (node: LabNode, module: string): Promise<readonly string[]> =>
    (await many.status(node, module)).decisions.map(({ rule }) => rule);
  const runsOn = (node: LabNode, module: string) =>
    until(
      `${module} runs on ${node}`,
      async () => (await many.status(node, module)).axes.vm === 'running',
      waitMs,
    );

  before(async () => {
    directory = makeTempDirectory('in-memory');
    const wishes = [
      { module: 'app', start: { priority: 90, after: ['db'], restartWith: true } },
      { module: 'db', start: { priority: 10 } },
      { module: 'big', vm: { memory: '4TiB' } },
    ];
    many = await ManyPairs.create(join(directory.path, 'lab'), wishes, { concurrent: 2 });
    await many.start();
  });

  after(async () => {
    await many.lab.stop();
    directory.remove();
  });

  it('the other node could not start one of them: both nodes say so, orange, before it is needed', async () => {
    for (const node of ['A', 'B'] as const) {
      const said = await until(
        `${node} says it`,
        async () => {
          const { because, readiness } = await many.status(node, 'big');
          return because.includes('could not start') && { because, readiness };
        },
        waitMs,
      );
      expect(said.readiness).to.equal('transient');
      expect(said.because).to.match(/; B could not start big: 4 TiB wanted, [\d.]+ [KMGT]iB free/);
    }
    expect((await many.status('A', 'db')).readiness).to.equal('ready');
  });

  it('C7: the VM that another one is restarted with is restarted: so is the other one', async () => {
    const before = vm('A', 'app')?.pid;
    process.kill(vm('A', 'db')?.pid ?? 0, 'SIGKILL');
    await until(
      'another process of app',
      () => vm('A', 'app') !== undefined && vm('A', 'app')?.pid !== before,
      waitMs,
    );
    await runsOn('A', 'app');
    expect(await rules('A', 'db')).to.include('vm');
    expect(await rules('A', 'app'))
      .to.include('restart-with')
      .and.not.to.include('vm');
  });

  it('a module that is killed while its VM runs: the VM is not touched, and not restarted with anything', async () => {
    const pids = ['app', 'db'].map((module) => vm('A', module)?.pid);
    const { instance, pid } = await many.status('A', 'db');
    process.kill(pid, 'SIGKILL');
    await until(
      'the next process serves its VM',
      async () => {
        const status = await many.status('A', 'db');
        return status.instance !== instance && status.readiness === 'ready';
      },
      waitMs,
    );
    expect(['app', 'db'].map((module) => vm('A', module)?.pid)).to.deep.equal(pids);
    const record = modulePaths(many.lab.nodes.A.runtimeDir, 'app').vmStart;
    const { startedWith } = JSON.parse(readFileSync(record, 'utf8')) as { startedWith: object };
    expect(Object.keys(startedWith)).to.deep.equal(['db']);
  });

  it('C7: the node loses power: each starts on the other one after the one it names, and one that seems too big is tried', async () => {
    await many.lab.powerOff('A');
    for (const module of many.modules) await runsOn('B', module);
    const startedAt = (module: string): number => {
      const line = many.log('B', module).findLast((each) => each['event'] === 'vm-event');
      return Date.parse(String(line?.['time']));
    };
    expect(startedAt('app')).to.be.above(startedAt('db'));
    expect(await rules('B', 'app')).to.include('dependency-not-running');
    expect(await rules('B', 'big')).to.include('capacity-short');
  });

  it('a module is killed while its VM waits for a slot: the next process waits and starts it, and the others go on', async () => {
    await many.lab.startMachine('A');
    for (const module of many.modules) {
      await until(`${module} answers on A`, () => many.status('A', module), waitMs);
      await until(
        `${module} is in sync`,
        async () => (await many.status('B', module)).axes.link === 'in-sync',
        waitMs,
      );
    }
    const { runtimeDir } = many.lab.nodes.A;
    const board = new FileStartBoard({
      directory: startsDirectory(runtimeDir),
      module: 'test',
      vmStartFile: join(runtimeDir, 'test.vm-start.json'),
      log: silentLog,
    });
    await many.lab.powerOff('B');
    const slots = [board.takeSlot(2), board.takeSlot(2)];
    const waits = (module: string) =>
      until(
        `${module} waits for a slot`,
        async () => {
          const { because, pid } = await many.status('A', module);
          return because.includes('at most 2 of the VMs of this node start at the same time; now test, test')
            ? pid
            : undefined;
        },
        waitMs,
      );
    const pid = await waits('db');
    process.kill(pid, 'SIGKILL');
    await until('another process of db', async () => (await many.status('A', 'db')).pid !== pid, waitMs);
    await waits('db');
    expect(many.modules.map((module) => vm('A', module))).to.deep.equal([undefined, undefined, undefined]);
    for (const slot of slots) slot?.release();
    for (const module of many.modules) await runsOn('A', module);
  });
});
