/**
 * Checks that fail and recover at random beside faults of nodes, links and the arbiter: the checkers of the simulation watch that nothing is
 * lost and nobody writes twice, and when everything is well again and both modules were started, the pair is whole.
 */
import { expect } from 'chai';
import { Random } from '../simulation/random.ts';
import type { World } from '../simulation/world.ts';
import { checksOf } from '../checks/checks-of.ts';
import { story } from './story.ts';

const often = { intervalMs: 1000, timeoutMs: 500, fails: '2 of 2', recovers: 1 };
const checks = checksOf({
  checks: [
    { kind: 'guest', name: 'guest', ...often, graceMs: 1000, action: 'restart' },
    { kind: 'network-link', name: 'lan', interface: 'eth1', ...often, action: 'swap' },
    { kind: 'tcp', name: 'web', host: 'h', port: 80, ...often, action: 'wait' },
    { kind: 'command', name: 'app', command: ['/bin/app'], ...often, graceMs: 1000, action: 'stop' },
    { kind: 'ping', name: 'gateway', host: 'h', ...often },
  ],
  rules: [{ name: 'dark', when: { all: ['lan', 'gateway'] }, action: 'swap' }],
});
const names = checks.checks.map(({ name }) => name).filter((name) => name !== 'vm');

function trouble(world: World, random: Random): void {
  const host = random.pick(world.hosts);
  const name = random.pick(names);
  random.pick([
    () => host.checks.failing.add(name),
    () => host.checks.failing.add(name),
    () => host.checks.failing.delete(name),
    () => world.hosts.forEach((each) => each.checks.failing.add(name)),
    () => host.checks.failing.clear(),
    () => host.vm.crash(),
    () => host.kill(),
    () => host.freezeProcess(random.between(500, 8000)),
    () => host.checks.module?.maintain(random.between(1000, 60_000), () => {}),
    () => host.checks.module?.maintain(0, () => {}),
    () => host.command(random.pick(['start', 'stop', 'swap'] as const)),
    () => host.command('start'),
    () => (host.powered ? host.losePower() : host.boot()),
    () => host.boot(),
    () => world.link.setCut(true, random.chance(0.5)),
    () => world.link.setCut(false, false),
    () => world.link.blip(),
    () => (world.arbiter.running = !world.arbiter.running),
  ])();
}

function heal(world: World): void {
  world.link.setCut(false, false);
  world.arbiter.running = true;
  for (const host of world.hosts) {
    host.checks.failing.clear();
    host.boot();
  }
  world.run(30_000);
  for (const { checks: own } of world.hosts) own.module?.maintain(0, () => {});
  // A command that is refused because something is under way is given again, as an operator does.
  const whole = (): boolean => world.inSync() && world.primary() !== undefined;
  for (let round = 0; round < 4 && !whole(); round += 1) {
    for (const host of world.hosts) host.command('start');
    world.runUntil(whole, 30_000);
  }
  world.expect('the pair is whole', whole, 60_000);
}

describe('checks that come and go beside faults', () => {
  const seeds = Number(process.env['VMPAIR_CHECK_SEEDS'] ?? '5');
  for (let seed = 8000; seed < 8000 + seeds; seed += 1)
    it(`nothing is lost, and the pair is whole afterwards (seed ${seed})`, () =>
      story(
        seed,
        (world) => {
          const random = new Random(seed);
          world.startPair();
          for (let step = 0; step < 40; step += 1) {
            trouble(world, random);
            world.run(random.between(100, 6000));
          }
          heal(world);
          world.checkAtRest();
          expect(world.hosts.filter(({ vm }) => vm.executes).length).to.equal(1);
        },
        { checks, guestThinkMs: 200 },
      ));
});
