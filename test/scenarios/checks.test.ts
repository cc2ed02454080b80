/**
 * Stories of checks and rules: what a module does by itself, in the words of an administrator's acceptance tests (C1 to C6, C9, B23).
 * The simulated VM and probes stand for real ones; test/lab/checks.system.ts has those.
 */
import { expect } from 'chai';
import { swapDwellMs } from '../../src/checks/ledger.ts';
import { lookIntervalMs } from '../../src/checks/module-checks.ts';
import { deriveState } from '../../src/cluster/derive-state.ts';
import { checksOf } from '../checks/checks-of.ts';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

const hourMs = 3_600_000;
const quarterMs = hourMs / 4;
/** Long enough for three failures of a check at intervals of two seconds, and for what follows. */
const noticedMs = 20_000;

const often = { intervalMs: 2000, timeoutMs: 1000 };
const tcp = (action: string) =>
  checksOf({ checks: [{ kind: 'tcp', name: 'web', host: '192.0.2.1', port: 80, ...often, action }] });
const vmEnds = (action: string) => checksOf({ checks: [{ kind: 'vm', name: 'vm', action }] });

function stateOf(host: SimulatedHost): string {
  if (host.mirror === undefined) return 'no process';
  const { state, readiness } = deriveState(host.mirror);
  return `${state} ${readiness}`;
}

function because(host: SimulatedHost): string {
  return host.mirror === undefined ? '' : deriveState(host.mirror).because;
}

function rules(host: SimulatedHost): string[] {
  return (host.mirror?.decisions.entries ?? []).map(({ rule, action }) => `${rule}: ${action}`);
}

function readyPair(world: World, primary: SimulatedHost): void {
  world.expect(
    `the pair is ready on ${primary.name}`,
    () => stateOf(primary) === 'PRIM ready' && stateOf(world.otherThan(primary)) === 'SECOND ready',
    60_000,
  );
}

/** The VM ends, and is started again on the same node. */
function crashAndRestart(world: World, host: SimulatedHost): void {
  host.vm.crash();
  world.expect('the VM is down', () => host.vm.state !== 'running');
  world.expect(`the VM runs on ${host.name} again`, () => world.primary() === host);
}

describe('C1: the process of the VM is killed', () => {
  it('it is started again in place, the rule is named, and the pair is ready again', () =>
    story(
      7001,
      (world) => {
        world.startPair();
        crashAndRestart(world, world.a);
        readyPair(world, world.a);
        expect(rules(world.a)).to.include('vm: restart the VM');
        expect(world.a.checks.module?.status.restarts).to.equal(1);
        world.checkAtRest();
      },
      { checks: vmEnds('restart') },
    ));
});

describe('C2: the process of the VM is killed, with the action swap', () => {
  it('the VM runs on the peer', () =>
    story(
      7002,
      (world) => {
        world.startPair();
        world.a.vm.crash();
        readyPair(world, world.b);
        expect(rules(world.a)).to.include('vm: hand the VM over');
        world.checkAtRest();
      },
      { checks: vmEnds('swap') },
    ));

  it('with no peer that is ready it is started again in place', () =>
    story(
      7003,
      (world) => {
        world.startPair();
        world.b.losePower();
        world.expect('A is alone', () => stateOf(world.a).startsWith('ALONE ready'));
        crashAndRestart(world, world.a);
        expect(rules(world.a)).to.include('vm: restart the VM');
      },
      { checks: vmEnds('swap') },
    ));
});

