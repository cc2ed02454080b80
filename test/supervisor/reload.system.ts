/**
 * The supervisor takes up added, removed and changed modules while it runs. With a stand-in for the module process, whose
 * verb `start` makes it started and whose `status` says so. Needs `npm run build` and root (pidfd_getfd).
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { callOnce, ControlClient } from '../../src/platform/control-client.ts';
import type { ReloadReport } from '../../src/supervisor/reload.ts';
import type { SupervisedStatus } from '../../src/supervisor/supervised-module.ts';
import { until } from '../until.ts';
import { Bench } from './supervisor-bench.ts';

describe('reload of the supervisor', () => {
  let bench: Bench;
  beforeEach(() => {
    bench = new Bench();
    mkdirSync(bench.directory.file('modules'));
    const nodeFile = bench.directory.file('node.yaml');
    writeFileSync(
      nodeFile,
      `${readFileSync(nodeFile, 'utf8')}modulesDir: ${bench.directory.file('modules')}\n`,
    );
  });
  afterEach(async () => {
    await callOnce(bench.control, 'stop', { module: 'vm2' }, 15_000).catch(() => {});
    await bench.end();
  });

  const file = (name: string): string => bench.directory.file(name);
  const reload = async (): Promise<ReloadReport> =>
    (await callOnce(bench.control, 'reload', {}, 15_000)) as ReloadReport;
  const list = async (): Promise<SupervisedStatus[]> =>
    (await callOnce(bench.control, 'list')) as SupervisedStatus[];
  const nothing: ReloadReport = {
    taken: [],
    removed: [],
    kept: [],
    changed: [],
    unusable: [],
    nodeChanged: [],
  };

  /** The text of vm1 for another module. */
  const second = (): string =>
    readFileSync(file('vm1.yaml'), 'utf8').replace('name: vm1', 'name: vm2').replaceAll('7001', '7002');

  async function secondRuns(): Promise<SupervisedStatus> {
    return until('vm2 runs', async () => {
      const status = (await list()).find(({ module }) => module === 'vm2');
      return status?.state === 'running' && status;
    });
  }

  it('a module in the directory is taken, and the one that runs is not touched', async () => {
    bench.start();
    const before = await bench.running();
    expect(await reload()).to.deep.equal(nothing);
    writeFileSync(file('modules/vm2.yaml'), second());
    expect(await reload()).to.deep.equal({ ...nothing, taken: ['vm2'] });
    await secondRuns();
    expect((await bench.running()).pid).to.equal(before.pid);
  });

  it('a module that is gone is let go when it is stopped; one that is started is kept, and it is said how to go on', async () => {
    writeFileSync(file('modules/vm2.yaml'), second());
    bench.start();
    await secondRuns();
    const control = file('vm2.control.sock');
    await callOnce(control, 'start');
    renameSync(file('modules/vm2.yaml'), file('away.yaml'));
    const report = await reload();
    expect(report.removed).to.deep.equal([]);
    expect(report.kept).to.have.lengthOf(1);
    expect(report.kept[0]).to.include({ module: 'vm2', because: 'it is started' });
    expect(report.kept[0]?.next).to.contain('`vmpair stop vm2` and `vmpair supervisor reload`');
    expect((await secondRuns()).note).to.contain('no longer configured');
    renameSync(file('away.yaml'), file('modules/vm2.yaml'));
    expect(await reload()).to.deep.equal(nothing);
    expect((await secondRuns()).note).to.equal(undefined);
    rmSync(file('modules/vm2.yaml'));
    await callOnce(control, 'stop');
    expect(await reload()).to.deep.equal({ ...nothing, removed: ['vm2'] });
    expect((await list()).map(({ module }) => module)).to.deep.equal(['vm1']);
  });

  it('a file that moves to the directory is the same module, and its process runs on', async () => {
    bench.start();
    const before = await bench.running();
    const nodeFile = file('node.yaml');
    writeFileSync(nodeFile, readFileSync(nodeFile, 'utf8').replace(/^modules:.*\n/m, ''));
    renameSync(file('vm1.yaml'), file('modules/vm1.yaml'));
    expect(await reload()).to.deep.equal(nothing);
    expect(await bench.status()).to.include({ pid: before.pid, file: file('modules/vm1.yaml') });
    process.kill(before.pid ?? 0, 'SIGKILL');
    await bench.running(before.pid);
  });

  it('a changed file is noted by key; the watchdog takes the new timers with the next process', async () => {
    bench.start();
    const before = await bench.running();
    const text = readFileSync(file('vm1.yaml'), 'utf8');
    writeFileSync(file('vm1.yaml'), text.replace('profile: fast', 'profile: fast, watchdogMs: 600'));
    const { changed } = await reload();
    expect(changed.map(({ module, changes }) => [module, ...changes.map(({ key }) => key)])).to.deep.equal([
      ['vm1', 'timers'],
    ]);
    expect((await bench.running()).note).to.equal(
      'configuration changed (timers): counts from the next restart',
    );
    await callOnce(bench.control, 'restart', { module: 'vm1' });
    const after = await bench.running(before.pid);
    expect(after.note).to.equal(undefined);
    const events: string[] = [];
    const client = new ControlClient({
      path: bench.control,
      event: (event) => events.push(JSON.stringify(event)),
    });
    await client.call('subscribe');
    await callOnce(bench.module, 'hang', {}, 50).catch(() => {});
    const killed = await bench.running(after.pid);
    client.close();
    expect(killed.restarts).to.equal(1);
    const [, silentMs] =
      /"watchdog","because":"it has not answered for (\d+) ms/.exec(events.join('\n')) ?? [];
    expect(Number(silentMs), 'the watchdog of the profile is 1500 ms').to.be.within(600, 1400);
  });

  it('a file that cannot be used any more is noted, and what runs goes on', async () => {
    bench.start();
    const before = await bench.running();
    writeFileSync(file('vm1.yaml'), 'version: 1\nmodul: {}\n');
    writeFileSync(file('modules/vm2.yaml'), 'version: 1\nmodul: {}\n');
    const report = await reload();
    expect(report.unusable.map(({ module }) => module)).to.deep.equal(['vm2']);
    const status = await bench.running();
    expect(status.pid).to.equal(before.pid);
    expect(status.note).to.contain('the file cannot be used').and.contain('did you mean "module"');
  });

  it('a node configuration that cannot be used changes nothing; other keys are named', async () => {
    bench.start();
    await bench.running();
    const text = readFileSync(file('node.yaml'), 'utf8');
    writeFileSync(file('node.yaml'), `${text}runtime: /x\n`);
    const error = await reload().catch((caught: unknown) => caught);
    expect(error).to.have.property('code', 'config-invalid');
    writeFileSync(file('node.yaml'), `${text}configDir: /srv/vmpair\n`);
    expect(await reload()).to.deep.equal({ ...nothing, nodeChanged: ['configDir'] });
  });
});
