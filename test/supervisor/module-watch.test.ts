/** Restart, backoff and watchdog in virtual time. What pausing and killing really do is not verified here. */
import { expect } from 'chai';
import {
  backoffMaxMs,
  exitDeadlineMs,
  ModuleWatch,
  pauseDeadlineMs,
  stableAfterMs,
  startDeadlineMs,
  type WatchHands,
} from '../../src/supervisor/module-watch.ts';
import { VirtualClock } from '../base/virtual-clock.ts';

const watchdogMs = 4000;
const awayMs = 900;
const crash = { code: 1, signal: undefined, lastWords: '' };

function setUp() {
  const clock = new VirtualClock();
  const done: string[] = [];
  const rules: string[] = [];
  const answering: { yes: boolean; pauseWithinMs?: number | undefined } = { yes: true };
  let pings = 0;
  const hands: WatchHands = {
    launch: () => void done.push('launch'),
    ping: () => {
      pings += 1;
      const { pauseWithinMs } = answering;
      const pauseByMs = pauseWithinMs === undefined ? undefined : clock.nowMs() + pauseWithinMs;
      if (answering.yes) clock.after(1, () => watch.answered(pauseByMs));
    },
    pauseGuest: () => void done.push('pause'),
    kill: () => void done.push('kill'),
    askToExit: () => void done.push('ask'),
    decided: ({ rule }) => void rules.push(rule),
  };
  const watch: ModuleWatch = new ModuleWatch(clock, watchdogMs, awayMs, hands);
  const start = () => {
    watch.start();
    clock.advance(1000);
    done.length = 0;
  };
  return { clock, watch, done, rules, answering, start, pings: () => pings };
}

