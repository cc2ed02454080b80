/** The usual days of a pair, each as one story in a simulated world. Does not vary timing: the seeds of the simulation do. */
import { expect } from 'chai';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

/** The pair is in sync again, without a second full copy, and the copies are equal and complete. */
function inSyncAgain(world: World): void {
  world.expect('the pair is in sync', () => world.inSync());
  world.expect('a VM runs', () => world.primary() !== undefined);
  expect(world.checkers.fullCopies).to.equal(1);
  world.checkAtRest();
}

describe('a pair on a usual day', () => {
  it('copies the chosen copy to the other node and then mirrors every write', () =>
    story(1, (world) => {
      world.startPair();
      world.run(5000);
      inSyncAgain(world);
    }));

  it('goes on alone when the secondary loses power, and resynchronises only what was written meanwhile', () =>
    story(2, (world) => {
      world.startPair();
      world.b.losePower();
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
      world.run(5000);
      world.b.boot();
      inSyncAgain(world);
      expect(world.primary()).to.equal(world.a);
    }));

  it('does not move the VM when the module of the secondary is killed', () =>
    story(3, (world) => {
      world.startPair();
      world.b.kill();
      world.run(2000);
      inSyncAgain(world);
      expect(world.primary()).to.equal(world.a);
    }));

  it('goes on with the same VM when the module of the primary is killed', () =>
    story(4, (world) => {
      world.startPair();
      const { guest } = world.a;
      world.a.kill();
      world.run(2000);
      inSyncAgain(world);
      expect(world.a.guest).to.equal(guest);
    }));

  it('starts the VM on the other node when the primary loses power, and takes the old primary back', () =>
    story(5, (world) => {
      world.startPair();
      world.run(3000);
      world.a.losePower();
      world.expect('the VM runs on B', () => world.primary() === world.b, 10_000);
      world.run(5000);
      world.a.boot();
      inSyncAgain(world);
      expect(world.primary()).to.equal(world.b);
    }));

  it('resumes after a blip of the link without a resync and without the arbiter', () =>
    story(6, (world) => {
      world.startPair();
      world.run(1000);
      const { record } = world.arbiter;
      const resyncs = new Map(world.checkers.resyncs);
      world.link.blip();
      world.run(2000);
      inSyncAgain(world);
      expect(world.arbiter.record).to.equal(record);
      expect(world.checkers.resyncs).to.deep.equal(resyncs);
    }));

  it('lets one node go on when the link is cut, and becomes a pair again when it is back', () =>
    story(7, (world) => {
      world.startPair();
      world.link.setCut(true, true);
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
      world.run(15_000);
      expect(world.b.mirror?.state.data).to.equal('outdated');
      world.link.setCut(false, false);
      inSyncAgain(world);
    }));

  for (const seed of [31, 32, 33, 34, 35, 36, 37, 38])
    it(`goes on where its VM is when a switch was away, and with it the link and the arbiter (seed ${seed})`, () =>
      story(seed, (world) => {
        world.startPair();
        const { guest } = world.a;
        world.run(world.random.between(0, 3000));
        world.link.setCut(true, true);
        for (const { name } of world.hosts) world.arbiter.unreachableFrom.add(name);
        world.run(world.random.between(20_000, 40_000));
        world.arbiter.unreachableFrom.clear();
        world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 10_000);
        world.link.setCut(false, false);
        inSyncAgain(world);
        expect([world.primary(), world.a.guest]).to.deep.equal([world.a, guest]);
      }));

  it('moves the VM to the other node and back on request', () =>
    story(8, (world) => {
      world.startPair();
      let swapped = false;
      world.a.command('swap', () => (swapped = true));
      world.expect('the VM runs on B', () => world.primary() === world.b && swapped);
      world.run(2000);
      inSyncAgain(world);
      world.b.command('swap');
      world.expect('the VM runs on A', () => world.primary() === world.a);
      world.run(2000);
      inSyncAgain(world);
    }));

  it('goes on when the secondary is stopped, and takes it back when it is started', () =>
    story(9, (world) => {
      world.startPair();
      let stopped = false;
      world.b.command('stop', () => (stopped = true));
      world.expect('B has stopped', () => stopped);
      expect(world.b.mirror?.state.data).to.equal('outdated');
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 1000);
      world.run(3000);
      world.b.command('start');
      inSyncAgain(world);
    }));

  it('moves the VM when the primary is stopped, and takes the old primary back when it is started', () =>
    story(10, (world) => {
      world.startPair();
      let stopped = false;
      world.a.command('stop', () => (stopped = true));
      world.expect('the VM runs on B', () => world.primary() === world.b);
      world.expect('A has stopped', () => stopped);
      expect(world.a.mirror?.state.data).to.equal('outdated');
      world.run(3000);
      world.a.command('start');
      inSyncAgain(world);
      expect(world.primary()).to.equal(world.b);
    }));

  it('stops altogether, one node after the other, and starts again with the copy that was in use last', () =>
    story(11, (world) => {
      world.startPair();
      let stopped = 0;
      world.b.command('stop', () => (stopped += 1));
      world.run(3000);
      world.a.command('stop', () => (stopped += 1));
      world.expect('both have stopped', () => stopped === 2);
      expect(world.a.mirror?.state.data).to.equal('up-to-date');
      world.b.command('start');
      world.run(20_000);
      expect(world.primary()).to.equal(undefined);
      world.a.command('start');
      inSyncAgain(world);
      expect(world.primary()).to.equal(world.a);
    }));

  it('comes back by itself when both nodes lose power at once', () =>
    story(12, (world) => {
      world.startPair();
      world.run(2000);
      world.a.losePower();
      world.b.losePower();
      world.run(3000);
      world.b.boot();
      world.run(4000);
      world.a.boot();
      inSyncAgain(world);
    }));

  it('comes back by itself with the copy that was alone when both nodes lost power one after the other', () =>
    story(13, (world) => {
      world.startPair();
      world.b.losePower();
      world.run(8000);
      world.a.losePower();
      world.run(3000);
      world.b.boot();
      world.run(40_000);
      expect(world.primary()).to.equal(undefined);
      world.a.boot();
      inSyncAgain(world);
      expect(world.primary()).to.equal(world.a);
    }));

  it('is not touched by an arbiter that is gone', () =>
    story(14, (world) => {
      world.startPair();
      world.arbiter.running = false;
      world.run(10_000);
      world.link.blip();
      world.run(3000);
      inSyncAgain(world);
    }));

  it('mirrors several volumes, each in its own order', () =>
    story(
      15,
      (world) => {
        world.startPair();
        world.run(3000);
        world.a.losePower();
        world.run(12_000);
        world.a.boot();
        inSyncAgain(world);
      },
      { volumeSizesBytes: [4 * 1024 * 1024, 8 * 1024 * 1024 + 65_536] },
    ));

  it('a node that is stopped while its peer accepts to be its target serves nothing', () =>
    story(1, (world) => {
      world.startPair();
      world.b.command('stop');
      world.run(2000);
      world.a.losePower();
      world.a.boot();
      world.run(1000);
      world.b.command('start');
      world.expect('B is the target', () => world.b.mirror?.pairing.phase === 'resync-target');
      world.expect('A makes its part durable', () => world.a.storage.underWay.has('superblock'));
      world.a.command('stop');
      world.run(3000);
      expect(world.a.mirror?.run).to.equal('stopped');
      expect([world.a.mirror?.serving, world.a.vm.state]).to.deep.equal([false, 'stopped']);
    }));
});
