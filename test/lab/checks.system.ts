/**
 * Checks and rules of a real pair with a VM (the simulated guest, a real process): C1, C2, C3, C8, C9 and E7 of what an administrator
 * tries. Each situation leaves a pair that is in sync; on which node the VM runs, the next one looks up.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import { connectQmp } from '../../hypervisors/qemu/qmp-client.ts';
import { vmFiles } from '../../hypervisors/qemu/qemu-hypervisor.ts';
import { findVmProcess } from '../../hypervisors/vm-process.ts';
import type { ModuleStatus } from '../../src/base/status.ts';
import { labModule, type LabNode, labNodes } from '../../src/lab/lab-layout.ts';
import type { LabCluster } from '../../src/lab/pair.ts';
import { programPath } from '../../src/platform/program-path.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { until } from '../until.ts';
import { RealPair, runTool } from './real-pair.ts';

const waitMs = 40_000;
const vm = { kind: 'simulated', recordsPerSecond: 50, serial: { file: 'serial.log' } };
/** The timeouts leave room for a machine that is busy with other tests. */
const often = { intervalMs: 2000, timeoutMs: 2000, fails: '2 of 2', recovers: 1 };
const guestOften = { ...often, intervalMs: 4000, timeoutMs: 4000 };

/** Adds keys to the `module.yaml` of both nodes. */
function configure(lab: LabCluster, keys: object): void {
  for (const node of labNodes) {
    const { moduleFile } = lab.nodes[node];
    const document = parse(readFileSync(moduleFile, 'utf8')) as object;
    writeFileSync(moduleFile, stringify({ ...document, ...keys }));
  }
}

class CheckedPair {
  readonly pair: RealPair;

  constructor(pair: RealPair) {
    this.pair = pair;
  }

  get lab(): LabCluster {
    return this.pair.lab;
  }

  vmProcess(node: LabNode) {
    const { runtimeDir } = this.lab.nodes[node];
    return findVmProcess(vmFiles({ module: labModule, runtimeDirectory: runtimeDir }));
  }

  other(node: LabNode): LabNode {
    return node === 'A' ? 'B' : 'A';
  }

  /** The node whose VM runs, once the pair is ready. */
  async ready(): Promise<LabNode> {
    await this.pair.inSync();
    return until(
      'a primary that is ready',
      async () => {
        for (const node of labNodes) {
          const status = await this.lab.moduleStatus(node);
          if (status?.state === 'PRIM' && status.readiness === 'ready' && status.axes.vm === 'running')
            return node;
        }
        return undefined;
      },
      waitMs,
    );
  }

  status(node: LabNode, what: string, holds: (status: ModuleStatus) => boolean): Promise<ModuleStatus> {
    return until(
      `${node}: ${what}`,
      async () => {
        const status = await this.lab.moduleStatus(node);
        if (status !== undefined && holds(status)) return status;
        throw new Error(JSON.stringify({ state: status?.state, because: status?.because }));
      },
      waitMs,
    );
  }

  /** Another process of the VM runs on this node, and the pair is as ready as before. */
  async restarted(node: LabNode, pidBefore: number, rule: string): Promise<void> {
    await until(
      `another VM process on ${node}`,
      () => {
        const pid = this.vmProcess(node)?.pid;
        return pid !== undefined && pid !== pidBefore;
      },
      waitMs,
    );
    expect(await this.ready()).to.equal(node);
    const decided = (await this.pair.status(node)).decisions.map((each) => `${each.rule}: ${each.action}`);
    expect(decided).to.include(`${rule}: restart the VM`);
  }

  /** The check fails on this node from now on; the result ends that. */
  fail(check: string, node: LabNode): () => void {
    const marker = this.pair.temp.file(`${check}-${node}`);
    writeFileSync(marker, '');
    return () => rmSync(marker, { force: true });
  }

  /** A program that fails while a marker of its check and node exists, and says what it looked for. */
  static command(pair: { file(name: string): string }, check: string): readonly string[] {
    const script = 'echo "looked for $1-$VMPAIR_NODE"; test ! -e "$1-$VMPAIR_NODE"';
    return ['/bin/sh', '-c', script, 'check', pair.file(check)];
  }
}

