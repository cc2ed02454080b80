/**
 * The shortest counter-examples of the replication rules: each lost data, or a writer too many, in a model from which one rule was
 * taken away. The checkers of the simulated world fail a story; each is told with several seeds, since the seed decides
 * what survives a power loss and how long everything takes.
 */
import { expect } from 'chai';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

const seeds = [1, 2, 3, 4, 5, 6];

function stories(situation: string, tell: (world: World) => void): void {
  it(situation, () => {
    for (const seed of seeds) story(seed, tell, { guestThinkMs: 10 });
  });
}

/** Everything works again: the pair becomes whole by itself and every promise was kept. */
function wholeAgain(world: World): void {
  world.arbiter.running = true;
  world.arbiter.lostAnswers = 0;
  world.arbiter.unreachableFrom.clear();
  world.link.setCut(false, false);
  for (const host of world.hosts) {
    host.boot();
    if (host.mirror?.run === 'stopped') host.command('start');
  }
  world.expect(
    'the pair is in sync and a VM runs',
    () => world.inSync() && world.primary() !== undefined,
    60_000,
  );
  expect(world.checkers.fullCopies).to.equal(1);
  world.checkAtRest();
}

function writesAlone(world: World, host: SimulatedHost): void {
  world.expect(
    `${host.name} writes alone`,
    () => world.primary() === host && host.mirror?.primary.soloAllowed === true,
  );
}

describe('counter-examples of the replication rules', () => {
  stories('the primary reboots and claims at once, while the other one holds what it lost', (world) => {
    world.startPair();
    world.arbiter.running = false;
    world.link.setCut(true, true);
    world.run(100);
    world.a.losePower();
    world.run(500);
    world.a.boot();
    world.run(500);
    world.arbiter.running = true;
    world.expect('the VM runs', () => world.primary() !== undefined);
    expect(world.primary()).to.equal(world.b);
    world.run(2000);
    wholeAgain(world);
    expect(world.checkers.forfeited).to.equal(0);
  });

  stories(
    'the last primary comes back from a power loss and must not overwrite what the survivor held',
    (world) => {
      world.startPair();
      world.run(300);
      world.a.losePower();
      world.run(700);
      world.a.boot();
      world.expect('the pair is in sync', () => world.inSync());
      expect(world.primary() ?? world.b).to.equal(world.b);
      wholeAgain(world);
    },
  );

  stories('one node leaves, and then the other one loses power', (world) => {
    world.startPair();
    world.b.command('stop');
    world.expect('B is outdated', () => world.b.mirror?.state.data === 'outdated');
    world.a.losePower();
    world.run(1000);
    world.b.command('start');
    world.run(30_000);
    expect(world.primary()).to.equal(undefined);
    wholeAgain(world);
  });

  stories('the module of the target is killed in a resync, and then its host loses power', (world) => {
    world.startPair();
    world.b.losePower();
    writesAlone(world, world.a);
    world.run(1000);
    world.b.boot();
    world.expect('B is a target', () => world.b.mirror?.pairing.phase === 'resync-target');
    world.run(world.random.between(0, 30));
    world.b.kill();
    world.expect('B is a target again', () => world.b.mirror?.pairing.phase === 'resync-target');
    world.run(world.random.between(0, 20));
    world.b.losePower();
    world.run(3000);
    wholeAgain(world);
  });

  stories('the source loses power just after it was allowed to go on alone', (world) => {
    world.startPair();
    world.link.setCut(true, true);
    world.expect('A is named', () => world.arbiter.record?.holder === 'A', 5000);
    world.run(world.random.between(0, 25));
    world.a.losePower();
    world.run(1000);
    world.a.boot();
    world.run(20_000);
    wholeAgain(world);
  });

  stories(
    'writes are acknowledged as dirty while a resync is being set up, and the source fails',
    (world) => {
      world.startPair();
      world.b.kill();
      world.expect('the nodes talk', () => world.a.mirror?.pairing.phase === 'handshake');
      world.run(world.random.between(0, 30));
      world.a.losePower();
      world.expect('the VM runs on B', () => world.primary() === world.b, 20_000);
      world.run(1000);
      wholeAgain(world);
    },
  );

  stories('a claim arrives at the arbiter after the cut has healed', (world) => {
    world.startPair();
    world.link.setCut(true, true);
    world.arbiter.lateRequests = 1;
    world.run(3200);
    world.link.setCut(false, false);
    world.run(1000);
    world.arbiter.lateRequests = 0;
    world.run(20_000);
    wholeAgain(world);
  });

  stories('power is lost between the swap of the record to both and its answer', (world) => {
    world.startPair();
    world.b.losePower();
    writesAlone(world, world.a);
    world.run(1000);
    world.b.boot();
    world.arbiter.lostAnswers = 1;
    world.expect('the record says both', () => world.arbiter.record?.holder === 'both');
    world.run(world.random.between(0, 10));
    world.random.pick([world.a, world.b]).losePower();
    world.run(2000);
    world.arbiter.lostAnswers = 0;
    world.run(10_000);
    wholeAgain(world);
  });

  stories('both nodes leave at the same time', (world) => {
    world.startPair();
    let stopped = 0;
    for (const host of world.hosts) host.command('stop', () => (stopped += 1));
    world.expect('both have stopped', () => stopped === 2);
    const data = world.hosts.map(({ mirror }) => mirror?.state.data);
    expect(data).to.include('up-to-date');
    wholeAgain(world);
  });

  stories('bits would be cleared before the source flushed, and the source loses power', (world) => {
    world.startPair();
    world.b.losePower();
    writesAlone(world, world.a);
    world.run(2000);
    world.b.boot();
    world.expect('A finishes', () => world.a.mirror?.pairing.phase === 'finishing');
    world.run(world.random.between(0, 20));
    world.a.losePower();
    world.run(2000);
    wholeAgain(world);
  });

  stories('a flush ends after writes that began later, and the secondary loses power', (world) => {
    world.startPair();
    world.run(500);
    const { guest } = world.a;
    for (let turn = 0; turn < 8; turn += 1) {
      guest?.flush(0);
      world.run(world.random.between(0, 2));
      guest?.write(0, turn * 65_536, 65_536);
      world.run(world.random.between(0, 2));
    }
    world.b.losePower();
    writesAlone(world, world.a);
    world.run(1000);
    wholeAgain(world);
  });
});
