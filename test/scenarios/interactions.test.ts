/** Commands and faults that meet in the middle of each other: what one of them promises, the other one must not break. */
import { expect } from 'chai';
import type { WorldError } from '../../src/base/errors.ts';
import type { CommandDone } from '../../src/cluster/departure.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

/** Gives a command and waits for its answer. */
function outcome(world: World, give: (done: CommandDone) => void): WorldError | undefined {
  let answer: { readonly error: WorldError | undefined } | undefined;
  give((error) => (answer = { error }));
  world.expect('the command is answered', () => answer !== undefined);
  return answer?.error;
}

function inSyncAgain(world: World): void {
  world.expect('the pair is in sync', () => world.inSync() && world.primary() !== undefined, 60_000);
  world.checkAtRest();
}

describe('the disk of a secondary fails a flush as the link is cut, and its operator accepts the disk', () => {
  for (const seed of [9101, 9104, 9133, 9137])
    it(`what it lost is found when the link is back, also by its next process (seed ${seed})`, () =>
      story(
        seed,
        (world) => {
          world.startPair();
          world.fences.mood = 'mute';
          world.run(3000);
          const { disks } = world.b;
          for (const disk of disks) disk.failing = 'flush';
          world.expect('B has noticed', () => world.b.mirror?.disk.isFinal === true, 20_000);
          world.link.setCut(true, true);
          for (const disk of disks) disk.failing = undefined;
          world.b.kill();
          world.expect('B is in doubt', () => world.b.mirror?.disk.doubt === 'flush-failed', 20_000);
          expect(outcome(world, (done) => world.b.mirror?.operator.acceptDisk(done))).to.equal(undefined);
          if (seed % 2 === 0) world.b.kill();
          world.link.setCut(false, false);
          inSyncAgain(world);
        },
        { hasArbiter: false, fence: 'required' },
      ));
});

describe('a command to a node that is part of a pair', () => {
  it('second to the secondary of a pair in sync changes nothing: it takes over when the primary is lost', () =>
    story(9003, (world) => {
      world.startPair();
      expect(outcome(world, (done) => world.b.mirror?.operator.second(done))).to.equal(undefined);
      world.run(2000);
      world.a.losePower();
      world.expect('the VM runs on B', () => world.primary() === world.b, 15_000);
    }));

  for (const verb of ['prim', 'second'] as const)
    it(`${verb} in the handshake after a blip ends with the pair in sync, and decides nothing later`, () =>
      story(
        9004,
        (world) => {
          world.startPair();
          world.link.blip();
          world.expect('the link is down', () => world.b.mirror?.pairing.phase === 'down');
          world.expect('the peer is connected', () => world.b.mirror?.pairing.phase === 'handshake');
          expect(outcome(world, (done) => world.b.mirror?.operator[verb](done))).to.equal(undefined);
          world.expect('the pair is in sync', () => world.inSync());
          world.expect('the wish is over', () => world.b.mirror?.state.wish === undefined);
          expect(world.b.mirror?.claims.obstacle).to.equal(undefined);
          world.link.setCut(true, true);
          world.run(20_000);
          expect(world.b.vm.executes).to.equal(false);
        },
        { hasArbiter: false },
      ));
});

describe('prim where nobody keeps a record, with the word that the peer is off', () => {
  for (const fence of [undefined, 'required'] as const)
    it(`is for the process that heard it: one that boots later does not start behind its peer${fence === undefined ? '' : ', also with a fence'}`, () =>
      story(
        9005,
        (world) => {
          world.startPair();
          world.fences.mood = 'works';
          world.fences.bootAfterMs = undefined;
          world.a.losePower();
          world.expect('B has lost A', () => world.b.mirror?.pairing.phase === 'down');
          expect(outcome(world, (done) => world.b.mirror?.operator.prim(done, 'A'))).to.equal(undefined);
          world.b.losePower();
          world.a.boot();
          world.run(5000);
          expect(outcome(world, (done) => world.a.mirror?.operator.prim(done, 'B'))).to.equal(undefined);
          world.expect('the VM runs on A', () => world.primary() === world.a, 30_000);
          world.run(3000);
          world.a.losePower();
          world.b.boot();
          world.run(60_000);
          expect(world.b.vm.executes).to.equal(false);
        },
        { hasArbiter: false, ...(fence === undefined ? {} : { fence }) },
      ));

  it('is void when the peer was heard meanwhile: nobody starts beside it', () =>
    story(
      9006,
      (world) => {
        world.startPair();
        world.link.setCut(true, true);
        world.expect('B has lost A', () => world.b.mirror?.pairing.phase === 'down');
        expect(outcome(world, (done) => world.b.mirror?.operator.prim(done, 'A'))).to.equal(undefined);
        world.link.setCut(false, false);
        world.expect('A is back', () => world.b.mirror?.session.channel !== undefined);
        world.link.setCut(true, true);
        world.run(20_000);
        expect(world.b.vm.executes).to.equal(false);
      },
      { hasArbiter: false },
    ));
});

describe('arbiter recreate', () => {
  it('while writes are held for a peer that is about to leave asks for nothing: the peer has not said its word', () =>
    story(9007, (world) => {
      world.startPair();
      world.arbiter.loseStore();
      world.b.command('stop');
      world.expect('writes are held', () => world.a.mirror?.primary.gate === 'held');
      world.b.freezeProcess(3000);
      const error = outcome(world, (done) => world.a.recreateRecord(undefined, done));
      expect(error?.found).to.equal('writes are held for a moment');
      expect(world.a.mirror?.state.pending).to.equal(undefined);
      world.run(1000);
      expect(world.arbiter.record).to.equal(undefined);
    }));

  for (const verb of ['swap', 'stop'] as const)
    it(`waits for a slow arbiter, and a ${verb} comes: nothing is given away before the answer`, () =>
      story(9008, (world) => {
        world.startPair();
        world.arbiter.loseStore();
        world.arbiter.lateRequests = 1;
        expect(outcome(world, (done) => world.a.recreateRecord(undefined, done))).to.equal(undefined);
        expect(world.a.mirror?.operationOpen).to.equal(true);
        const error = outcome(world, (done) => world.a.command(verb, done));
        expect(error?.found).to.equal(verb === 'swap' ? 'one' : undefined);
        world.arbiter.lateRequests = 0;
        world.run(20_000);
        expect(world.a.mirror?.state.data).to.equal('up-to-date');
        if (verb === 'stop') world.a.command('start');
        inSyncAgain(world);
        const holds = world.hosts.map(({ mirror }) => mirror?.state.path.at(-1));
        expect(holds).to.deep.equal([world.arbiter.record?.operationId, world.arbiter.record?.operationId]);
      }));
});