describe('checks of a pair with a VM', function () {
  this.timeout(180_000);
  let checked: CheckedPair;

  before(async () => {
    const pair = await RealPair.start({
      vm,
      sizeBytes: 64 * 1024 ** 2,
      prepare: () => {},
      start: async () => {},
    });
    checked = new CheckedPair(pair);
    const command = (name: string, more: object) => ({
      kind: 'command',
      name,
      command: CheckedPair.command(pair.temp, name),
      ...often,
      ...more,
    });
    configure(pair.lab, {
      checks: [
        { kind: 'guest', name: 'guest', ...guestOften, graceMs: 1000, action: 'restart' },
        command('app', { action: 'restart', graceMs: 1000 }),
        command('place', { action: 'swap', on: 'host' }),
        command('service', { action: 'wait', on: 'host' }),
        command('poison', { action: 'stop', graceMs: 1000 }),
      ],
    });
    await pair.lab.start();
  });

  after(() => checked.pair.end());

  it('C1: the VM process is killed: it is started again in place, by a named rule', async () => {
    const node = await checked.ready();
    const pid = checked.vmProcess(node)?.pid ?? 0;
    process.kill(pid, 'SIGKILL');
    await checked.restarted(node, pid, 'vm');
  });

  it('C8: a custom check with the action restart: the VM is shut down and started in place; the log has the output', async () => {
    const node = await checked.ready();
    const pid = checked.vmProcess(node)?.pid ?? 0;
    const serial = (): string => readFileSync(`${checked.lab.nodes[node].runtimeDir}/serial.log`, 'utf8');
    const shutdowns = serial().split('POWEROFF').length;
    const mend = checked.fail('app', node);
    await until('the VM is down', () => checked.vmProcess(node)?.pid !== pid, waitMs).finally(mend);
    await checked.restarted(node, pid, 'app');
    expect(serial().split('POWEROFF').length).to.equal(shutdowns + 1);
    expect(readFileSync(checked.lab.nodes[node].paths.log, 'utf8')).to.match(
      /"check":"app".*looked for .*app-[AB].*"event":"check-failed"/,
    );
  });

  it('E7: the guest hangs while its VM runs: it is destroyed and started in place', async () => {
    const node = await checked.ready();
    const pid = checked.vmProcess(node)?.pid ?? 0;
    process.kill(pid, 'SIGUSR2');
    await checked.restarted(node, pid, 'guest');
  });

  it('C3: a fourth restart is not made: the module stops by the loop limit, the peer takes over; a start resets', async () => {
    const node = await checked.ready();
    const kill = (): number => {
      const pid = checked.vmProcess(node)?.pid ?? 0;
      process.kill(pid, 'SIGKILL');
      return pid;
    };
    // The situations before this one have made some already.
    while (((await checked.pair.status(node)).checks?.restarts ?? 3) < 3)
      await checked.restarted(node, kill(), 'vm');
    kill();
    const { because } = await checked.status(node, 'stopped', ({ state }) => state === 'STOP');
    expect(because).to.match(/loop limit: the VM was restarted 3 times in 24 hours/);
    const peer = checked.other(node);
    await checked.status(
      peer,
      'the VM runs there',
      ({ state, axes }) => state === 'ALONE' && axes.vm === 'running',
    );
    checked.lab.killModule(node);
    await checked.status(node, 'stopped as before', (status) => status.because.includes('loop limit'));
    await checked.lab.call(node, 'start', {}, waitMs);
    expect(await checked.ready()).to.equal(peer);
    await checked.status(peer, 'restarts count anew', ({ checks }) => checks?.restarts === 0);
  });

  it('C8: with the action swap: the VM moves to the node on which the check is well', async () => {
    const node = await checked.ready();
    const mend = checked.fail('place', node);
    await checked
      .status(checked.other(node), 'primary', ({ state, axes }) => state === 'PRIM' && axes.vm === 'running')
      .finally(mend);
    expect(await checked.ready()).to.equal(checked.other(node));
  });

  it('C8: with the action wait: the node leaves and comes back by itself', async () => {
    const node = await checked.ready();
    const mend = checked.fail('service', node);
    const { because } = await checked.status(node, 'waits', ({ state }) => state === 'WAIT').finally(mend);
    expect(because).to.match(/rule service: check service fails: exit code 1: looked for /);
    expect(await checked.ready()).to.equal(checked.other(node));
  });

  it('C9: in maintenance the guest is shut down from inside and stays off; at its end the VM is started', async () => {
    const node = await checked.ready();
    const control = ['--control', checked.lab.nodes[node].paths.control];
    const cli = (command: string, ...args: readonly string[]) =>
      runTool(process.execPath, programPath('src/cli/main'), command, ...control, ...args);
    expect(await cli('maintenance', '--for', '1h')).to.include('no check acts until');
    const monitor = await connectQmp(
      checked.lab.nodes[node].paths.supervisorMonitor,
      systemClock,
      { timeoutMs: waitMs },
      { event: () => {}, closed: () => {} },
    );
    await monitor.execute('system_powerdown', undefined, { timeoutMs: waitMs });
    await until('the VM is off', () => checked.vmProcess(node) === undefined, waitMs);
    const off = await checked.status(
      node,
      'off in maintenance',
      ({ axes, because }) => axes.vm === 'stopped' && because.includes('in maintenance'),
    );
    expect([off.state, off.readiness]).to.deep.equal(['PRIM', 'transient']);
    expect(await cli('status')).to.include('maintenance until');
    expect(await cli('explain')).to.include('let no rule act (maintenance): the operator asked for it');
    checked.lab.killModule(node);
    await checked.status(node, 'still in maintenance', ({ because }) => because.includes('in maintenance'));
    expect(checked.vmProcess(node)).to.equal(undefined);
    // The newest command counts; it ends by itself.
    await cli('maintenance', '--for', '1s');
    expect(await checked.ready()).to.equal(node);
    expect((await checked.pair.status(node)).checks?.restarts).to.equal(0);
  });

  it('C8: with the action stop: the module stops and says by which rule; the peer goes on', async () => {
    const node = await checked.ready();
    const mend = checked.fail('poison', node);
    const { because } = await checked.status(node, 'stopped', ({ state }) => state === 'STOP').finally(mend);
    expect(because).to.match(/stopped by a rule: rule poison: check poison fails/);
    await checked.status(
      checked.other(node),
      'the VM runs there',
      ({ state, axes }) => state === 'ALONE' && axes.vm === 'running',
    );
    await checked.lab.call(node, 'start', {}, waitMs);
    expect(await checked.ready()).to.equal(checked.other(node));
  });
});

