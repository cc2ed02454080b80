/**
 * A pair over two networks that loses one or both of them, each as one story in a simulated world: as long as one network works in
 * both directions, nobody but the link notices. Does not vary timing: the seeds of the simulation do.
 */
import { expect } from 'chai';
import type { SimulatedLink } from '../simulation/simulated-link.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

/** Longest time without an answer to the guest, ms: three heartbeats, the look, the handshake. */
const stallMsMax = 2000;
/** The same while nothing happens, ms. */
const calmMsMax = 200;
const twoNetworks = { networks: 2 };

interface Pair {
  readonly world: World;
  readonly first: SimulatedLink;
  readonly second: SimulatedLink;
  /** Nothing happened but on the link: same record, no claim, no resync, no VM paused. */
  nobodyNoticed(): void;
}

/** The side that listens becomes primary. */
function moveToB(world: World): void {
  world.startPair();
  world.a.command('swap');
  world.expect('the VM runs on B', () => world.primary() === world.b);
}

/** In sync, over the first network. */
function startPair(world: World): Pair {
  if (!world.inSync()) world.startPair();
  world.run(2000);
  expect(states(world)).to.deep.equal(['active standby', 'active standby']);
  const { record } = world.arbiter;
  const resyncs = new Map(world.checkers.resyncs);
  const before = world.transcript.length;
  const [first, second] = world.link.each as [SimulatedLink, SimulatedLink];
  const nobodyNoticed = (): void => {
    expect(world.arbiter.record).to.equal(record);
    expect(world.checkers.resyncs).to.deep.equal(resyncs);
    expect(world.transcript.slice(before).filter((line) => /: vm |paused/.test(line))).to.deep.equal([]);
    for (const { mirror } of world.hosts)
      expect(mirror?.decisions.entries.map(({ rule }) => rule)).to.not.include('pause-held-vm');
  };
  return { world, first, second, nobodyNoticed };
}

function states(world: World): (string | undefined)[] {
  return world.hosts.map(({ mirror }) => mirror?.session.paths.map(({ state }) => state).join(' '));
}

/** Time passes; answers how long the guest waited at most. */
function longestStallMs({ world }: Pair, forMs: number): number {
  const endMs = world.time.nowMs + forMs;
  let longestMs = 0;
  while (world.time.nowMs < endMs) {
    const sinceMs = world.time.nowMs;
    const count = world.acknowledgedCount;
    world.runUntil(() => world.acknowledgedCount > count, endMs - sinceMs);
    longestMs = Math.max(longestMs, world.time.nowMs - sinceMs);
  }
  return longestMs;
}