describe('C3: the VM needs a fourth automatic restart in 24 hours', () => {
  const threeCrashes = (world: World): void => {
    world.startPair();
    for (let crash = 1; crash <= 3; crash += 1) crashAndRestart(world, world.a);
    world.run(2 * lookIntervalMs);
  };

  it('the module stops by the loop limit and the peer takes over, which counts on', () =>
    story(
      7004,
      (world) => {
        threeCrashes(world);
        world.a.vm.crash();
        world.expect('the VM runs on B', () => world.primary() === world.b);
        world.expect('A is stopped', () => stateOf(world.a) === 'STOP not-ready');
        expect(because(world.a)).to.include('loop limit: the VM was restarted 3 times in 24 hours');
        expect(rules(world.a)).to.include('loop-limit: stop');
        expect(world.b.checks.module?.status.restarts).to.equal(3);
        world.b.vm.crash();
        world.expect('B is stopped', () => stateOf(world.b) === 'STOP not-ready');
      },
      { checks: vmEnds('restart') },
    ));

  it('a process that is started again has not forgotten', () =>
    story(
      7005,
      (world) => {
        threeCrashes(world);
        world.a.kill();
        readyPair(world, world.a);
        expect(world.a.checks.module?.status.restarts).to.equal(3);
        world.a.vm.crash();
        world.expect('the VM runs on B', () => world.primary() === world.b);
        world.a.kill();
        world.expect('A is stopped by the same reason', () => because(world.a).includes('loop limit'));
      },
      { checks: vmEnds('restart') },
    ));

  it('an operator who starts the module resets the count on both nodes', () =>
    story(
      7006,
      (world) => {
        threeCrashes(world);
        world.a.vm.crash();
        world.expect('the VM runs on B', () => world.primary() === world.b);
        world.expect('A is stopped', () => stateOf(world.a) === 'STOP not-ready');
        world.a.command('start');
        readyPair(world, world.b);
        world.run(2 * lookIntervalMs);
        expect(world.b.checks.module?.status.restarts).to.equal(0);
        crashAndRestart(world, world.b);
      },
      { checks: vmEnds('restart') },
    ));
});

describe('C4: an external service is away, with the action wait', () => {
  it('both nodes wait, and wake up by themselves when it is back, with equal copies', () =>
    story(
      7007,
      (world) => {
        world.startPair();
        for (const { checks } of world.hosts) checks.failing.add('web');
        world.expect(
          'both wait',
          () => world.hosts.every((host) => stateOf(host) === 'WAIT transient'),
          3 * noticedMs,
        );
        expect(because(world.a)).to.include('rule web: check web fails');
        world.run(noticedMs);
        expect(world.hosts.map(({ vm }) => vm.state)).to.deep.equal(['stopped', 'stopped']);
        for (const { checks } of world.hosts) checks.failing.clear();
        world.expect('the VM runs', () => world.primary() !== undefined, 3 * noticedMs);
        readyPair(world, world.primary() ?? world.a);
        world.checkAtRest();
      },
      { checks: tcp('wait') },
    ));

  it('away for one node alone, that node leaves and the other one goes on; it comes back as secondary', () =>
    story(
      7008,
      (world) => {
        world.startPair();
        world.a.checks.failing.add('web');
        world.expect('the VM runs on B', () => world.primary() === world.b, 2 * noticedMs);
        world.expect('A waits', () => stateOf(world.a) === 'WAIT transient');
        world.a.kill();
        world.run(noticedMs);
        expect(stateOf(world.a)).to.equal('WAIT transient');
        world.a.checks.failing.clear();
        readyPair(world, world.b);
        world.checkAtRest();
      },
      { checks: tcp('wait') },
    ));

  it('a node that takes over does not start the VM before the service is there', () =>
    story(
      7009,
      (world) => {
        world.startPair();
        world.b.checks.failing.add('web');
        world.expect('B says so', () => because(world.b).includes('check web fails'), noticedMs);
        expect(stateOf(world.b)).to.equal('SECOND transient');
        world.a.losePower();
        world.expect('B waits', () => stateOf(world.b) === 'WAIT transient', noticedMs);
        expect(world.b.vm.state).to.equal('stopped');
        world.b.checks.failing.clear();
        world.expect('the VM runs on B', () => world.primary() === world.b, 2 * noticedMs);
      },
      { checks: tcp('wait') },
    ));
});

