/** A pair whose hosts can switch each other off, with and without an arbiter beside it. The fence is slow, mute or deaf as the story says. */
import { expect } from 'chai';
import { deriveState } from '../../src/cluster/derive-state.ts';
import { fenceDeadlineMs } from '../simulation/simulated-fence.ts';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

const alone = { hasArbiter: false, fence: 'required' } as const;
const beside = { hasArbiter: true, fence: 'required' } as const;

/** A pair in sync whose fences work and whose hosts stay off until somebody switches them on. */
function fencedPair(world: World): void {
  world.startPair();
  world.fences.mood = 'works';
  world.fences.bootAfterMs = undefined;
  world.run(1000);
}

function rules(host: SimulatedHost): string[] {
  return host.mirror?.decisions.entries.map(({ rule }) => rule) ?? [];
}

function writesAlone(world: World, host: SimulatedHost, limitMs: number): void {
  const writes = (): boolean => world.primary() === host && host.mirror?.primary.soloAllowed === true;
  world.expect(`${host.name} writes alone`, writes, limitMs);
}

function wholeAgain(world: World): void {
  world.expect('the pair is in sync', () => world.inSync() && world.primary() !== undefined, 60_000);
  world.checkAtRest();
}

/** Longest time from the loss of the primary to the VM on a secondary that has only a fence. */
const takeoverLimitMs = 6000 + fenceDeadlineMs + 5000;

