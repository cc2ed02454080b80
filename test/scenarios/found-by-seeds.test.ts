/** Bugs that seeds of the simulation found, told as the shortest story that fails without the fix. */
import { expect } from 'chai';
import type { World, WorldOptions } from '../simulation/world.ts';
import { story } from './story.ts';

const seeds = [1, 2, 3, 4, 5, 6, 7, 8];

function stories(situation: string, tell: (world: World) => void, options?: WorldOptions): void {
  it(situation, () => {
    for (const seed of seeds) story(seed, tell, { guestThinkMs: 10, ...options });
  });
}

function wholeAgain(world: World): void {
  world.arbiter.running = true;
  world.arbiter.unreachableFrom.clear();
  world.link.setCut(false, false);
  world.link.delayMs = 1;
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

describe('found by the simulation', () => {
  stories(
    'a claim that was sent before a power loss is granted after it, while the other copy holds more',
    (world) => {
      world.startPair();
      world.run(world.random.between(0, 1500));
      world.arbiter.running = false;
      world.link.setCut(true, true);
      world.expect('B has asked', () => world.b.mirror?.operationOpen === true, 10_000);
      world.run(100);
      world.b.losePower();
      world.run(500);
      world.arbiter.unreachableFrom.add('A');
      world.arbiter.running = true;
      world.b.boot();
      world.expect('the VM runs on B', () => world.primary() === world.b, 5000);
      wholeAgain(world);
    },
  );

  stories('a primary without link and arbiter has paused its VM when the other one starts it', (world) => {
    world.startPair();
    world.run(world.random.between(0, 1000));
    world.arbiter.unreachableFrom.add('A');
    world.link.setCut(true, true);
    world.expect('the VM runs on B', () => world.primary() === world.b, 10_000);
    world.run(1000);
    wholeAgain(world);
  });

  for (const silentMs of [500, 2000, 3500, 4700]) {
    stories(
      `the module of the primary hangs ${silentMs} ms after the link was cut: its VM is paused in time`,
      (world) => {
        world.startPair();
        world.run(world.random.between(0, 1000));
        world.arbiter.unreachableFrom.add('A');
        world.link.setCut(true, true);
        world.run(silentMs);
        world.a.freezeProcess(20_000);
        // The checker of VMs that execute fails the story otherwise.
        world.expect('the VM runs on B', () => world.primary() === world.b, 10_000);
        expect(world.a.vm.executes).to.equal(false);
        world.run(20_000);
        wholeAgain(world);
      },
    );
  }

  stories(
    'the module of the primary hangs for a moment after its VM was paused past it: the VM goes on',
    (world) => {
      world.startPair();
      world.arbiter.running = false;
      world.link.setCut(true, true);
      world.run(4000);
      world.a.freezeProcess(1300);
      world.run(1200);
      expect(world.a.vm.state).to.equal('paused');
      wholeAgain(world);
      expect(world.primary()).to.equal(world.a);
    },
  );

  stories('the module of the primary is killed while the link is silent, and adopts its VM', (world) => {
    world.startPair();
    world.arbiter.unreachableFrom.add('A');
    world.link.setCut(true, true);
    world.run(3500);
    world.a.kill();
    world.expect('the VM runs on B', () => world.primary() === world.b, 10_000);
    world.run(1000);
    wholeAgain(world);
  });

  stories('both nodes ask to leave, and their requests cross', (world) => {
    world.startPair();
    world.run(200);
    world.a.command('swap');
    world.expect('B is primary', () => world.primary() === world.b);
    world.link.delayMs = 80;
    let stopped = 0;
    // The primary asks when its VM is down and both are flushed; the other one at about that moment.
    world.b.command('stop', () => (stopped += 1));
    world.expect('the VM of B is down', () => world.b.vm.state === 'stopped');
    world.run(world.random.between(0, 160));
    world.a.command('stop', () => (stopped += 1));
    world.expect('both have stopped', () => stopped === 2);
    expect(world.hosts.map(({ mirror }) => mirror?.state.data)).to.include('up-to-date');
    wholeAgain(world);
  });

  stories(
    'the peer says that it has left while this module stops, and nothing is served after that',
    (world) => {
      world.startPair();
      world.link.delayMs = 40;
      let stopped = 0;
      world.a.command('stop', () => (stopped += 1));
      world.expect('A is outdated', () => world.a.mirror?.state.data === 'outdated');
      world.expect('B knows', () => world.b.mirror?.state.peerData === 'outdated');
      world.b.command('stop', () => (stopped += 1));
      world.expect('both have stopped', () => stopped === 2);
      world.run(5000);
      expect(world.hosts.filter(({ vm, exporting }) => vm.executes || exporting)).to.deep.equal([]);
      wholeAgain(world);
    },
  );

  stories('a swap is given up because the link was lost, and does not go on later', (world) => {
    world.startPair();
    let refused = false;
    world.a.command('swap', (error) => (refused = error !== undefined));
    world.run(100);
    world.link.setCut(true, true);
    world.expect('the swap is given up', () => refused, 10_000);
    world.link.setCut(false, false);
    world.expect('the VM runs', () => world.primary() !== undefined);
    world.run(4000);
    expect(world.primary()).to.equal(world.a);
    wholeAgain(world);
  });

  stories('a stop while the link is cut ends', (world) => {
    world.startPair();
    world.link.setCut(true, true);
    world.run(3500);
    let stopped = false;
    world.a.command('stop', () => (stopped = true));
    world.expect('A has stopped', () => stopped, 10_000);
    wholeAgain(world);
  });

  stories('a stopped module with an open question to the arbiter is started again', (world) => {
    world.startPair();
    world.arbiter.running = false;
    world.b.losePower();
    world.expect('A has asked', () => world.a.mirror?.operationOpen === true, 10_000);
    let stopped = false;
    world.a.command('stop', () => (stopped = true));
    world.expect('A has stopped', () => stopped, 10_000);
    world.arbiter.running = true;
    world.a.command('start');
    world.expect('the VM runs on A', () => world.primary() === world.a, 30_000);
    wholeAgain(world);
  });

  stories('an equal block is only in the page cache of a target that loses power', (world) => {
    world.startPair();
    world.b.losePower();
    world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
    world.run(2000);
    world.b.boot();
    world.expect('B is a target', () => world.a.mirror?.pairing.phase === 'resync-source');
    world.run(world.random.between(4, 12));
    world.link.blip();
    world.expect('the link is lost', () => world.a.mirror?.pairing.phase === 'down');
    world.expect('B is a target again', () => world.a.mirror?.pairing.phase === 'resync-source');
    world.run(world.random.between(2, 8));
    world.b.losePower();
    wholeAgain(world);
  });

  stories(
    'the confirmation of the first synchronisation is lost, and the second one is not a full copy',
    (world) => {
      world.firstStart();
      world.expect('B is in sync', () => world.b.mirror?.pairing.phase === 'in-sync');
      world.b.losePower();
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 10_000);
      world.run(1000);
      wholeAgain(world);
    },
  );

  stories(
    'the operator chooses the first copy, and the link opens before the arbiter was reached',
    (world) => {
      world.arbiter.running = false;
      world.firstStart();
      world.expect('the link is up', () => world.b.mirror?.pairing.phase === 'handshake');
      world.run(1000);
      world.arbiter.running = true;
      world.expect('the pair is in sync', () => world.inSync() && world.primary() === world.a);
      wholeAgain(world);
    },
  );

  stories('the source has no room during a resync, and the guest that wrote is reset', (world) => {
    world.startPair();
    for (let turn = 0; turn < 4; turn += 1) {
      world.link.delayMs = 40;
      world.b.losePower();
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 10_000);
      world.run(1000);
      world.b.boot();
      world.expect('a resync', () => world.a.mirror?.pairing.phase === 'resync-source');
      for (const disk of world.a.disks) disk.failing = 'no-space';
      world.run(world.random.between(5, 60));
      world.a.vm.crash();
      for (const disk of world.a.disks) disk.failing = undefined;
      world.link.delayMs = 1;
      world.expect('the pair is in sync', () => world.inSync() && world.primary() === world.a);
    }
  });

  stories('what the dead module of the primary had asked for is still under way on its peer', (world) => {
    world.startPair();
    for (let turn = 0; turn < 4; turn += 1) {
      for (const { disks } of world.hosts) for (const disk of disks) disk.hung = true;
      world.run(world.random.between(20, 200));
      world.a.kill(100);
      world.a.vm.crash();
      for (const disk of world.a.disks) disk.hung = false;
      world.run(world.random.between(600, 2000));
      for (const disk of world.b.disks) disk.hung = false;
      world.expect('the pair is in sync', () => world.inSync() && world.primary() !== undefined);
      world.run(200);
    }
    world.checkAtRest();
  });

  stories(
    'without an arbiter the pair becomes whole, loses its secondary, and becomes whole again',
    (world) => {
      world.startPair();
      world.b.losePower();
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 10_000);
      world.run(1000);
      wholeAgain(world);
    },
    { hasArbiter: false },
  );

  it('without an arbiter: loses power while it becomes alone, and the other copy holds what it had not flushed', () => {
    for (const seed of [71, 72, 73, 74, 75])
      story(
        seed,
        (world) => {
          world.startPair();
          world.run(world.random.between(500, 1500));
          // Long enough to count as lost, not long enough for the disk to count as hung.
          for (const disk of world.a.disks) disk.hung = true;
          world.link.setCut(true, true);
          world.run(5000);
          world.a.losePower();
          for (const disk of world.a.disks) disk.hung = false;
          world.link.setCut(false, false);
          world.a.boot();
          wholeAgain(world);
        },
        { hasArbiter: false },
      );
  });

  stories('a stop and a start while the disk still flushes what a claim waits for', (world) => {
    world.startPair();
    world.link.setCut(true, true);
    world.run(2400);
    let stopped = false;
    world.a.command('stop', () => (stopped = true));
    for (const disk of world.a.disks) disk.hung = true;
    world.expect('A has stopped', () => stopped, 60_000);
    world.a.command('start');
    for (const disk of world.a.disks) disk.hung = false;
    world.run(world.random.between(0, 10));
    wholeAgain(world);
  });
});