describe('C5: the network link of a host is down, with the action swap', () => {
  const link = checksOf({
    checks: [{ kind: 'network-link', name: 'lan', interface: 'eth1', ...often, action: 'swap' }],
  });

  it('the VM moves to the peer, whose link is up', () =>
    story(
      7010,
      (world) => {
        world.startPair();
        world.a.checks.failing.add('lan');
        world.expect('the VM runs on B', () => world.primary() === world.b, 2 * noticedMs);
        expect(rules(world.a)).to.include('lan: hand the VM over');
        world.checkAtRest();
      },
      { checks: link },
    ));

  it('the VM stays where it is when the link of the peer is down too, and the status says why', () =>
    story(
      7011,
      (world) => {
        world.startPair();
        world.b.checks.failing.add('lan');
        world.expect('B says so', () => because(world.b).includes('check lan fails'), noticedMs);
        world.a.checks.failing.add('lan');
        world.run(noticedMs);
        expect(stateOf(world.a)).to.equal('PRIM transient');
        expect(because(world.a)).to.include('the VM stays here: lan fails on the peer as well');
      },
      { checks: link },
    ));

  it('the VM stays where it is when another check fails on the peer alone', () =>
    story(
      7012,
      (world) => {
        world.startPair();
        world.b.checks.failing.add('room');
        world.expect('B says so', () => because(world.b).includes('check room fails'), noticedMs);
        world.a.checks.failing.add('lan');
        world.run(noticedMs);
        expect(because(world.a)).to.include('the VM stays here: room fails on the peer');
        world.b.checks.failing.clear();
        world.expect('the VM runs on B', () => world.primary() === world.b, 2 * noticedMs);
      },
      {
        checks: checksOf({
          checks: [
            { kind: 'network-link', name: 'lan', interface: 'eth1', ...often, action: 'swap' },
            { kind: 'disk-space', name: 'room', path: '/', minFree: '1GiB', ...often, action: 'swap' },
          ],
        }),
      },
    ));
});

describe('C6: a ping target is dead', () => {
  const ping = checksOf({
    checks: [{ kind: 'ping', name: 'gateway', host: '192.0.2.1', ...often, action: 'swap' }],
  });

  it('for both nodes: the VM stays where it is all the time, with a warning', () =>
    story(
      7013,
      (world) => {
        world.startPair();
        for (const { checks } of world.hosts) checks.failing.add('gateway');
        world.guestThinkMs = 10_000;
        world.run(2 * swapDwellMs);
        expect(world.primary()).to.equal(world.a);
        expect(rules(world.a).filter((each) => each.includes('hand the VM over'))).to.deep.equal([]);
        expect(stateOf(world.a)).to.equal('PRIM transient');
        expect(because(world.a)).to.include('check gateway fails');
      },
      { checks: ping },
    ));

  it('for one node and then the other: the VM moves once, and not back before the dwell time', () =>
    story(
      7014,
      (world) => {
        world.startPair();
        world.a.checks.failing.add('gateway');
        world.expect('B is ready', () => stateOf(world.b) === 'PRIM ready', 2 * noticedMs);
        world.a.checks.failing.clear();
        world.b.checks.failing.add('gateway');
        world.guestThinkMs = 10_000;
        world.run(swapDwellMs / 2);
        expect(world.primary()).to.equal(world.b);
        expect(because(world.b)).to.include('a rule moved it less than 10 minutes ago');
        world.b.kill();
        world.run(swapDwellMs / 4);
        expect(world.primary()).to.equal(world.b);
        world.expect('the VM is back on A', () => world.primary() === world.a, swapDwellMs);
      },
      { checks: ping },
    ));
});

