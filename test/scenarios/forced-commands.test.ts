/** Commands that force a start, or give a copy up: each refuses what would lose data until the loss is named, and what was forced is never overwritten in silence. */
import { expect } from 'chai';
import type { WorldError } from '../../src/base/errors.ts';
import type { CommandDone } from '../../src/cluster/departure.ts';
import { deriveState } from '../../src/cluster/derive-state.ts';
import type { Mirror } from '../../src/cluster/mirror.ts';
import type { ForcedKind } from '../../src/cluster/forced-start.ts';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

/** Gives a command and waits for its answer. */
function outcome(world: World, give: (done: CommandDone) => void): WorldError | undefined {
  let answer: { readonly error: WorldError | undefined } | undefined;
  give((error) => (answer = { error }));
  world.expect('the command is answered', () => answer !== undefined);
  return answer?.error;
}

function force(host: SimulatedHost, kind: ForcedKind, loseSince?: string, peerIsOff?: string) {
  return outcome(host.world, (done) => host.mirror?.forcedStart.start({ kind, loseSince, peerIsOff }, done));
}

function inSyncAgain(world: World): void {
  world.expect('the pair is in sync', () => world.inSync() && world.primary() !== undefined, 60_000);
  world.checkAtRest();
}

/** A went on alone; B is back, knows that it is outdated, and A is lost. */
function leaveOutdatedB(world: World): void {
  world.startPair();
  world.link.setCut(true, true);
  world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 10_000);
  world.expect('B knows that it is outdated', () => world.b.mirror?.state.data === 'outdated', 20_000);
  world.run(2000);
  world.a.losePower();
  world.link.setCut(false, false);
  world.run(7000);
}

describe('prim on an outdated copy', () => {
  it('is refused, and with the loss named it starts; the other copy, when it is back, is told apart', () =>
    story(1101, (world) => {
      leaveOutdatedB(world);
      const plain = outcome(world, (done) => world.b.mirror?.operator.prim(done, 'A'));
      expect(plain?.next).to.match(/prim VM --accept-outdated/u);
      const since = world.b.mirror?.state.inSyncAt;
      expect(force(world.b, 'outdated')?.wanted).to.equal(`--lose-since ${since} --peer-is-off A`);
      expect(force(world.b, 'outdated', since, 'B')?.next).to.match(/is given up by this start/u);
      expect(force(world.b, 'inconsistent', since, 'A')?.found).to.equal('it is outdated');
      expect(world.arbiter.record?.holder).to.equal('A');
      expect(force(world.b, 'outdated', since, 'A')).to.equal(undefined);
      world.checkers.historyGivenUp(world.b);
      world.expect('the VM runs on B', () => world.primary() === world.b);
      world.a.boot();
      world.expect('A is back', () => world.a.mirror?.pairing.verdict?.rule === 'split-brain', 40_000);
      world.run(30_000);
      expect(world.primary()).to.equal(world.b);
      expect(world.a.mirror?.pairing.phase).to.equal('handshake');
    }));

  it('says the time until which the copy was in sync, also after a restart', () =>
    story(1102, (world) => {
      leaveOutdatedB(world);
      const since = world.b.mirror?.state.inSyncAt;
      expect(Number(since)).to.be.closeTo(world.time.nowMs - 9000, 20_000);
      world.b.losePower();
      world.b.boot();
      world.expect('B is back', () => world.b.mirror?.run === 'started');
      world.run(7000);
      expect(force(world.b, 'outdated')?.wanted).to.contain(String(since));
    }));

  it('is refused while the peer is connected and has the newer copy', () =>
    story(1103, (world) => {
      leaveOutdatedB(world);
      world.arbiter.running = false;
      world.a.boot();
      world.expect('A is connected', () => world.b.mirror?.channel !== undefined, 40_000);
      const answer = force(world.b, 'outdated', world.b.mirror?.state.inSyncAt, 'A');
      expect(answer?.found).to.match(/that it is connected/u);
    }));

  it('is refused while the arbiter does not answer', () =>
    story(1104, (world) => {
      leaveOutdatedB(world);
      world.arbiter.running = false;
      const answer = force(world.b, 'outdated', world.b.mirror?.state.inSyncAt, 'A');
      expect(answer?.code).to.equal('arbiter-unreachable');
      expect(world.b.mirror?.state.data).to.equal('outdated');
    }));
});

