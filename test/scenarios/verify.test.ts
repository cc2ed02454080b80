/** A verify in a living pair of a simulated world, with a guest that works, and everything that may happen meanwhile. */
import { expect } from 'chai';
import type { WorldError } from '../../src/base/errors.ts';
import type { VerifyReport } from '../../src/base/status.ts';
import { pairAwayMaxMs, type VerifyRequest } from '../../src/cluster/verify.ts';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import { sectorBytes } from '../simulation/simulated-disk.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

const mebibyte = 1024 ** 2;
/** A sector in the last quarter of the first volume, and its last one. */
const lateSector = (15 * mebibyte) / 4 / sectorBytes;
const lastSector = (4 * mebibyte) / sectorBytes - 1;

function verify(host: SimulatedHost, request: VerifyRequest = {}): WorldError | undefined {
  let refused: WorldError | undefined;
  host.mirror?.verify.start(request, (error) => (refused = error));
  return refused;
}

function reportOf(host: SimulatedHost): VerifyReport {
  const report = host.mirror?.verify.report;
  if (report === undefined) throw new Error(`${host.name} has a report`);
  return report;
}

function ended(world: World, host: SimulatedHost): VerifyReport {
  const goesOn = (): boolean => ['running', 'waiting'].includes(reportOf(host).outcome);
  world.expect('the verify has ended', () => !goesOn(), 60_000);
  return reportOf(host);
}

/** A sector of the secondary changes behind its back, also on its stable storage. */
function corrupt(world: World, sector = lateSector): void {
  world.b.disks[0]?.fill(sector, new Uint32Array([4711]));
}

const found = ({ mirror }: SimulatedHost): boolean => (mirror?.replicas[0]?.bitmap.count ?? 0) > 0;

