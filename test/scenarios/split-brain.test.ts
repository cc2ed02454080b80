/**
 * Both nodes go on alone, meet again, stay as they are, and one copy is given up by command. In these worlds two histories are allowed;
 * what is checked instead: every block that the given-up copy wrote is in a side file, the other copy loses nothing, and what is
 * copied is what either side wrote.
 */
import { expect } from 'chai';
import type { WorldError } from '../../src/base/errors.ts';
import { deriveState } from '../../src/cluster/derive-state.ts';
import { blockSizeBytes } from '../../src/disk/state.ts';
import { sectorBytes } from '../simulation/simulated-disk.ts';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import type { World, WorldOptions } from '../simulation/world.ts';
import { story } from './story.ts';

const mebibyte = 1024 ** 2;
const allowed: WorldOptions = {
  hasArbiter: false,
  allowSplitBrain: true,
  volumeSizesBytes: [24 * mebibyte, 9 * mebibyte],
};

const isAlone = ({ mirror }: SimulatedHost): boolean => mirror?.primary.soloAllowed === true;

/** Both run their VM and have written; the link is back, and both have seen it. */
function split(world: World): void {
  world.startPair();
  world.link.setCut(true, true);
  world.expect(
    'both went on alone',
    () => world.hosts.every((host) => isAlone(host) && host.vm.executes),
    15_000,
  );
  world.run(3000);
  world.link.setCut(false, false);
  seen(world);
}

function seen(world: World): void {
  const both = (): boolean => world.hosts.every(({ mirror }) => mirror?.pairing.isSplit === true);
  world.expect('both see the split', both, 20_000);
}

type Answer = () => { readonly error: WorldError | undefined } | undefined;

function begin(at: SimulatedHost, keep: string, loseSince?: string): Answer {
  let answer: { readonly error: WorldError | undefined } | undefined;
  at.mirror?.resolve.start(keep, loseSince, (error) => (answer = { error }));
  return () => answer;
}

function resolve(at: SimulatedHost, keep: string, loseSince?: string): WorldError | undefined {
  const answer = begin(at, keep, loseSince);
  at.world.expect('the command is answered', () => answer() !== undefined);
  return answer()?.error;
}

const sinceOf = ({ mirror }: SimulatedHost): string => mirror?.state.aloneSince ?? '';

/** All that differs between the copies now is in the side file of the one that is given up, as it is there. */
function watchTheLoser(world: World, loser: SimulatedHost): () => void {
  const before = loser.disks.map(({ seen: sectors }) => sectors.slice());
  const dirty = loser.mirror?.replicas.map(({ bitmap }) => bitmap.count) ?? [];
  expect(Math.min(...dirty), 'it wrote to every volume').to.be.above(0);
  const own = loser.mirror?.replicas.map(({ bitmap }) => {
    const blocks = new Set<number>();
    bitmap.forEach((block) => blocks.add(block));
    return blocks;
  });
  return () => {
    const file = loser.sideFiles.complete.at(-1);
    expect(file?.content.keep).to.equal(world.otherThan(loser).name);
    before.forEach((sectors, volume) => {
      const inFile = file?.kept[volume] as ReadonlyMap<number, number>;
      sectors.forEach((tag, sector) => {
        const block = Math.floor((sector * sectorBytes) / blockSizeBytes);
        if (own?.[volume]?.has(block) !== true) return;
        // Its guest went on until it was stopped: a later version is kept then.
        if (inFile.get(sector) === undefined)
          expect.fail(`volume ${volume} sector ${sector} (${tag}) is not kept`);
      });
    });
  };
}

/** In sync, by an incremental resync, with the VM on the node whose copy was kept. */
function whole(world: World, keep: SimulatedHost): void {
  const full = world.checkers.fullCopies;
  world.expect('the pair is in sync', () => world.inSync() && world.primary() === keep, 60_000);
  expect(world.checkers.fullCopies, 'full copies').to.equal(full);
  world.checkAtRest();
  for (const { mirror } of world.hosts)
    expect([mirror?.state.splitSince, mirror?.splitBrain.status]).to.deep.equal([undefined, undefined]);
}