describe('prim on a half-resynchronised copy', () => {
  it('is refused until the loss is named; then it starts, and has nothing in common with the source any more', () =>
    story(1111, (world) => {
      world.b.images.possible = false;
      world.startPair();
      world.b.losePower();
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
      world.run(3000);
      world.b.boot();
      world.expect('B is half a copy', () => world.b.mirror?.pairing.phase === 'resync-target');
      world.a.losePower();
      world.run(7000);
      const since = world.b.mirror?.state.inSyncAt;
      const refused = force(world.b, 'inconsistent');
      expect(refused?.next).to.match(/may be corrupt and not even mount/u);
      expect(force(world.b, 'inconsistent', since, 'A')).to.equal(undefined);
      world.checkers.historyGivenUp(world.b);
      world.expect('the VM runs on B', () => world.primary() === world.b);
      expect(world.b.mirror?.state.base).to.equal(undefined);
    }));
});

describe('prim while neither the peer nor the arbiter answers', () => {
  /** A is primary, B is off, and the arbiter is away: A's guest waits. */
  function bothAway(world: World): void {
    world.startPair();
    world.arbiter.running = false;
    world.b.losePower();
    world.run(10_000);
    expect(world.primary()).to.equal(undefined);
  }
  const without = (host: SimulatedHost, peerIsOff?: string): WorldError | undefined =>
    outcome(host.world, (done) => host.mirror?.operator.primWithoutArbiter(peerIsOff, done));

  it('goes on with the risk named, and makes the record right when the arbiter is back', () =>
    story(1121, (world) => {
      bothAway(world);
      expect(without(world.a)?.next).to.match(/two VMs write/u);
      expect(without(world.a, 'A')?.wanted).to.equal('--peer-is-off B');
      expect(without(world.a, 'B')).to.equal(undefined);
      world.expect('the VM runs on A', () => world.primary() === world.a);
      expect(world.a.mirror?.claims.isUnconfirmed).to.equal(true);
      const shown = deriveState(world.a.mirror as Mirror);
      expect([shown.state, shown.readiness]).to.deep.equal(['ALONE', 'transient']);
      expect(shown.because).to.match(/by the word of the operator, which the arbiter has not confirmed/u);
      world.run(5000);
      world.arbiter.running = true;
      world.expect('the record names A', () => world.arbiter.record?.holder === 'A');
      world.expect('A knows', () => world.a.mirror?.state.pending === undefined);
      expect(deriveState(world.a.mirror as Mirror).readiness).to.equal('ready');
      world.b.boot();
      inSyncAgain(world);
    }));

  it('a killed process of it goes on by itself; a rebooted host waits for the arbiter', () =>
    story(1122, (world) => {
      bothAway(world);
      expect(without(world.a, 'B')).to.equal(undefined);
      world.expect('the VM runs on A', () => world.primary() === world.a);
      world.a.kill();
      world.expect('the VM runs on A again', () => world.primary() === world.a, 10_000);
      world.a.losePower();
      world.a.boot();
      world.run(60_000);
      expect(world.primary()).to.equal(undefined);
      world.arbiter.running = true;
      world.expect('the VM runs on A', () => world.primary() === world.a, 10_000);
      world.b.boot();
      inSyncAgain(world);
    }));

  it('the peer is back before the arbiter: nothing is overwritten until that answers', () =>
    story(1123, (world) => {
      bothAway(world);
      expect(without(world.a, 'B')).to.equal(undefined);
      world.expect('the VM runs on A', () => world.primary() === world.a);
      world.b.boot();
      world.run(30_000);
      expect(world.a.mirror?.pairing.verdict?.rule).to.equal('claim-open');
      expect(world.primary()).to.equal(world.a);
      world.arbiter.running = true;
      inSyncAgain(world);
    }));

  it('the arbiter had named the other one: this node stands down when it hears that, and its copy has diverged', () =>
    story(1124, (world) => {
      world.startPair();
      world.guestsRest = true;
      world.run(200);
      world.arbiter.unreachableFrom.add('A');
      world.link.setCut(true, true);
      world.expect('B took over', () => world.primary() === world.b, 20_000);
      world.run(2000);
      world.b.losePower();
      world.run(7000);
      expect(without(world.a, 'B')).to.equal(undefined);
      world.checkers.historyGivenUp(world.a);
      world.expect('the VM runs on A', () => world.primary() === world.a);
      world.run(3000);
      world.arbiter.unreachableFrom.clear();
      world.expect('A stood down', () => world.a.mirror?.state.data === 'outdated', 10_000);
      expect(world.primary()).to.equal(undefined);
      world.link.setCut(false, false);
      world.b.boot();
      world.expect('both see it', () => world.a.mirror?.pairing.verdict?.rule === 'split-brain', 40_000);
    }));

  it('is refused when the arbiter answers, or the peer is connected, or the copy is not up to date', () =>
    story(1125, (world) => {
      world.startPair();
      expect(without(world.b, 'A')?.found).to.equal('that it is connected');
      world.b.losePower();
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
      expect(without(world.a, 'B')?.found).to.equal('that it writes alone already');
      world.a.losePower();
      world.arbiter.running = false;
      world.b.boot();
      world.run(8000);
      world.arbiter.running = true;
      expect(without(world.b, 'A')?.found).to.equal('that it answers');
    }));
});