describe('a verify', () => {
  it('of equal copies compares every block while the guest works, and reports nothing', () =>
    story(311, (world) => {
      world.startPair();
      const before = world.acknowledgedCount;
      expect(verify(world.a, { rateBytesPerSecond: 4 * mebibyte })).to.equal(undefined);
      const report = ended(world, world.a);
      expect(report).to.include({ outcome: 'complete', because: 'both copies are equal' });
      expect([report.examinedBytes, report.totalBytes]).to.deep.equal([4 * mebibyte, 4 * mebibyte]);
      expect(world.acknowledgedCount).to.be.above(before);
      world.checkAtRest();
    }));

  it('finds what changed behind the back of the secondary, repairs it from the primary, and says where', () =>
    story(312, (world) => {
      world.startPair();
      corrupt(world);
      verify(world.a);
      const report = ended(world, world.a);
      expect(report.outcome).to.equal('complete');
      const offsetBytes = Math.floor((lateSector * sectorBytes) / 65_536) * 65_536;
      expect(report.ranges).to.deep.equal([
        { volume: 'disk0', offsetBytes, lengthBytes: 65_536, repaired: true },
      ]);
      expect(found(world.a)).to.equal(false);
      world.checkAtRest();
    }));

  it('of one volume leaves the others alone, and keeps its rate', () =>
    story(
      313,
      (world) => {
        world.startPair();
        const beganMs = world.time.nowMs;
        verify(world.a, { volume: 'disk1', rateBytesPerSecond: mebibyte });
        const report = ended(world, world.a);
        expect(report.volumes).to.deep.equal(['disk1']);
        expect(report.examinedBytes).to.equal(6 * mebibyte);
        expect(world.time.nowMs - beganMs).to.be.within(5000, 8000);
      },
      { volumeSizesBytes: [4 * mebibyte, 6 * mebibyte] },
    ));

  it('waits while the link blips and goes on where it was; what was found in the middle is repaired', () =>
    story(314, (world) => {
      world.startPair();
      corrupt(world);
      verify(world.a, { rateBytesPerSecond: 2 * mebibyte });
      world.expect('the difference is found', () => found(world.a));
      world.link.blip();
      world.expect('it waits', () => reportOf(world.a).outcome === 'waiting', 5000);
      const report = ended(world, world.a);
      expect([report.outcome, report.examinedBytes]).to.deep.equal(['complete', 4 * mebibyte]);
      expect(report.ranges.map(({ repaired }) => repaired)).to.deep.equal([true]);
      world.checkAtRest();
    }));

  it('goes on after the secondary lost power and came back', () =>
    story(315, (world) => {
      world.startPair();
      verify(world.a, { rateBytesPerSecond: mebibyte });
      world.run(1500);
      world.b.losePower();
      world.run(6000);
      world.b.boot();
      world.expect('the pair is in sync', () => world.inSync());
      corrupt(world);
      expect(ended(world, world.a).ranges).to.have.length(1);
      world.checkAtRest();
    }));

  for (const [index, when] of ['before it is copied', 'while it is copied'].entries()) {
    it(`the module of the primary dies when a difference is durably dirty, ${when}: the next handshake repairs it`, () =>
      story(316 + index, (world) => {
        world.startPair();
        corrupt(world);
        verify(world.a);
        const { mirror } = world.a;
        world.expect('the difference is found', () => reportOf(world.a).ranges.length > 0);
        expect(reportOf(world.a).ranges[0]?.repaired).to.equal(false);
        if (index > 0) world.run(1);
        world.a.kill();
        world.expect('another process', () => world.a.mirror !== undefined && world.a.mirror !== mirror);
        world.expect('the pair is in sync', () => world.inSync());
        world.checkAtRest();
      }));
  }

  it('the primary loses power when a difference is durably dirty: the survivor goes on, and the copies become equal', () =>
    story(318, (world) => {
      world.startPair();
      // A sector that no guest ever looks at: what the survivor has there is right by definition.
      corrupt(world, lastSector);
      verify(world.a);
      world.expect('the difference is found', () => reportOf(world.a).ranges.length > 0);
      world.a.losePower();
      world.expect('the VM runs on B', () => world.primary() === world.b);
      world.a.boot();
      world.expect('the pair is in sync', () => world.inSync());
      const at = world.hosts.map(({ disks }) => disks[0]?.seen[lastSector]);
      expect(at[0]).to.equal(at[1]);
    }));

  it('ends when the VM is moved to the other node, and says so', () =>
    story(319, (world) => {
      world.startPair();
      verify(world.a, { rateBytesPerSecond: mebibyte });
      world.run(500);
      world.a.command('swap');
      world.expect('the VM runs on B', () => world.primary() === world.b);
      expect(reportOf(world.a)).to.include({
        outcome: 'interrupted',
        because: 'the VM was stopped or moved',
      });
      expect(found(world.a)).to.equal(false);
      world.checkAtRest();
    }));

  it('ends after its chunk when the operator stops it', () =>
    story(320, (world) => {
      world.startPair();
      verify(world.a, { rateBytesPerSecond: mebibyte });
      world.run(1500);
      let refused: unknown = 'no answer';
      world.a.mirror?.verify.stop((error) => (refused = error));
      expect(refused).to.equal(undefined);
      const report = ended(world, world.a);
      expect(report.outcome).to.equal('stopped');
      expect(report.examinedBytes).to.be.within(mebibyte, 3 * mebibyte);
      expect(world.a.mirror?.replicas[0]?.locks.count).to.be.below(10);
      world.checkAtRest();
    }));

  it('ends when the pair does not come back for a long time', () =>
    story(321, (world) => {
      world.startPair();
      verify(world.a, { rateBytesPerSecond: mebibyte });
      world.run(500);
      world.b.losePower();
      world.run(pairAwayMaxMs + 10_000);
      expect(reportOf(world.a).outcome).to.equal('interrupted');
      expect(reportOf(world.a).because).to.contain('10 minutes');
    }));

  it('is refused where it makes no sense, in words', () =>
    story(322, (world) => {
      world.startPair();
      expect(verify(world.b)?.message).to.contain('run verify on the primary');
      expect(verify(world.a, { volume: 'none' })?.message).to.contain('disk0');
      expect(verify(world.a, { rateBytesPerSecond: mebibyte })).to.equal(undefined);
      expect(verify(world.a)?.message).to.contain('--stop');
      world.b.losePower();
      world.a.mirror?.verify.stop(() => {});
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true);
      expect(verify(world.a)?.message).to.contain('not in sync');
      let refused: WorldError | undefined;
      world.a.mirror?.verify.stop((error) => (refused = error));
      expect(refused?.message).to.contain('a verify that runs');
    }));
});
