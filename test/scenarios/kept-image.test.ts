/**
 * The earlier image of a resync target in a simulated world: when there is one, what it is for, and that no later meeting takes
 * a start from it for something that it is not. File systems are not verified here.
 */
import { expect } from 'chai';
import type { WorldError } from '../../src/base/errors.ts';
import type { ForcedConsent } from '../../src/cluster/forced-start.ts';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

const mebibyte = 1024 ** 2;

/** B comes back outdated, and A loses power while B is half resynchronised. */
function loseSourceInResync(world: World): void {
  world.startPair();
  world.b.losePower();
  world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
  world.run(8000);
  world.b.boot();
  world.expect('B is resync target', () => world.b.mirror?.pairing.phase === 'resync-target');
  world.expect('some blocks are copied', () => !world.b.images.equalsDisks());
  world.a.losePower();
  world.run(1);
  expect(world.b.mirror?.state.data).to.equal('inconsistent');
}

function fromImage(
  host: SimulatedHost,
  consent: Partial<ForcedConsent>,
): () => WorldError | 'done' | undefined {
  let answer: WorldError | 'done' | undefined;
  const whole = { kind: 'kept-image', loseSince: undefined, peerIsOff: undefined, ...consent } as const;
  host.mirror?.forcedStart.start(whole, (error) => (answer = error ?? 'done'));
  return () => answer;
}

const consentOf = ({ images }: SimulatedHost): ForcedConsent => ({
  kind: 'kept-image',
  loseSince: images.complete?.contentOf,
  peerIsOff: 'A',
});

/** B runs the VM with its kept image. */
function startFromImage(world: World): void {
  world.run(7000);
  const answer = fromImage(world.b, consentOf(world.b));
  world.expect('the command is done', () => answer() !== undefined);
  expect(answer()).to.equal('done');
  world.checkers.historyGivenUp(world.b);
  world.expect('the VM runs on B', () => world.primary() === world.b);
}

describe('the earlier image of a resync target', () => {
  it('is kept before the first block and goes when the pair is in sync', () =>
    story(331, (world) => {
      world.startPair();
      world.b.losePower();
      world.run(8000);
      world.b.boot();
      world.expect('B is resync target', () => world.b.mirror?.pairing.phase === 'resync-target');
      expect(world.b.images.complete).to.not.equal(undefined);
      expect(world.b.mirror?.keptImage.statusFor('inconsistent')?.kept).to.equal(true);
      world.expect('the pair is in sync', () => world.inSync());
      world.expect('the image is gone', () => world.b.images.complete === undefined, 1000);
      expect(world.b.mirror?.keptImage.statusFor('up-to-date')).to.equal(undefined);
      world.checkAtRest();
    }));

  it('is not kept where the file system cannot clone; the resync goes on and the status says why', () =>
    story(332, (world) => {
      world.b.images.possible = false;
      loseSourceInResync(world);
      const status = world.b.mirror?.keptImage.statusFor('inconsistent');
      expect(status).to.deep.equal({
        kept: false,
        because: 'no earlier image is kept: the file system cannot clone files',
      });
      world.run(7000);
      const answer = fromImage(world.b, { loseSince: 'now', peerIsOff: 'A' })();
      expect((answer as WorldError).message).to.contain('the file system cannot clone files');
      world.a.boot();
      world.expect('the pair is in sync', () => world.inSync());
      world.checkAtRest();
    }));

  it('stays the image of the last whole copy through several attempts, restarts and power losses', () =>
    story(333, (world) => {
      loseSourceInResync(world);
      const { complete } = world.b.images;
      world.b.kill();
      world.run(2000);
      world.b.losePower();
      world.run(500);
      world.b.boot();
      world.a.boot();
      world.expect('B is resync target again', () => world.b.mirror?.pairing.phase === 'resync-target');
      expect(world.b.images.complete).to.equal(complete);
      expect(world.b.mirror?.keptImage.facts).to.equal(complete);
      world.expect('the pair is in sync', () => world.inSync());
      world.expect('the image is gone', () => world.b.images.complete === undefined, 1000);
      world.checkAtRest();
    }));

  it('goes at the next start when the process died before it could remove it', () =>
    story(334, (world) => {
      world.startPair();
      world.b.losePower();
      world.run(8000);
      world.b.boot();
      world.expect('B is up to date', () => world.b.mirror?.state.data === 'up-to-date' && world.inSync());
      world.b.kill();
      world.expect('the pair is in sync', () => world.inSync());
      world.expect('the image is gone', () => world.b.images.complete === undefined, 1000);
      world.checkAtRest();
    }));
});

