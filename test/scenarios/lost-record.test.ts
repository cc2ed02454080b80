/** The arbiter's records are lost, or the arbiter is replaced: nobody goes on by the word of another store until the operator had the record made anew. */
import { expect } from 'chai';
import { deriveState } from '../../src/cluster/derive-state.ts';
import type { WorldError } from '../../src/base/errors.ts';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

/** The outcome of `arbiter recreate` on `host`. */
function recreate(world: World, host: SimulatedHost, peerIsOff?: string): WorldError | undefined {
  let outcome: { readonly error: WorldError | undefined } | undefined;
  host.recreateRecord(peerIsOff, (error) => (outcome = { error }));
  world.expect('the command is done', () => outcome !== undefined);
  return outcome?.error;
}

function inSyncAgain(world: World): void {
  world.expect('the pair is in sync', () => world.inSync());
  world.expect('a VM runs', () => world.primary() !== undefined);
  world.checkAtRest();
}

const answeredByOther = (host: SimulatedHost): boolean =>
  host.mirror?.decisions.entries.some(({ rule }) => rule === 'other-store') === true;

describe('the records of the arbiter are lost', () => {
  it('while the pair is in sync, and then a node: the other does not start, and says why', () =>
    story(60, (world) => {
      world.startPair();
      world.arbiter.loseStore();
      world.run(3000);
      inSyncAgain(world);
      world.a.losePower();
      world.run(20_000);
      expect(world.primary()).to.equal(undefined);
      expect(world.b.mirror?.claims.obstacle).to.match(/arbiter recreate VM/u);
      expect(world.arbiter.record).to.equal(undefined);
      world.a.boot();
      inSyncAgain(world);
    }));

  it('or only that of this module was deleted by hand, and then a node is lost: the other does not start', () =>
    story(68, (world) => {
      world.startPair();
      world.arbiter.record = undefined;
      world.a.losePower();
      world.run(20_000);
      expect(world.primary()).to.equal(undefined);
      expect(world.arbiter.record).to.equal(undefined);
      expect(world.b.mirror?.claims.obstacle).to.match(/no record.*arbiter recreate VM/u);
      expect(recreate(world, world.b, 'A')).to.equal(undefined);
      world.expect('the VM runs on B', () => world.primary() === world.b, 10_000);
      world.a.boot();
      inSyncAgain(world);
    }));

  it('and made anew by command while the pair is in sync: afterwards each node may take over as ever', () =>
    story(61, (world) => {
      world.startPair();
      world.arbiter.loseStore();
      expect(recreate(world, world.b)?.message).to.match(/wanted the primary/u);
      expect(recreate(world, world.a)).to.equal(undefined);
      world.expect('both know the new record', () => {
        const { record } = world.arbiter;
        return [world.a, world.b].every(({ mirror }) => mirror?.state.path.at(-1) === record?.operationId);
      });
      expect(world.arbiter.record?.holder).to.equal('both');
      expect(recreate(world, world.a)?.message).to.match(/that it is right/u);
      world.a.losePower();
      world.expect('the VM runs on B', () => world.primary() === world.b, 10_000);
      world.a.boot();
      inSyncAgain(world);
    }));

  it('and the node that is left is told that its peer is off: it starts, and the peer can not', () =>
    story(62, (world) => {
      world.startPair();
      world.a.losePower();
      world.arbiter.loseStore();
      world.run(15_000);
      expect(recreate(world, world.b)?.message).to.match(/--peer-is-off A/u);
      expect(recreate(world, world.b, 'A')).to.equal(undefined);
      world.expect('the VM runs on B', () => world.primary() === world.b, 10_000);
      world.link.setCut(true, true);
      world.a.boot();
      world.run(30_000);
      expect(world.primary()).to.equal(world.b);
      world.link.setCut(false, false);
      inSyncAgain(world);
    }));

  it('while one node is alone and the other comes back: the copy can not end until the record is made anew', () =>
    story(63, (world) => {
      world.startPair();
      world.b.losePower();
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
      world.arbiter.loseStore();
      world.b.boot();
      world.expect('A waits for the record', () => answeredByOther(world.a));
      world.run(5000);
      expect(world.inSync()).to.equal(false);
      expect(world.a.mirror && deriveState(world.a.mirror).because).to.match(/arbiter recreate VM/u);
      expect(recreate(world, world.a)).to.equal(undefined);
      inSyncAgain(world);
      expect(world.arbiter.record?.holder).to.equal('both');
    }));

  it('in the instant in which both lose each other: both wait, and are a pair again when the link is back', () =>
    story(64, (world) => {
      world.startPair();
      world.link.setCut(true, true);
      world.arbiter.loseStore();
      world.run(20_000);
      expect(world.a.mirror?.primary.gate).to.equal('held');
      expect(world.primary()).to.equal(undefined);
      world.link.setCut(false, false);
      inSyncAgain(world);
    }));

  it('the link is lost between the word of the peer and the new record: whoever has it may go on, the other not', () =>
    story(65, (world) => {
      world.startPair();
      world.arbiter.loseStore();
      world.a.recreateRecord(undefined);
      world.expect('B has moved', () => world.b.mirror?.state.arbiterStore === world.arbiter.store);
      world.link.setCut(true, true);
      world.run(20_000);
      const { record } = world.arbiter;
      expect(record === undefined || record.holder === 'A').to.equal(true);
      expect(world.b.mirror?.primary.soloAllowed).to.equal(false);
      world.link.setCut(false, false);
      inSyncAgain(world);
    }));

  it('a way that leads to a wrong arbiter for a while: the node asks its own one again when it is back', () =>
    story(66, (world) => {
      world.startPair();
      const { arbiter } = world;
      const { record } = arbiter;
      arbiter.loseStore();
      world.a.losePower();
      world.expect('B was answered by another store', () => answeredByOther(world.b), 20_000);
      arbiter.findStore(record);
      world.expect('the VM runs on B', () => world.primary() === world.b, 20_000);
    }));
});

describe('an obstacle to going on alone', () => {
  it('ends with the next pair in sync: a node that was started as secondary takes over later', () =>
    story(67, (world) => {
      world.startPair();
      let stopped = false;
      world.b.command('stop', () => (stopped = true));
      world.expect('B has stopped', () => stopped);
      world.b.command('second');
      inSyncAgain(world);
      world.a.losePower();
      world.expect('the VM runs on B', () => world.primary() === world.b, 10_000);
    }));
});