describe('E7: the guest hangs while its VM runs', () => {
  const guest = checksOf({
    checks: [{ kind: 'guest', name: 'guest', ...often, graceMs: 3000, action: 'restart' }],
  });

  it('it is ended and started in place, by a rule, and given the time to boot before it is asked again', () =>
    story(
      7020,
      (world) => {
        world.startPair();
        world.run(noticedMs);
        world.a.checks.failing.add('guest');
        world.expect('a restart', () => world.a.checks.module?.status.restarts === 1, noticedMs);
        world.a.checks.failing.clear();
        readyPair(world, world.a);
        world.run(noticedMs);
        expect(world.a.checks.module?.status.restarts).to.equal(1);
        expect(rules(world.a)).to.include('guest: restart the VM');
      },
      { checks: guest },
    ));

  it('a guest whose writes are held looks dead, and is left alone', () =>
    story(
      7021,
      (world) => {
        world.startPair();
        world.run(noticedMs);
        world.arbiter.running = false;
        world.b.losePower();
        world.expect('writes are held', () => world.a.mirror?.primary.gate === 'held');
        world.a.checks.failing.add('guest');
        world.run(10 * noticedMs);
        expect(world.a.checks.module?.status.restarts).to.equal(0);
        expect(world.a.vm.state).to.equal('paused');
        world.a.checks.failing.clear();
        world.arbiter.running = true;
        world.expect('the VM goes on', () => world.primary() === world.a);
      },
      { checks: guest },
    ));
});

describe('C8: a custom check of the VM fails', () => {
  const app = (action: string) =>
    checksOf({
      checks: [{ kind: 'command', name: 'app', command: ['/bin/app'], ...often, graceMs: 1000, action }],
    });

  it('with the action restart, again and again: three restarts, each after a boot, then the loop limit', () =>
    story(
      7022,
      (world) => {
        world.startPair();
        world.a.checks.failing.add('app');
        world.expect('A is stopped', () => stateOf(world.a) === 'STOP not-ready', 6 * noticedMs);
        expect(because(world.a)).to.include('rule app asks for one more');
        world.expect('the VM runs on B', () => world.primary() === world.b);
        world.run(2 * noticedMs);
        expect(world.primary()).to.equal(world.b);
      },
      { checks: app('restart') },
    ));

  it('with the action stop: the module stops, says by which rule, and stays so; the peer goes on', () =>
    story(
      7023,
      (world) => {
        world.startPair();
        world.a.checks.failing.add('app');
        world.expect('the VM runs on B', () => world.primary() === world.b, noticedMs);
        world.a.kill();
        world.run(noticedMs);
        expect(stateOf(world.a)).to.equal('STOP not-ready');
        expect(because(world.a)).to.include('stopped by a rule: rule app: check app fails');
      },
      { checks: app('stop') },
    ));

  it('with the action notify: nothing but a warning and one decision', () =>
    story(
      7024,
      (world) => {
        world.startPair();
        world.a.checks.failing.add('app');
        world.run(2 * noticedMs);
        expect(world.primary()).to.equal(world.a);
        expect(stateOf(world.a)).to.equal('PRIM transient');
        expect(rules(world.a).filter((each) => each.startsWith('app:'))).to.deep.equal(['app: notify']);
        world.a.checks.failing.clear();
        readyPair(world, world.a);
      },
      { checks: app('notify') },
    ));
});

describe('a rule over two checks', () => {
  it('acts when both fail, and not before', () =>
    story(
      7025,
      (world) => {
        world.startPair();
        world.a.checks.failing.add('lan');
        world.run(noticedMs);
        expect(world.primary()).to.equal(world.a);
        world.a.checks.failing.add('gateway');
        world.expect('the VM runs on B', () => world.primary() === world.b, 2 * noticedMs);
        expect(rules(world.a)).to.include('dark: hand the VM over');
      },
      {
        checks: checksOf({
          checks: [
            { kind: 'network-link', name: 'lan', interface: 'eth1', ...often },
            { kind: 'ping', name: 'gateway', host: '192.0.2.1', ...often },
          ],
          rules: [{ name: 'dark', when: { all: ['lan', 'gateway'] }, action: 'swap' }],
        }),
      },
    ));

  it('settings that are changed while the module runs count at once, and what a check has found stays', () =>
    story(
      7026,
      (world) => {
        world.startPair();
        world.a.checks.failing.add('web');
        world.run(noticedMs);
        expect(world.primary()).to.equal(world.a);
        const [check] = tcp('notify').checks;
        world.a.checks.module?.configure({
          ...tcp('notify'),
          rules: [{ name: 'gone', when: { kind: 'any', checks: [check?.name ?? ''] }, action: 'swap' }],
        });
        world.b.checks.module?.configure(tcp('notify'));
        world.expect('the VM runs on B', () => world.primary() === world.b, 5000);
      },
      { checks: tcp('notify') },
    ));
});