describe('a pair with a fence and no arbiter', () => {
  it('goes on as primary when the secondary is proved off, and takes it back', () =>
    story(
      1,
      (world) => {
        fencedPair(world);
        world.link.setCut(true, true);
        writesAlone(world, world.a, 6000);
        expect(world.fences.switchedOff).to.deep.equal(['B']);
        expect(rules(world.a)).to.include('peer-proved-off');
        world.run(3000);
        world.link.setCut(false, false);
        world.b.boot();
        wholeAgain(world);
        expect(world.primary()).to.equal(world.a);
      },
      alone,
    ));

  it('starts the VM on the secondary when the primary is proved off', () =>
    story(
      2,
      (world) => {
        fencedPair(world);
        world.a.losePower();
        writesAlone(world, world.b, takeoverLimitMs);
        expect(rules(world.b)).to.include('peer-proved-off');
        world.run(3000);
        world.a.boot();
        wholeAgain(world);
        expect(world.primary()).to.equal(world.b);
      },
      alone,
    ));

  it('when the link is cut the primary wins: the secondary is off before its own time comes', () =>
    story(
      3,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'slow';
        world.link.setCut(true, true);
        writesAlone(world, world.a, 3500 + fenceDeadlineMs);
        world.run(30_000);
        expect(world.fences.switchedOff).to.deep.equal(['B']);
      },
      alone,
    ));

  it('holds its guest as long as nothing is proved, and goes on with what was acknowledged when the link is back', () =>
    story(
      4,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'mute';
        world.link.setCut(true, true);
        world.run(60_000);
        expect(world.primary()).to.equal(undefined);
        expect(world.a.mirror?.aloneBecause).to.contain('--peer-is-off B');
        expect(world.a.vm.state).to.equal('paused');
        world.link.setCut(false, false);
        wholeAgain(world);
        expect(world.primary()).to.equal(world.a);
        expect(world.fences.switchedOff).to.deep.equal([]);
      },
      alone,
    ));

  it('a fence that switches off and cannot say so is asked again, until it can', () =>
    story(
      5,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'deaf';
        world.link.setCut(true, true);
        world.expect('B is off', () => !world.b.powered, 6000);
        world.run(10_000);
        expect(world.primary()).to.equal(undefined);
        world.fences.mood = 'works';
        writesAlone(world, world.a, 5000);
      },
      alone,
    ));

  it('a peer that answers again is not switched off, although the order was about to leave', () =>
    story(
      6,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'slow';
        world.link.setCut(true, true);
        world.expect('A has asked its fence', () => world.fences.attempts === 1, 5000);
        world.link.setCut(false, false);
        wholeAgain(world);
        world.run(10_000);
        expect(world.fences.switchedOff).to.deep.equal([]);
        expect(rules(world.a)).to.include('fence-abandoned');
        wholeAgain(world);
      },
      alone,
    ));

  it('a peer that came back and was switched off all the same: only the proof after its last word counts', () =>
    story(
      7,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'slow';
        world.link.setCut(true, true);
        world.expect('A has asked its fence', () => world.fences.attempts === 1, 5000);
        world.link.setCut(false, false);
        world.expect('the pair is in sync again', () => world.inSync());
        // What had left before arrives now.
        world.b.losePower();
        const { attempts } = world.fences;
        writesAlone(world, world.a, 12_000);
        expect(world.fences.attempts).to.be.above(attempts);
        world.b.boot();
        wholeAgain(world);
      },
      alone,
    ));

  it('both switch each other off: nothing is lost, and both start again when they see each other', () =>
    story(
      81,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'mute';
        world.link.setCut(true, true);
        // The secondary's time has come, and no attempt is under way.
        world.run(6000 + fenceDeadlineMs + 2000);
        world.fences.mood = 'slow';
        world.expect('both are off', () => world.hosts.every(({ powered }) => !powered), 20_000);
        expect(world.fences.switchedOff).to.have.members(['A', 'B']);
        world.link.setCut(false, false);
        for (const host of world.hosts) host.boot();
        wholeAgain(world);
      },
      alone,
    ));

  it('a host that was rebooted never starts by itself, although its peer is off: the peer may have the newer copy', () =>
    story(
      9,
      (world) => {
        fencedPair(world);
        world.link.setCut(true, true);
        writesAlone(world, world.a, 6000);
        // B comes back while A is the newer one, and A loses power then.
        world.b.boot();
        world.run(2000);
        world.a.losePower();
        world.run(120_000);
        expect(world.primary()).to.equal(undefined);
        expect(world.b.mirror?.aloneBecause).to.contain('a fence remembers nothing');
        world.link.setCut(false, false);
        world.a.boot();
        wholeAgain(world);
        expect(world.primary()).to.equal(world.a);
      },
      alone,
    ));

  it('a secondary whose module was restarted since it was in sync does not start by itself either', () =>
    story(
      10,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'mute';
        world.link.setCut(true, true);
        world.b.kill();
        world.a.losePower();
        world.fences.mood = 'works';
        world.run(60_000);
        expect(world.b.mirror?.aloneBecause).to.contain('B was restarted since both copies were in sync');
        expect(world.primary()).to.equal(undefined);
        // The operator knows that B has every write.
        world.b.command('prim');
        writesAlone(world, world.b, takeoverLimitMs);
      },
      alone,
    ));

  it('a primary whose module is killed while it is alone goes on when its peer is proved off again', () =>
    story(
      11,
      (world) => {
        fencedPair(world);
        world.link.setCut(true, true);
        writesAlone(world, world.a, 6000);
        const { guest } = world.a;
        world.a.kill();
        world.expect('the module is gone', () => world.a.mirror === undefined, 100);
        writesAlone(world, world.a, 10_000);
        expect(world.a.guest).to.equal(guest);
      },
      alone,
    ));

  it('a node whose disk had made it leave does not take over when the disk answers again', () =>
    story(
      12,
      (world) => {
        fencedPair(world);
        const { disks } = world.a;
        for (const disk of disks) disk.hung = true;
        writesAlone(world, world.b, 30_000);
        world.link.setCut(true, true);
        for (const disk of disks) disk.hung = false;
        world.run(2000);
        world.b.losePower();
        world.run(120_000);
        expect(world.primary()).to.equal(undefined);
        world.b.boot();
        world.link.setCut(false, false);
        wholeAgain(world);
        expect(world.primary()).to.equal(world.b);
      },
      alone,
    ));

  it('the word of the operator is as good as a proof, and is refused while the peer answers', () =>
    story(
      13,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'mute';
        const say = (node: string | undefined): string => {
          let said = 'done';
          world.b.mirror?.fencing.confirmPeerOff(node, (error) => (said = error?.found ?? said));
          return said;
        };
        expect(say('A')).to.equal('that A answers');
        world.a.losePower();
        world.run(takeoverLimitMs);
        expect(say(undefined)).to.equal('no --peer-is-off');
        expect(say('B')).to.equal('--peer-is-off B');
        expect(world.primary()).to.equal(undefined);
        expect(say('A')).to.equal('done');
        writesAlone(world, world.b, 5000);
      },
      alone,
    ));
});

