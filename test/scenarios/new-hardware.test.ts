/** A node comes back with new hardware: empty disks and empty metadata. It is never the source, and never makes a stale copy start. */
import { expect } from 'chai';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

function wholeAgain(world: World): void {
  world.expect('the pair is in sync', () => world.inSync() && world.primary() !== undefined, 60_000);
  world.checkAtRest();
}

describe('a node with new hardware', () => {
  it('of a secondary: it is filled in full from the one that went on alone', () =>
    story(1001, (world) => {
      world.startPair();
      world.b.losePower();
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
      world.b.replaceHardware();
      world.b.boot();
      wholeAgain(world);
      expect([world.primary()?.name, world.checkers.fullCopies]).to.deep.equal(['A', 2]);
    }));

  it('of a primary, before anybody missed it: the secondary asks the arbiter at once, starts, and fills it', () =>
    story(1002, (world) => {
      world.startPair();
      world.a.losePower();
      world.a.replaceHardware();
      world.a.boot();
      world.expect('the VM runs on B', () => world.primary() === world.b, 6000);
      wholeAgain(world);
    }));

  it('of a primary after a blackout, and the arbiter comes last: nothing starts before it answers', () =>
    story(1003, (world) => {
      world.startPair();
      world.arbiter.running = false;
      for (const host of world.hosts) host.losePower();
      world.a.replaceHardware();
      for (const host of world.hosts) host.boot();
      world.run(60_000);
      expect(world.primary()).to.equal(undefined);
      world.arbiter.running = true;
      world.expect('the VM runs on B', () => world.primary() === world.b);
      wholeAgain(world);
    }));

  it('of the node that had gone on alone: the other copy is stale by the record, and does not start beside it', () =>
    story(1004, (world) => {
      world.startPair();
      world.b.losePower();
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
      world.run(2000);
      world.a.losePower();
      world.a.replaceHardware();
      for (const host of world.hosts) host.boot();
      world.expect('B knows that it is outdated', () => world.b.mirror?.state.data === 'outdated');
      world.run(60_000);
      expect(world.primary()).to.equal(undefined);
      expect(world.b.mirror?.pairing.waiting).to.match(/this copy is outdated and the peer's is fresh/u);
    }));

  it('cannot be started by its operator: the arbiter has a record that it does not know', () =>
    story(1005, (world) => {
      world.startPair();
      world.b.losePower();
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
      world.a.losePower();
      world.b.replaceHardware();
      world.b.boot();
      world.expect('B runs', () => world.b.mirror?.run === 'started');
      world.b.command('prim');
      world.run(60_000);
      expect(world.b.mirror?.state.data).to.equal('fresh');
      expect(world.primary()).to.equal(undefined);
      world.a.boot();
      wholeAgain(world);
      expect(world.primary()).to.equal(world.a);
    }));

  it('of a primary without an arbiter: the other waits for its operator, and then fills it', () =>
    story(
      1006,
      (world) => {
        world.startPair();
        world.a.losePower();
        world.a.replaceHardware();
        world.a.boot();
        world.run(60_000);
        expect(world.primary()).to.equal(undefined);
        world.b.command('prim');
        world.expect('the VM runs on B', () => world.primary() === world.b, 6000);
        wholeAgain(world);
      },
      { hasArbiter: false },
    ));
});