describe('a pair whose nodes have a network for the guest', function () {
  this.timeout(180_000);
  const unique = process.pid.toString(36).slice(-6);
  /** An interface of each node, and the other end of its cable. */
  const cables = { A: [`ck${unique}A0`, `ck${unique}A1`], B: [`ck${unique}B0`, `ck${unique}B1`] } as const;
  const plugged = async (node: LabNode, isPlugged: boolean): Promise<void> => {
    await runTool('ip', 'link', 'set', cables[node][1], isPlugged ? 'up' : 'down');
  };

  before(async () => {
    for (const node of labNodes) {
      const [here, there] = cables[node];
      await runTool('ip', 'link', 'add', here, 'type', 'veth', 'peer', 'name', there);
      await runTool('ip', 'link', 'set', here, 'up');
      await plugged(node, true);
    }
  });
  after(async () => {
    for (const node of labNodes) await runTool('ip', 'link', 'delete', cables[node][0]);
  });

  it('C5: the link of the primary is down: the VM moves to the node whose link is up, and stays when that goes down too', async () => {
    const lan = { kind: 'network-link', name: 'lan', interface: { A: cables.A[0], B: cables.B[0] } };
    const pair = await RealPair.start({
      vm,
      sizeBytes: 64 * 1024 ** 2,
      prepare: (lab) => configure(lab, { checks: [{ ...lan, ...often, action: 'swap' }] }),
    });
    try {
      const checked = new CheckedPair(pair);
      const node = await checked.ready();
      const peer = checked.other(node);
      await plugged(node, false);
      await checked.status(peer, 'primary', ({ state, axes }) => state === 'PRIM' && axes.vm === 'running');
      await plugged(peer, false);
      const { state, because } = await checked.status(peer, 'stays', (status) =>
        status.because.includes('the VM stays here: lan fails on the peer as well'),
      );
      expect(state).to.equal('PRIM');
      expect(because).to.include(`${cables[peer][0]} has no carrier`);
    } finally {
      await pair.end();
    }
  });
});

describe('a pair whose VM is moved when it ends', function () {
  this.timeout(180_000);

  it('C2: the VM process is killed: the VM runs on the peer', async () => {
    const pair = await RealPair.start({
      vm,
      sizeBytes: 64 * 1024 ** 2,
      prepare: (lab) => configure(lab, { checks: [{ kind: 'vm', name: 'vm', action: 'swap' }] }),
    });
    try {
      const checked = new CheckedPair(pair);
      const node = await checked.ready();
      process.kill(checked.vmProcess(node)?.pid ?? 0, 'SIGKILL');
      await checked.status(checked.other(node), 'primary', ({ state }) => state === 'PRIM');
      expect(await checked.ready()).to.equal(checked.other(node));
      expect(checked.vmProcess(node)).to.equal(undefined);
      const rules = (await pair.status(node)).decisions.map(({ rule }) => rule);
      expect(rules).to.include('vm');
    } finally {
      await pair.end();
    }
  });
});
