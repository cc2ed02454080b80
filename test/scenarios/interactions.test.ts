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