describe('without an arbiter', () => {
  it('prim of a secondary whose peer is not heard names the risk', () =>
    story(
      1131,
      (world) => {
        world.startPair();
        world.a.losePower();
        world.run(8000);
        const refused = outcome(world, (done) => world.b.mirror?.operator.prim(done));
        expect([refused?.wanted, refused?.next.includes('two VMs will write')]).to.deep.equal([
          '--peer-is-off A',
          true,
        ]);
        expect(outcome(world, (done) => world.b.mirror?.operator.prim(done, 'A'))).to.equal(undefined);
        world.expect('the VM runs on B', () => world.primary() === world.b, 10_000);
        world.a.boot();
        inSyncAgain(world);
      },
      { hasArbiter: false },
    ));
});

describe('what the operator wants is durable when the command is answered', () => {
  it('prim, and the process is killed before the arbiter has answered', () =>
    story(1141, (world) => {
      world.startPair();
      world.arbiter.running = false;
      world.a.losePower();
      world.run(4000);
      expect(outcome(world, (done) => world.b.mirror?.operator.second(done))).to.equal(undefined);
      expect(outcome(world, (done) => world.b.mirror?.operator.prim(done))).to.equal(undefined);
      world.b.kill();
      world.run(20_000);
      world.arbiter.running = true;
      world.expect('the VM runs on B', () => world.primary() === world.b, 10_000);
      expect(world.b.mirror?.state.wish).to.equal(undefined);
    }));

  it('second, and the host is rebooted: it does not take over before the pair was in sync', () =>
    story(1142, (world) => {
      world.startPair();
      let stopped = false;
      world.b.command('stop', () => (stopped = true));
      world.expect('B has stopped', () => stopped);
      world.a.losePower();
      let answered = false;
      world.b.command('second', () => (answered = true));
      world.expect('the command is answered', () => answered);
      world.b.losePower();
      world.b.boot();
      world.run(60_000);
      expect(world.b.mirror?.claims.obstacle).to.match(/asked this node to be secondary/u);
      world.a.boot();
      inSyncAgain(world);
      world.expect('the wish has come about', () => world.b.mirror?.state.wish === undefined);
    }));
});