describe('split brain', () => {
  it('is frozen: both VMs run on, nothing is copied, and both nodes show what each has written', () =>
    story(
      1201,
      (world) => {
        split(world);
        const before = world.acknowledgedCount;
        world.run(20_000);
        expect(world.acknowledgedCount).to.be.above(before + 100);
        for (const host of world.hosts) {
          const { mirror } = host;
          if (mirror === undefined) return expect.fail('its module runs');
          expect([isAlone(host), mirror.pairing.phase]).to.deep.equal([true, 'handshake']);
          const { state, readiness, because } = deriveState(mirror);
          expect([state, readiness]).to.deep.equal(['ALONE', 'not-ready']);
          expect(because).to.match(
            /split brain: .*A wrote .*since.*B wrote|split brain: .*B wrote .*since.*A wrote/u,
          );
          const sides = mirror.splitBrain.status?.sides ?? [];
          expect(sides.map(({ node }) => node).sort()).to.deep.equal(['A', 'B']);
          for (const side of sides) expect(side.volumes[0]?.ranges.length).to.be.above(0);
        }
      },
      allowed,
    ));

  it('is over when a copy was given up: during the resync no node asks for the command again', () =>
    story(
      1219,
      (world) => {
        split(world);
        const { a, b } = world;
        const since = sinceOf(b);
        expect(resolve(a, 'A', since)).to.equal(undefined);
        const isOver = ({ mirror }: SimulatedHost): boolean => mirror?.splitBrain.status === undefined;
        world.expect(
          'the resync runs, and no split is shown',
          () => a.mirror?.pairing.phase === 'resync-source' && isOver(a) && isOver(b),
          20_000,
        );
        whole(world, a);
      },
      allowed,
    ));

  it('a restarted process goes on with its VM, a rebooted host does not start it, also when the peer is lost again', () =>
    story(
      1202,
      (world) => {
        split(world);
        world.a.kill();
        world.expect('A goes on', () => isAlone(world.a) && world.a.vm.executes, 20_000);
        world.b.losePower();
        world.b.boot();
        seen(world);
        world.a.losePower();
        world.run(60_000);
        expect(world.b.vm.executes).to.equal(false);
        expect(world.b.mirror?.aloneBecause).to.match(/no role changes by itself/u);
      },
      allowed,
    ));

  for (const [keep, at] of [
    ['A', 'A'],
    ['A', 'B'],
    ['B', 'A'],
    ['B', 'B'],
  ] as const) {
    it(`is resolved with the copy of ${keep}, by a command on ${at}: named, kept in a side file, copied incrementally`, () =>
      story(
        keep === 'A' ? 1203 : 1204,
        (world) => {
          split(world);
          const [keeper, loser] = keep === 'A' ? [world.a, world.b] : [world.b, world.a];
          const host = at === 'A' ? world.a : world.b;
          const refused = resolve(host, keep);
          expect(refused?.wanted).to.equal(`--lose-since ${sinceOf(loser)}`);
          expect(refused?.next).to.match(/is given up; its VM ends at once/u);
          expect(resolve(host, 'C')?.next).to.equal('name the node whose copy is kept');
          expect(loser.vm.executes).to.equal(true);
          const check = watchTheLoser(world, loser);
          expect(resolve(host, keep, sinceOf(loser))).to.equal(undefined);
          check();
          whole(world, keeper);
          expect(loser.sideFiles.complete.length).to.equal(1);
          expect(loser.sideFiles.keptBytes).to.be.below(24 * mebibyte);
        },
        allowed,
      ));
  }

  it('without room for the side file nothing changes: found before, or while it is written', () =>
    story(
      1207,
      (world) => {
        split(world);
        world.b.sideFiles.room = 'none';
        expect(resolve(world.a, 'A', sinceOf(world.b))?.found).to.equal('no room');
        expect(world.b.vm.executes).to.equal(true);
        world.b.sideFiles.room = 'late';
        expect(resolve(world.a, 'A', sinceOf(world.b))?.found).to.equal('no room');
        world.expect('B goes on as before', () => isAlone(world.b) && world.b.vm.executes);
        expect(world.b.sideFiles.complete.length).to.equal(0);
        seen(world);
        world.b.sideFiles.room = 'enough';
        expect(resolve(world.a, 'A', sinceOf(world.b))).to.equal(undefined);
        whole(world, world.a);
      },
      allowed,
    ));

  for (const afterMs of [1, 20, 40, 60, 80, 120, 200]) {
    for (const fault of ['kill', 'losePower'] as const) {
      it(`${fault} of the copy that is given up, ${afterMs} ms into it: nothing is lost, and it can be given again`, () =>
        story(
          1220 + afterMs,
          (world) => {
            split(world);
            begin(world.b, 'A', sinceOf(world.b));
            world.run(afterMs);
            world.b[fault]();
            if (fault === 'losePower') world.b.boot();
            const again = (): boolean => world.inSync() || world.b.mirror?.pairing.isSplit === true;
            world.expect('it is over, or a split as before', again, 60_000);
            if (!world.inSync()) {
              const check = watchTheLoser(world, world.b);
              expect(resolve(world.b, 'A', sinceOf(world.b))).to.equal(undefined);
              check();
            }
            whole(world, world.a);
            expect(world.b.sideFiles.complete.length).to.be.above(0);
          },
          allowed,
        ));
    }
  }

  it('is refused without a split, and without the peer', () =>
    story(
      1208,
      (world) => {
        world.startPair();
        expect(resolve(world.a, 'A')?.found).to.equal('no split brain now');
        world.link.setCut(true, true);
        world.run(10_000);
        expect(resolve(world.a, 'A')?.found).to.equal('no split brain now');
      },
      allowed,
    ));
});

describe('a split brain by force', () => {
  /** B was started with its outdated copy; A is back, refused by the record. */
  function forced(world: World): void {
    world.startPair();
    world.link.setCut(true, true);
    world.expect('B is outdated', () => world.b.mirror?.state.data === 'outdated', 30_000);
    world.run(1500);
    world.a.losePower();
    world.run(7000);
    let done = false;
    const loseSince = world.b.mirror?.state.inSyncAt;
    world.b.mirror?.forcedStart.start({ kind: 'outdated', loseSince, peerIsOff: 'A' }, () => (done = true));
    world.expect('B was forced', () => done && isAlone(world.b));
    world.checkers.historyGivenUp(world.b);
    world.run(2000);
    world.link.setCut(false, false);
    world.a.boot();
    seen(world);
  }

  it('is resolved with the forced copy, incrementally', () =>
    story(1231, (world) => {
      forced(world);
      expect(resolve(world.b, 'B', sinceOf(world.a))).to.equal(undefined);
      world.expect('the pair is in sync', () => world.inSync() && world.primary() === world.b, 60_000);
      expect(world.checkers.fullCopies).to.equal(1);
    }));

  it('is resolved with the other copy: that one asks the arbiter first, and goes on', () =>
    story(1232, (world) => {
      forced(world);
      world.guestsRest = true;
      world.run(500);
      expect(resolve(world.b, 'A', sinceOf(world.b))).to.equal(undefined);
      world.checkers.historyGivenUp(world.a);
      world.expect('the pair is in sync', () => world.inSync() && world.primary() === world.a, 60_000);
      expect([world.arbiter.record?.holder, world.checkers.fullCopies]).to.deep.equal(['both', 1]);
    }));
});