describe('a pair over two networks', () => {
  for (const on of ['A', 'B'] as const)
    for (const [what, fromFirst, fromSecond] of [
      ['is cut', true, true],
      ['is cut from the side that chooses', true, false],
      ['is cut towards the side that chooses', false, true],
    ] as const)
      it(`the VM runs on ${on} and the network in use ${what}: the other one is used within 2 s, and the first is standby again`, () =>
        story(
          1,
          (world) => {
            if (on === 'B') moveToB(world);
            const pair = startPair(world);
            pair.first.setCut(fromFirst, fromSecond);
            expect(longestStallMs(pair, 10_000)).to.be.at.most(stallMsMax);
            expect(states(world)).to.deep.equal(['down active', 'down active']);
            pair.first.setCut(false, false);
            expect(longestStallMs(pair, 10_000)).to.be.at.most(calmMsMax);
            expect(states(world)).to.deep.equal(['standby active', 'standby active']);
            pair.nobodyNoticed();
            world.checkAtRest();
          },
          twoNetworks,
        ));

  it('the network in use breaks: the other one is used at once', () =>
    story(
      2,
      (world) => {
        const pair = startPair(world);
        pair.first.blip();
        expect(longestStallMs(pair, 5000)).to.be.at.most(500);
        expect(states(world)).to.deep.equal(['standby active', 'standby active']);
        pair.nobodyNoticed();
        world.checkAtRest();
      },
      twoNetworks,
    ));

  it('the standby network is cut: nothing happens', () =>
    story(
      3,
      (world) => {
        const pair = startPair(world);
        pair.second.setCut(true, true);
        expect(longestStallMs(pair, 10_000)).to.be.at.most(calmMsMax);
        expect(states(world)).to.deep.equal(['active down', 'active down']);
        pair.nobodyNoticed();
      },
      twoNetworks,
    ));

  it('one network after the other is cut and heals: the pair is in sync all the time', () =>
    story(
      4,
      (world) => {
        const pair = startPair(world);
        for (const network of [pair.first, pair.second, pair.first, pair.second]) {
          network.setCut(true, true);
          expect(longestStallMs(pair, 8000)).to.be.at.most(stallMsMax);
          network.setCut(false, false);
          expect(longestStallMs(pair, 4000)).to.be.at.most(calmMsMax);
        }
        pair.nobodyNoticed();
        world.checkAtRest();
      },
      twoNetworks,
    ));

  it('both networks flap: the pair stays in sync whenever one of them works, and is whole in the end', () =>
    story(
      5,
      (world) => {
        const pair = startPair(world);
        for (let turn = 0; turn < 12; turn += 1) {
          pair.first.setCut(turn % 2 === 0, turn % 3 === 0);
          pair.second.setCut(turn % 2 === 1, turn % 4 === 1);
          world.run(700);
        }
        world.link.setCut(false, false);
        world.expect('the pair is in sync', () => world.inSync() && world.primary() !== undefined);
        expect(world.checkers.fullCopies).to.equal(1);
        world.checkAtRest();
      },
      twoNetworks,
    ));

  it('a network is slow: what it brings late is not taken for silence, and the other one is not taken for it', () =>
    story(
      6,
      (world) => {
        const pair = startPair(world);
        pair.first.delayMs = 800;
        world.run(20_000);
        expect(states(world)).to.deep.equal(['active standby', 'active standby']);
        pair.first.delayMs = 1;
        pair.nobodyNoticed();
        world.checkAtRest();
      },
      twoNetworks,
    ));

  it('the bytes of the network that was given up arrive when it heals: they change nothing', () =>
    story(
      7,
      (world) => {
        const pair = startPair(world);
        for (let turn = 0; turn < 5; turn += 1) {
          const [used, other] = turn % 2 === 0 ? [pair.first, pair.second] : [pair.second, pair.first];
          used.delayMs = 400;
          world.run(1000);
          used.setCut(true, false);
          expect(longestStallMs(pair, 4000)).to.be.at.most(stallMsMax + 1000);
          used.setCut(false, false);
          used.delayMs = 1;
          other.delayMs = 1;
          world.run(3000);
        }
        pair.nobodyNoticed();
        world.checkAtRest();
      },
      twoNetworks,
    ));

  it('both networks are cut: the peer is lost, the primary goes on alone, and the pair is whole again when one heals', () =>
    story(
      8,
      (world) => {
        const pair = startPair(world);
        world.link.setCut(true, true);
        world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
        world.run(10_000);
        pair.second.setCut(false, false);
        world.expect('the pair is in sync', () => world.inSync());
        expect(states(world)).to.deep.equal(['down active', 'down active']);
        expect(world.primary()).to.equal(world.a);
        expect(world.checkers.fullCopies).to.equal(1);
      },
      twoNetworks,
    ));

  it('each network works in one direction only: that is no link, and one node goes on alone', () =>
    story(
      9,
      (world) => {
        const pair = startPair(world);
        pair.first.setCut(true, false);
        pair.second.setCut(false, true);
        world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 8000);
        world.run(10_000);
        world.link.setCut(false, false);
        world.expect('the pair is in sync', () => world.inSync());
        expect(world.primary()).to.equal(world.a);
      },
      twoNetworks,
    ));

  it('the host of the primary loses power: the VM starts on the other node as with one network', () =>
    story(
      10,
      (world) => {
        startPair(world);
        world.a.losePower();
        world.expect('the VM runs on B', () => world.primary() === world.b, 10_000);
      },
      twoNetworks,
    ));
});