describe('C9: maintenance', () => {
  it('the guest is shut down from inside: nothing happens until the end, then the VM is started, and that counts as no restart', () =>
    story(
      7015,
      (world) => {
        world.startPair();
        world.a.checks.module?.maintain(quarterMs, () => {});
        world.run(2 * lookIntervalMs);
        world.a.vm.crash();
        world.run(quarterMs / 2);
        expect(world.a.vm.state).to.equal('stopped');
        expect(stateOf(world.a)).to.equal('PRIM transient');
        expect(because(world.a)).to.include('in maintenance until');
        expect(because(world.b)).to.include('in maintenance until');
        world.a.kill();
        world.run(quarterMs / 4);
        expect(world.a.vm.state).to.equal('stopped');
        world.expect('the VM runs on A', () => world.primary() === world.a, quarterMs / 4 + noticedMs);
        expect(world.a.checks.module?.status.restarts).to.equal(0);
        readyPair(world, world.a);
      },
      { checks: vmEnds('restart') },
    ));

  it('the operator ends it: the VM is started at once', () =>
    story(
      7016,
      (world) => {
        world.startPair();
        world.a.checks.module?.maintain(hourMs, () => {});
        world.a.vm.crash();
        world.run(noticedMs);
        expect(world.a.vm.state).to.equal('stopped');
        world.a.checks.module?.maintain(0, () => {});
        world.expect('the VM runs on A', () => world.primary() === world.a);
        world.run(2 * lookIntervalMs);
        expect(world.b.checks.module?.status.maintenanceUntil).to.equal(undefined);
      },
      { checks: vmEnds('restart') },
    ));

  it('a node dies meanwhile: the other one takes over', () =>
    story(
      7017,
      (world) => {
        world.startPair();
        world.a.checks.module?.maintain(hourMs, () => {});
        world.run(2 * lookIntervalMs);
        world.a.losePower();
        world.expect('the VM runs on B', () => world.primary() === world.b, 15_000);
      },
      { checks: vmEnds('restart') },
    ));
});

describe('B23: the clocks of the nodes differ by hours', () => {
  it('restarts, dwell times and a maintenance are counted as if they did not', () =>
    story(
      7018,
      (world) => {
        world.a.checks.wallOffsetMs = 7 * hourMs;
        world.b.checks.wallOffsetMs = -20 * hourMs;
        world.startPair();
        for (let crash = 1; crash <= 3; crash += 1) crashAndRestart(world, world.a);
        world.run(2 * lookIntervalMs);
        expect(world.b.checks.module?.status.restarts).to.equal(3);
        world.b.kill();
        readyPair(world, world.a);
        expect(world.b.checks.module?.status.restarts).to.equal(3);
        world.a.checks.module?.maintain(quarterMs, () => {});
        world.run(hourMs / 8);
        const inMaintenance = (host: SimulatedHost): boolean => because(host).includes('in maintenance');
        expect(world.hosts.map(inMaintenance)).to.deep.equal([true, true]);
        world.run(hourMs / 8 + noticedMs);
        expect(world.hosts.map(inMaintenance)).to.deep.equal([false, false]);
      },
      { checks: vmEnds('restart'), guestThinkMs: 500 },
    ));

  it('a clock that is set back while no process ran makes nothing endless', () =>
    story(
      7019,
      (world) => {
        world.startPair();
        world.a.checks.module?.maintain(quarterMs, () => {});
        world.run(noticedMs);
        world.a.checks.wallOffsetMs = -48 * hourMs;
        world.b.losePower();
        world.a.kill();
        world.expect('A is up', () => world.a.checks.module !== undefined);
        expect(because(world.a)).to.include('in maintenance');
        world.run(quarterMs);
        expect(because(world.a)).to.not.include('in maintenance');
      },
      { checks: vmEnds('restart'), guestThinkMs: 500 },
    ));
});