describe('a start from the kept image', () => {
  it('is refused without the loss and the peer named, and the refusal names both', () =>
    story(341, (world) => {
      loseSourceInResync(world);
      expect((fromImage(world.b, consentOf(world.b))() as WorldError).message).to.contain('connected');
      world.expect('the link is down', () => world.b.mirror?.pairing.phase === 'down', 5000);
      const early = fromImage(world.b, consentOf(world.b))();
      expect((early as WorldError).message).to.contain('silent');
      world.run(7000);
      const { contentOf } = world.b.images.complete ?? {};
      for (const consent of [
        {},
        { loseSince: contentOf },
        { peerIsOff: 'A' },
        { loseSince: 'x', peerIsOff: 'A' },
      ]) {
        const refused = fromImage(world.b, consent)() as WorldError;
        expect(refused.message).to.contain(`--lose-since ${contentOf} --peer-is-off A`);
        expect(refused.next).to.contain('its VM may still run');
      }
      expect(world.b.mirror?.state.data).to.equal('inconsistent');
      let refused: WorldError | undefined;
      world.b.command('prim', (error) => (refused = error));
      world.expect('prim is refused', () => refused !== undefined);
      expect(refused?.next).to.contain('--from-kept-image');
    }));

  it('asks the arbiter, runs the VM with the image, and the old source is told apart when it comes back', () =>
    story(342, (world) => {
      loseSourceInResync(world);
      const before = world.arbiter.record;
      startFromImage(world);
      expect(world.arbiter.record).to.include({ holder: 'B', generation: (before?.generation ?? 0) + 1 });
      expect(world.b.mirror?.state).to.include({ data: 'up-to-date', base: undefined });
      expect(world.b.mirror?.replicas[0]?.bitmap.count).to.equal(
        world.b.mirror?.replicas[0]?.bitmap.blockCount,
      );
      world.a.boot();
      world.run(20_000);
      for (const { mirror } of world.hosts) expect(mirror?.pairing.verdict?.rule).to.equal('split-brain');
      expect(world.primary()).to.equal(world.b);
    }));

  it('of several volumes takes all of them back to one moment', () =>
    story(
      346,
      (world) => {
        loseSourceInResync(world);
        const kept = world.b.images.contents;
        world.run(7000);
        const answer = fromImage(world.b, consentOf(world.b));
        world.expect('the command is done', () => answer() === 'done');
        for (const [volume, { seen }] of world.b.disks.entries()) expect(seen).to.deep.equal(kept[volume]);
        world.checkers.historyGivenUp(world.b);
        world.expect('the VM runs on B', () => world.primary() === world.b);
        world.run(2000);
      },
      { volumeSizesBytes: [4 * mebibyte, 8 * mebibyte + 65_536] },
    ));

  it('when the record never left `both`, what the old source acknowledged alone is not overwritten either', () =>
    story(345, (world) => {
      world.startPair();
      // Equal generations and a rebooted secondary: it is the target, and the record stays as it is.
      world.link.setCut(true, true);
      world.b.losePower();
      world.run(200);
      world.b.boot();
      world.link.setCut(false, false);
      world.expect('B is resync target', () => world.b.mirror?.pairing.phase === 'resync-target', 3000);
      expect(world.arbiter.record?.holder).to.equal('both');
      world.a.losePower();
      startFromImage(world);
      world.a.boot();
      world.run(20_000);
      for (const { mirror } of world.hosts)
        expect(mirror?.pairing.verdict?.rule).to.be.oneOf(['split-brain', 'unrelated-data']);
      expect(world.primary()).to.equal(world.b);
    }));

  it('waits for the arbiter, and changes nothing when it does not answer', () =>
    story(344, (world) => {
      loseSourceInResync(world);
      world.arbiter.running = false;
      world.run(7000);
      const answer = fromImage(world.b, consentOf(world.b));
      world.expect('an answer', () => answer() !== undefined);
      expect((answer() as WorldError).code).to.equal('arbiter-unreachable');
      expect(world.b.mirror?.state.data).to.equal('inconsistent');
      world.arbiter.running = true;
      world.a.boot();
      world.expect('the pair is in sync', () => world.inSync());
      world.checkAtRest();
    }));

  for (const afterMs of [1, 10, 20, 30, 40, 60]) {
    it(`the process dies ${afterMs} ms after the command: the source that comes back after all is the source`, () =>
      story(350 + afterMs, (world) => {
        loseSourceInResync(world);
        world.run(7000);
        // The arbiter is lost once the record was read, so that nothing is granted.
        fromImage(world.b, consentOf(world.b));
        world.run(afterMs);
        if (world.arbiter.record?.holder === 'B') return;
        world.arbiter.running = false;
        world.b.kill();
        world.a.boot();
        world.run(3000);
        world.arbiter.running = true;
        const granted = (): boolean => world.arbiter.record?.holder === 'B';
        world.expect('one way or the other', () => world.inSync() || granted(), 60_000);
        if (granted()) return;
        world.checkAtRest();
      }));
  }

  it('that failed at its last step: the source, which had cleared bits for blocks that the image lacks, compares every block', () =>
    story(
      345,
      (world) => {
        world.startPair();
        world.b.losePower();
        world.run(8000);
        world.b.boot();
        const copied = (): number => world.a.mirror?.pairing.progress?.examinedBytes ?? 0;
        world.expect('some blocks are copied', () => copied() > 0);
        world.link.setCut(true, true);
        world.run(10_000);
        expect(world.b.mirror?.state.data).to.equal('inconsistent');
        const answer = fromImage(world.b, consentOf(world.b));
        world.expect('the image is in place', () => world.b.mirror?.state.data === 'outdated');
        world.b.kill();
        expect([answer(), world.arbiter.record?.holder]).to.deep.equal([undefined, 'A']);
        world.expect('another process', () => world.b.mirror !== undefined);
        expect(world.a.mirror?.replicas[0]?.bitmap.count).to.be.below(256);
        world.link.setCut(false, false);
        world.expect('the resync begins', () => world.a.mirror?.pairing.phase === 'resync-source');
        expect(world.a.mirror?.pairing.progress?.totalBytes).to.equal(16 * mebibyte);
        world.expect('the pair is in sync', () => world.inSync());
        world.checkAtRest();
      },
      { volumeSizesBytes: [16 * mebibyte] },
    ));
});