describe('what the operator wanted of a node ends with the next pair in sync', () => {
  /** The link is lost, B is told something, and the link is back before anybody went on alone. */
  function toldWhileApart(world: World, verb: 'prim' | 'second'): void {
    world.startPair();
    world.arbiter.running = false;
    world.link.setCut(true, true);
    world.expect('the link is lost', () => world.b.mirror?.channel === undefined, 10_000);
    const told = outcome(world, (done) => world.b.mirror?.operator[verb](done));
    expect(told).to.equal(undefined);
    expect(world.b.mirror?.state.wish).to.equal(verb);
    world.expect('A has asked the arbiter', () => world.a.mirror?.claims.problem !== '', 10_000);
    world.link.setCut(false, false);
    inSyncAgain(world);
    world.arbiter.running = true;
    expect(world.primary()).to.equal(world.a);
  }

  it('prim, and the link resumes: later the node is a secondary like any other, and no old problem is shown', () =>
    story(1145, (world) => {
      toldWhileApart(world, 'prim');
      for (const host of [world.a, world.b]) expect(host.mirror?.claims.problem).to.equal('');
      expect(world.b.mirror?.state.wish).to.equal(undefined);
    }));

  it('second, and the link resumes: the node takes over as ever', () =>
    story(1146, (world) => {
      toldWhileApart(world, 'second');
      world.a.losePower();
      world.expect('the VM runs on B', () => world.primary() === world.b, 20_000);
    }));

  it('second on the secondary of a pair in sync has come about: the node takes over as ever', () =>
    story(1147, (world) => {
      world.startPair();
      expect(outcome(world, (done) => world.b.mirror?.operator.second(done))).to.equal(undefined);
      world.a.losePower();
      world.expect('the VM runs on B', () => world.primary() === world.b, 20_000);
    }));
});

describe('second --full', () => {
  const full = (host: SimulatedHost, giveUp?: string): WorldError | undefined =>
    outcome(host.world, (done) => host.mirror?.operator.secondFull(giveUp, done));

  it('is refused without the name of the node, and then copies everything anew, from a pair in sync', () =>
    story(1151, (world) => {
      world.startPair();
      expect(full(world.b)?.wanted).to.equal('--give-up B');
      expect(full(world.b, 'A')?.found).to.equal('--give-up A');
      expect(full(world.b, 'B')).to.equal(undefined);
      inSyncAgain(world);
      expect(world.checkers.fullCopies).to.equal(2);
    }));

  it('is refused when the peer has nothing better, is not there, or runs here', () =>
    story(1152, (world) => {
      leaveOutdatedB(world);
      expect(full(world.b, 'B')?.found).to.equal('that it is not connected');
      world.a.replaceHardware();
      world.a.boot();
      world.expect('A is connected', () => world.b.mirror?.pairing.peerHello !== undefined, 40_000);
      expect(full(world.b, 'B')?.found).to.equal('that it is fresh');
    }));
});

describe('commands that come while the module starts', () => {
  it('take effect in their order: started, stopped and started again, it runs', () =>
    story(1161, (world) => {
      world.startPair();
      world.b.losePower();
      world.b.run = 'stopped';
      world.b.boot();
      world.expect('its process runs', () => world.b.mirror !== undefined);
      world.b.storage.hung = true;
      const answers: string[] = [];
      for (const verb of ['start', 'stop', 'start'] as const)
        world.b.command(verb, (error) => answers.push(`${verb} ${error?.code ?? 'done'}`));
      world.run(1000);
      expect(answers).to.deep.equal([]);
      world.b.storage.hung = false;
      world.expect('all are answered', () => answers.length === 3);
      const [last] = answers.slice(-1);
      // While the stop is still under way, it is refused, and can be given again.
      if (last !== 'start done') world.b.command('start');
      world.expect('the pair is in sync', () => world.inSync(), 30_000);
    }));
});