describe('a pair with a fence beside an arbiter', () => {
  it('asks for the record first, then switches off, then starts the VM', () =>
    story(
      21,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'slow';
        world.arbiter.unreachableFrom.add('A');
        world.link.setCut(true, true);
        world.expect('B is named', () => world.arbiter.record?.holder === 'B', 10_000);
        expect(world.fences.attempts).to.equal(0);
        writesAlone(world, world.b, 10_000);
        expect(world.fences.switchedOff).to.deep.equal(['A']);
        const order = rules(world.b).filter((rule) => /arbiter-granted|^fence|claim/.test(rule));
        expect(order).to.deep.equal([
          'fence-settled',
          'fence-proof',
          'fence',
          'fence-before-start',
          'arbiter-granted',
        ]);
      },
      beside,
    ));

  it('a primary that stays switches nothing off', () =>
    story(
      22,
      (world) => {
        fencedPair(world);
        world.link.setCut(true, true);
        writesAlone(world, world.a, 6000);
        world.run(60_000);
        expect(world.fences.attempts).to.equal(0);
        world.link.setCut(false, false);
        wholeAgain(world);
      },
      beside,
    ));

  it('a swap and a stop need no fence', () =>
    story(
      23,
      (world) => {
        fencedPair(world);
        world.a.command('swap');
        world.expect('the VM runs on B', () => world.primary() === world.b);
        world.expect('in sync', () => world.inSync());
        world.b.command('stop');
        world.expect('the VM runs on A', () => world.primary() === world.a);
        world.run(20_000);
        expect(world.fences.attempts).to.equal(0);
      },
      beside,
    ));

  it('a host that froze is off before the VM starts elsewhere, so that it cannot thaw into a second one', () =>
    story(
      24,
      (world) => {
        fencedPair(world);
        world.a.freezeHost(60_000);
        writesAlone(world, world.b, 20_000);
        world.run(60_000);
        expect(world.fences.switchedOff).to.deep.equal(['A']);
      },
      beside,
    ));

  it('the fence died with the power of the peer: the VM waits, says what to do, and starts at the word of the operator', () =>
    story(
      25,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'mute';
        world.a.losePower();
        world.run(60_000);
        expect(world.primary()).to.equal(undefined);
        expect(world.b.vm.state).to.equal('stopped');
        expect(world.b.mirror?.fencing.waits).to.contain('--peer-is-off A');
        world.b.mirror?.fencing.confirmPeerOff('A', () => {});
        writesAlone(world, world.b, 2000);
      },
      beside,
    ));

  it('the peer is back before it was proved off: its VM has stopped, and the other one starts', () =>
    story(
      26,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'mute';
        world.arbiter.unreachableFrom.add('A');
        world.link.setCut(true, true);
        world.expect('B waits', () => world.b.mirror?.fencing.waits !== undefined, 10_000);
        world.run(5000);
        world.link.setCut(false, false);
        world.arbiter.unreachableFrom.clear();
        wholeAgain(world);
        expect(world.primary()).to.equal(world.b);
        expect(world.fences.switchedOff).to.deep.equal([]);
      },
      beside,
    ));

  it('where no proof is required, the VM starts after one attempt and says that there was none', () =>
    story(
      27,
      (world) => {
        fencedPair(world);
        world.fences.mood = 'mute';
        world.a.losePower();
        writesAlone(world, world.b, 10_000 + fenceDeadlineMs);
        expect(world.fences.attempts).to.equal(1);
        const settled = world.b.mirror?.decisions.entries.find(({ rule }) => rule === 'fence-settled');
        expect(settled?.because).to.contain('no proof is required');
      },
      { hasArbiter: true, fence: 'not-required' },
    ));

  it('a node that starts from a total loss of power alone, because the other one stays off, is not held up by a stopped peer', () =>
    story(
      28,
      (world) => {
        fencedPair(world);
        world.b.command('stop');
        world.expect('B has left', () => world.b.mirror?.state.data === 'outdated');
        world.run(1000);
        world.a.losePower();
        world.a.boot();
        writesAlone(world, world.a, 40_000);
        expect(world.fences.attempts).to.equal(0);
      },
      beside,
    ));
});

describe('a fence that is tested', () => {
  it('is tested without switching, shown orange as long as it does not answer, and green again', () =>
    story(
      31,
      (world) => {
        fencedPair(world);
        const { mirror } = world.a;
        if (mirror === undefined) throw new Error('A has a module');
        const seen: string[] = [];
        for (const mood of ['works', 'mute', 'works'] as const) {
          world.fences.mood = mood;
          mirror.fencing.test(({ kind }) => seen.push(kind));
          world.run(10);
          seen.push(deriveState(mirror).readiness);
        }
        expect(seen).to.deep.equal(['answers', 'ready', 'no-answer', 'transient', 'answers', 'ready']);
        expect(mirror.fencing.status?.lastTest?.kind).to.equal('answers');
        expect(world.fences.attempts).to.equal(0);
      },
      beside,
    ));
});