describe('module watch', () => {
  it('a module that answers runs on and is asked twice a second', () => {
    const { clock, watch, done, pings } = setUp();
    watch.start();
    clock.advance(60_000);
    expect(watch.state).to.equal('running');
    expect(done).to.deep.equal(['launch']);
    expect(pings()).to.be.within(118, 122);
  });

  it('the first death is followed by a restart at once', () => {
    const { watch, done, start } = setUp();
    start();
    watch.exited(crash);
    expect(done).to.deep.equal(['launch']);
    expect(watch.restarts).to.equal(1);
  });

  it('a module that dies young again and again is restarted after growing waits, at most 5 s', () => {
    const { clock, watch, done, start } = setUp();
    start();
    const waits: number[] = [];
    for (let death = 0; death < 9; death += 1) {
      done.length = 0;
      watch.exited(crash);
      const fromMs = clock.nowMs();
      while (!done.includes('launch')) clock.step();
      waits.push(clock.nowMs() - fromMs);
    }
    expect(waits).to.deep.equal([0, 250, 500, 1000, 2000, 4000, backoffMaxMs, backoffMaxMs, backoffMaxMs]);
  });

  it('a module that lived long is restarted at once however often it died before', () => {
    const { clock, watch, done, start } = setUp();
    start();
    watch.exited(crash);
    watch.exited(crash);
    clock.advance(250 + stableAfterMs);
    expect(watch.state).to.equal('running');
    done.length = 0;
    watch.exited(crash);
    expect(done).to.deep.equal(['launch']);
  });

  it('exit code 78 is not restarted and its reason is kept', () => {
    const { clock, watch, done, start } = setUp();
    start();
    watch.exited({ code: 78, signal: undefined, lastWords: 'config-invalid: volumes' });
    clock.advance(60_000);
    expect(done).to.deep.equal(['pause']);
    expect(watch.state).to.equal('failed');
    expect(watch.because).to.contain('config-invalid: volumes');
    watch.start();
    expect(done).to.deep.equal(['pause', 'launch']);
  });

  it('a module that somebody else asked to exit stays stopped', () => {
    const { watch, done, start } = setUp();
    start();
    watch.exited({ code: 0, signal: undefined, lastWords: '' });
    expect(watch.state).to.equal('stopped');
    expect(done).to.deep.equal([]);
  });

  it('a hung module has its guest paused first and is then killed and restarted', () => {
    const { clock, watch, done, answering, start } = setUp();
    start();
    answering.yes = false;
    clock.advance(watchdogMs - 500);
    expect(done).to.deep.equal([]);
    clock.advance(510);
    expect(done).to.deep.equal(['pause']);
    watch.guestPaused();
    expect(done).to.deep.equal(['pause', 'kill']);
    watch.exited({ code: undefined, signal: 'SIGKILL', lastWords: '' });
    expect(done).to.deep.equal(['pause', 'kill', 'launch']);
  });

  it('a guest whose module died is paused when the next module does not answer soon, and only once', () => {
    const { clock, watch, done, rules, answering, start } = setUp();
    start();
    answering.yes = false;
    watch.exited(crash);
    clock.advance(awayMs - 1);
    expect(done).to.deep.equal(['launch']);
    clock.advance(1);
    expect(done).to.deep.equal(['launch', 'pause']);
    expect(rules).to.include('module-away');
    watch.exited(crash);
    answering.yes = true;
    clock.advance(awayMs);
    expect(done.filter((action) => action === 'pause')).to.deep.equal(['pause']);
  });

  it('a guest is not paused when the next module answers in time, and is when its module ended as asked', () => {
    const { clock, watch, done, start } = setUp();
    start();
    watch.exited(crash);
    clock.advance(5000);
    expect(done).to.deep.equal(['launch']);
    watch.stop();
    watch.exited({ code: 0, signal: undefined, lastWords: '' });
    clock.advance(5000);
    expect(done).to.deep.equal(['launch', 'ask', 'pause']);
  });

  it('a guest that cannot be paused does not save the hung module', () => {
    const { clock, watch, done, answering, start } = setUp();
    start();
    answering.yes = false;
    clock.advance(watchdogMs + pauseDeadlineMs + 10);
    expect(done).to.deep.equal(['pause', 'kill']);
    watch.guestPaused();
    expect(done).to.deep.equal(['pause', 'kill']);
  });

  it('an answer that comes while the guest is being paused does not stop the kill', () => {
    const { clock, watch, done, answering, start } = setUp();
    start();
    answering.yes = false;
    clock.advance(watchdogMs + 10);
    watch.answered();
    watch.guestPaused();
    expect(done).to.deep.equal(['pause', 'kill']);
  });

  it('a guest whose module said how long it may run is paused then, before the watchdog, which kills the module later', () => {
    const { clock, watch, done, rules, answering, start } = setUp();
    start();
    answering.pauseWithinMs = 1200;
    clock.advance(500);
    answering.yes = false;
    const silentMs = clock.nowMs();
    while (!done.includes('pause')) clock.step();
    expect(clock.nowMs() - silentMs).to.be.within(600, 1200);
    expect(rules.at(-1)).to.equal('run-limit');
    expect(watch.state).to.equal('running');
    watch.guestPaused();
    expect(done).to.deep.equal(['pause']);
    clock.advance(watchdogMs);
    watch.guestPaused();
    expect(done).to.deep.equal(['pause', 'pause', 'kill']);
  });

  it('a guest may run on as long as its module extends the limit, and without end when it has none any more', () => {
    const { clock, done, answering, start } = setUp();
    start();
    answering.pauseWithinMs = 700;
    clock.advance(20_000);
    answering.pauseWithinMs = undefined;
    clock.advance(600);
    answering.yes = false;
    clock.advance(watchdogMs - 1000);
    expect(done).to.deep.equal([]);
  });

  it('a module that is near the limit is asked often, so that a guest that may go on is not paused', () => {
    const { clock, done, answering, start } = setUp();
    start();
    answering.pauseWithinMs = 400;
    clock.advance(500);
    answering.pauseWithinMs = undefined;
    clock.advance(10_000);
    expect(done).to.deep.equal([]);
  });

  it('a module that wants its guest paused itself gets it paused once, not at every answer', () => {
    const { clock, done, answering, start } = setUp();
    start();
    answering.pauseWithinMs = 0;
    clock.advance(2000);
    expect(done).to.deep.equal(['pause']);
    answering.pauseWithinMs = 3000;
    clock.advance(1000);
    answering.pauseWithinMs = 0;
    clock.advance(1000);
    expect(done).to.deep.equal(['pause', 'pause']);
  });

  it('the limit outlives the module that named it', () => {
    const { clock, watch, done, rules, answering, start } = setUp();
    start();
    answering.pauseWithinMs = 600;
    clock.advance(500);
    answering.yes = false;
    watch.exited(crash);
    clock.advance(awayMs - 100);
    expect(done).to.deep.equal(['launch', 'pause']);
    expect(rules.at(-1)).to.equal('run-limit');
  });

  it('a new process that never answers is given the start deadline, not the watchdog', () => {
    const { clock, watch, answering } = setUp();
    answering.yes = false;
    watch.start();
    clock.advance(startDeadlineMs - 1);
    expect(watch.state).to.equal('starting');
    clock.advance(2);
    expect(watch.state).to.equal('pausing-guest');
  });

  it('a new process that starts its guest and hangs before its first answer: the guest is paused, long before it is given up', () => {
    const { clock, watch, done, rules, answering } = setUp();
    answering.yes = false;
    watch.start();
    clock.advance(awayMs - 1);
    expect(done).to.deep.equal(['launch']);
    clock.advance(1);
    expect(done).to.deep.equal(['launch', 'pause']);
    expect(rules.at(-1)).to.equal('module-away');
    clock.advance(startDeadlineMs + pauseDeadlineMs);
    watch.exited(crash);
    clock.advance(awayMs);
    expect(done).to.deep.equal(['launch', 'pause', 'pause', 'kill', 'launch', 'pause']);
  });

  it('a supervisor that was frozen itself asks again before it blames the module', () => {
    const { clock, watch, done, start } = setUp();
    start();
    clock.freeze(20_000);
    clock.advance(10_000);
    expect(done).to.deep.equal([]);
    expect(watch.state).to.equal('running');
  });

  it('a module that hangs while the supervisor was frozen is paused within half a second of its thaw', () => {
    const { clock, done, answering, start } = setUp();
    start();
    answering.yes = false;
    clock.freeze(20_000);
    clock.advance(510);
    expect(done).to.deep.equal(['pause']);
  });

  it('stop asks the module to exit, and kills it when it does not', () => {
    const { clock, watch, done, start } = setUp();
    start();
    watch.stop();
    expect(done).to.deep.equal(['ask']);
    clock.advance(exitDeadlineMs + 1);
    expect(done).to.deep.equal(['ask', 'kill']);
    watch.exited({ code: undefined, signal: 'SIGKILL', lastWords: '' });
    expect(watch.state).to.equal('stopped');
    clock.advance(awayMs);
    expect(done).to.deep.equal(['ask', 'kill', 'pause']);
    expect(clock.pendingCount).to.equal(0);
  });

  it('restart of a running module is no death and needs no backoff', () => {
    const { watch, done, start } = setUp();
    start();
    for (let round = 0; round < 3; round += 1) {
      watch.restart();
      watch.exited({ code: 0, signal: undefined, lastWords: '' });
    }
    expect(done).to.deep.equal(['ask', 'launch', 'ask', 'launch', 'ask', 'launch']);
    expect(watch.restarts).to.equal(0);
  });

  it('start while the module still exits launches it again only after its end', () => {
    const { watch, done, start } = setUp();
    start();
    watch.stop();
    watch.start();
    expect(done).to.deep.equal(['ask']);
    watch.exited({ code: 0, signal: undefined, lastWords: '' });
    expect(done).to.deep.equal(['ask', 'launch']);
  });

  it('an adopted process is watched like one of our own', () => {
    const { clock, watch, done, answering } = setUp();
    watch.adopt();
    clock.advance(1000);
    expect(watch.state).to.equal('running');
    answering.yes = false;
    clock.advance(watchdogMs + 10);
    expect(done).to.deep.equal(['pause']);
  });

  it('an adopted process that hangs already has its guest paused like one whose module is away, long before it is given up', () => {
    const { clock, watch, done, rules, answering } = setUp();
    answering.yes = false;
    watch.adopt();
    clock.advance(awayMs);
    expect([done, rules]).to.deep.equal([['pause'], ['module-away']]);
    clock.advance(startDeadlineMs);
    expect(done).to.deep.equal(['pause', 'pause']);
  });

  it('every decision names its rule', () => {
    const { watch, rules, start } = setUp();
    start();
    watch.exited(crash);
    watch.exited(crash);
    expect(rules).to.deep.equal(['started', 'restart-at-once', 'restart-later']);
  });
});
