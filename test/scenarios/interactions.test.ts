/** Commands and faults that meet in the middle of each other: what one of them promises, the other one must not break. */
import { expect } from 'chai';
import type { WorldError } from '../../src/base/errors.ts';
import type { CommandDone } from '../../src/cluster/departure.ts';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import type { World, WorldOptions } from '../simulation/world.ts';
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

  it('is refused beside an empty peer that waits for it, and says how to go on', () =>
    story(9016, (world) => {
      world.startPair();
      world.b.losePower();
      world.expect('A is alone', () => isAlone(world.a), 10_000);
      world.arbiter.loseStore();
      world.a.kill();
      world.b.replaceHardware();
      world.b.boot();
      const waits = (): boolean =>
        world.a.mirror?.claims.obstacle !== undefined && world.a.mirror.pairing.peerIsNew;
      world.expect('A waits beside it', waits, 20_000);
      const error = outcome(world, (done) => world.a.recreateRecord(undefined, done));
      expect(error?.next).to.equal('run `vmpair stop VM` on B, then this again with --peer-is-off B');
      expect(outcome(world, (done) => world.b.command('stop', done))).to.equal(undefined);
      world.run(8000);
      expect(outcome(world, (done) => world.a.recreateRecord('B', done))).to.equal(undefined);
      world.expect('A is alone again', () => isAlone(world.a), 10_000);
      expect(outcome(world, (done) => world.b.command('start', done))).to.equal(undefined);
      inSyncAgain(world);
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

/** Two histories are allowed, and not looked at. */
const allowed: WorldOptions = { hasArbiter: false, allowSplitBrain: true };
const forcedApart: WorldOptions = { hasArbiter: true, allowSplitBrain: true };

const isAlone = ({ mirror }: SimulatedHost): boolean => mirror?.primary.soloAllowed === true;
const sinceOf = ({ mirror }: SimulatedHost): string => mirror?.state.aloneSince ?? '';

function seen(world: World): void {
  const both = (): boolean => world.hosts.every(({ mirror }) => mirror?.pairing.isSplit === true);
  world.expect('both see the split', both, 20_000);
}

function bothRun(world: World): void {
  const run = (): boolean => world.hosts.every((host) => isAlone(host) && host.vm.executes);
  world.expect('both run', run, 15_000);
  world.run(2000);
  world.link.setCut(false, false);
  seen(world);
}

/** Both went on by themselves, and have met again. */
function split(world: World): void {
  world.startPair();
  world.link.setCut(true, true);
  bothRun(world);
}

/** A runs by the record; then B was forced, with the wrong word that A is off, and the record names B. */
function forcedBesideA(world: World): void {
  world.startPair();
  world.link.setCut(true, true);
  world.expect('B is outdated', () => world.b.mirror?.state.data === 'outdated', 30_000);
  world.run(7000);
  const loseSince = world.b.mirror?.state.inSyncAt;
  const consent = { kind: 'outdated', loseSince, peerIsOff: 'A' } as const;
  expect(outcome(world, (done) => world.b.mirror?.forcedStart.start(consent, done))).to.equal(undefined);
  bothRun(world);
}

/** The answers that came so far. */
function giveUpB(world: World): readonly (WorldError | undefined)[] {
  const answers: (WorldError | undefined)[] = [];
  world.b.mirror?.resolve.start('A', sinceOf(world.b), (error) => answers.push(error));
  return answers;
}

describe('resolve', () => {
  it('keeps a copy that runs and that the record does not name: its VM runs on, and the record is made to name it', () =>
    story(
      9001,
      (world) => {
        forcedBesideA(world);
        expect(outcome(world, (done) => world.a.mirror?.resolve.start('A', sinceOf(world.b), done))).to.equal(
          undefined,
        );
        world.expect('the record names A', () => world.arbiter.record?.holder === 'A', 5000);
        expect(world.a.vm.executes).to.equal(true);
        inSyncAgain(world);
        expect([world.primary(), world.arbiter.record?.holder]).to.deep.equal([world.a, 'both']);
      },
      forcedApart,
    ));

  it('and the link is lost before that copy hears of it: it is the source all the same, and the record becomes right', () =>
    story(
      9014,
      (world) => {
        forcedBesideA(world);
        giveUpB(world);
        world.expect('B is given up', () => world.b.mirror?.state.data === 'outdated');
        world.link.blip();
        inSyncAgain(world);
        expect([world.primary(), world.arbiter.record?.holder]).to.deep.equal([world.a, 'both']);
        const asked = world.a.mirror?.decisions.entries.filter(({ action }) => action === 'keep this copy');
        expect(asked).to.deep.equal([]);
      },
      forcedApart,
    ));

  it('the arbiter is away as the other copy is given up: it is asked until it answers', () =>
    story(
      9010,
      (world) => {
        forcedBesideA(world);
        world.a.losePower();
        world.a.boot();
        world.run(2000);
        seen(world);
        const answers = giveUpB(world);
        world.expect('A counts as outdated', () => world.a.mirror?.state.data === 'outdated');
        world.run(20);
        world.arbiter.running = false;
        world.expect('B is given up', () => answers.length > 0);
        world.checkers.historyGivenUp(world.a);
        world.run(5000);
        world.arbiter.running = true;
        inSyncAgain(world);
        expect(world.primary()).to.equal(world.a);
      },
      forcedApart,
    ));

  it('is refused when the copy that is kept does not run and the records are lost, with the way to have it named first', () =>
    story(
      9013,
      (world) => {
        forcedBesideA(world);
        world.a.losePower();
        world.a.boot();
        world.arbiter.loseStore();
        world.run(2000);
        seen(world);
        const since = sinceOf(world.b);
        const error = outcome(world, (done) => world.b.mirror?.resolve.start('A', since, done));
        expect(error?.found).to.equal('other records than its copy knows');
        expect(world.hosts.map(({ mirror }) => mirror?.state.data)).to.deep.equal([
          'up-to-date',
          'up-to-date',
        ]);
        expect(outcome(world, (done) => world.b.command('stop', done))).to.equal(undefined);
        world.run(8000);
        world.checkers.historyGivenUp(world.a);
        expect(outcome(world, (done) => world.a.recreateRecord('B', done))).to.equal(undefined);
        world.expect('A runs', () => isAlone(world.a), 10_000);
        expect(outcome(world, (done) => world.b.command('start', done))).to.equal(undefined);
        seen(world);
        expect(outcome(world, (done) => world.b.mirror?.resolve.start('A', since, done))).to.equal(undefined);
        inSyncAgain(world);
        expect(world.primary()).to.equal(world.a);
      },
      forcedApart,
    ));

  it('a copy that waits for the record goes on waiting when it could not be given up', () =>
    story(
      9011,
      (world) => {
        forcedBesideA(world);
        world.arbiter.loseStore();
        world.b.kill();
        const waits = (): boolean => world.b.mirror?.claims.obstacle !== undefined && world.b.mirror.serving;
        world.expect('B waits', waits, 20_000);
        seen(world);
        world.b.sideFiles.room = 'late';
        const since = sinceOf(world.b);
        const error = outcome(world, (done) => world.a.mirror?.resolve.start('A', since, done));
        expect(error?.found).to.equal('no room');
        world.run(3000);
        expect(isAlone(world.b)).to.equal(false);
      },
      forcedApart,
    ));

  it('the copy that is kept is on its own as soon as it knows: the other one is lost, and it starts', () =>
    story(
      9008,
      (world) => {
        split(world);
        world.a.losePower();
        world.a.boot();
        world.run(1000);
        seen(world);
        giveUpB(world);
        const knows = (): boolean =>
          world.a.mirror?.decisions.entries.some(({ action }) => action === 'keep this copy') === true;
        world.expect('A knows', knows);
        world.b.losePower();
        world.expect('the VM runs on A', () => world.primary() === world.a, 60_000);
      },
      allowed,
    ));

  it('both lose power in the resynchronisation after it, and only the copy that was kept comes back: it starts', () =>
    story(
      9009,
      (world) => {
        split(world);
        giveUpB(world);
        world.expect('A is source', () => world.a.mirror?.pairing.phase === 'resync-source');
        for (const host of world.hosts) host.losePower();
        world.a.boot();
        world.expect('the VM runs on A', () => world.primary() === world.a, 60_000);
      },
      { ...allowed, volumeSizesBytes: [24 * 1024 * 1024] },
    ));

  it('the copy that was to be kept is lost while the blocks of the other one are kept: that one goes on', () =>
    story(
      9012,
      (world) => {
        split(world);
        const answers = giveUpB(world);
        world.expect('its VM has ended', () => world.b.vm.state === 'stopped');
        world.a.kill();
        world.expect('the command is answered', () => answers.length > 0);
        expect(answers[0]?.found).to.equal('that it was lost');
        world.expect('the VM runs on B', () => isAlone(world.b) && world.b.vm.executes);
      },
      allowed,
    ));
});

describe('a node that is alone where nobody keeps a record, and whose module is restarted again and again', () => {
  it('stays in one lineage: the other node is still known when it is back, and only what differs is copied', () =>
    story(
      9015,
      (world) => {
        world.startPair();
        world.b.losePower();
        world.expect('A is alone', () => isAlone(world.a), 10_000);
        const { generation } = world.a.mirror?.state ?? {};
        for (let restart = 0; restart < 70; restart += 1) {
          world.a.kill();
          world.expect('A is alone again', () => isAlone(world.a), 30_000);
        }
        expect(world.a.mirror?.state.generation).to.equal(generation);
        world.b.boot();
        inSyncAgain(world);
        expect(world.checkers.fullCopies).to.equal(1);
      },
      { hasArbiter: false },
    ));
});
