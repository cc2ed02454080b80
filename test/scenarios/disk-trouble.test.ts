/**
 * Disks that hang, fail or are full, in each role. The checkers of the simulated world fail a story that loses or wrongly
 * acknowledges anything; the stories add who goes on, how soon, and what people are told.
 */
import { expect } from 'chai';
import { deriveState } from '../../src/cluster/derive-state.ts';
import { lookIntervalMs } from '../../src/cluster/disk-trouble.ts';
import { idle, keepBusy } from '../simulation/busy-disks.ts';
import { Random } from '../simulation/random.ts';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

const seeds = [1, 2, 3, 4];
/** A disk counts as hung after 7 s; guests wait at most this long, ms. */
const stallMsMax = 10_000;

function stories(situation: string, tell: (world: World) => void): void {
  it(situation, () => {
    for (const seed of seeds) story(seed, tell, { guestThinkMs: 10 });
  });
}

function hang(host: SimulatedHost, metadataToo: boolean, hung = true): void {
  for (const disk of host.disks) disk.hung = hung;
  if (metadataToo) host.storage.hung = hung;
}

function fail(host: SimulatedHost, failing: 'read' | 'write' | 'flush' | 'no-space' | undefined): void {
  for (const disk of host.disks) disk.failing = failing;
}

/** The disk was replaced or mended, and the operator starts the module again. */
function startAnew(host: SimulatedHost): void {
  fail(host, undefined);
  host.kill();
}

function told(host: SimulatedHost): { readiness: string; because: string } {
  if (host.mirror === undefined) throw new Error(`the module of ${host.name} runs`);
  return deriveState(host.mirror);
}

function doubtOf(host: SimulatedHost): string | undefined {
  return host.mirror?.state.diskDoubt;
}

function wholeAgain(world: World, fullCopies = 1): void {
  world.expect(
    'the pair is in sync and a VM runs',
    () => world.inSync() && world.primary() !== undefined,
    60_000,
  );
  expect(world.checkers.fullCopies).to.equal(fullCopies);
  world.checkAtRest();
  expect(world.hosts.map(doubtOf)).to.deep.equal(['none', 'none']);
}

function goesAlone(world: World, host: SimulatedHost, limitMs: number): void {
  world.expect(
    `${host.name} writes alone`,
    () => world.primary() === host && host.mirror?.primary.soloAllowed === true,
    limitMs,
  );
  const { acknowledgedCount } = world;
  world.expect('the guest goes on', () => world.acknowledgedCount > acknowledgedCount + 5, 2000);
}

/** B is away, and what A writes is on no other disk. */
function aloneOnA(world: World): void {
  world.startPair();
  world.b.losePower();
  goesAlone(world, world.a, 8000);
  world.run(1000);
}

describe('a disk that hangs', () => {
  for (const metadataToo of [false, true]) {
    const what = metadataToo ? 'the disk and the metadata' : 'the disk';

    stories(`${what} of the primary: the VM goes to the other node, and the node comes back`, (world) => {
      world.startPair();
      hang(world.a, metadataToo);
      world.expect('the VM runs on B', () => world.primary() === world.b, stallMsMax);
      expect(world.a.vm.state).to.equal('stopped');
      expect(told(world.a)).to.include({ readiness: 'not-ready' });
      expect(told(world.a).because).to.include('has not answered for');
      world.run(5000);
      expect(told(world.b).because).to.include('has not answered for');
      hang(world.a, metadataToo, false);
      wholeAgain(world);
      expect(world.primary()).to.equal(world.b);
    });

    stories(`${what} of the secondary: the guest goes on, and the node comes back`, (world) => {
      world.startPair();
      hang(world.b, metadataToo);
      goesAlone(world, world.a, stallMsMax);
      expect(told(world.b).readiness).to.equal('not-ready');
      world.run(5000);
      expect(told(world.a).because).to.include('has not answered for');
      hang(world.b, metadataToo, false);
      wholeAgain(world);
      expect(world.primary()).to.equal(world.a);
    });

    stories(`${what} of a primary that is alone: its VM is paused until the disk answers`, (world) => {
      aloneOnA(world);
      hang(world.a, metadataToo);
      world.expect('the VM is paused', () => world.a.vm.state === 'paused', stallMsMax);
      expect(told(world.a)).to.include({ state: 'ALONE', readiness: 'not-ready' });
      world.run(20_000);
      hang(world.a, metadataToo, false);
      goesAlone(world, world.a, 3000);
      world.b.boot();
      wholeAgain(world);
    });
  }

  stories(
    'the disk of a source, whose target has answered and then loses power: what it lost is in the next resync',
    (world) => {
      aloneOnA(world);
      world.b.boot();
      world.expect('A is a source', () => world.a.mirror?.pairing.phase === 'resync-source');
      hang(world.a, false);
      world.run(1000);
      world.b.losePower();
      world.expect('A goes on without B', () => world.a.mirror?.pairing.phase === 'down', 5000);
      hang(world.a, false, false);
      goesAlone(world, world.a, 5000);
      world.b.boot();
      wholeAgain(world);
    },
  );

  stories(
    'the disk of the primary, while the other host is frozen: what it wrote at last alone is in the next resync',
    (world) => {
      world.startPair();
      // What is sent from now on is lost with the connection.
      world.b.freezeHost(15_000);
      hang(world.a, false);
      world.expect('the VM of A is stopped', () => world.a.vm.state === 'stopped', stallMsMax + 1000);
      world.run(1000);
      hang(world.a, false, false);
      wholeAgain(world);
    },
  );

  stories('of either node, while the arbiter is away: nobody needs it', (world) => {
    world.startPair();
    world.arbiter.running = false;
    const host = world.random.pick(world.hosts);
    hang(host, false);
    goesAlone(world, world.otherThan(host), stallMsMax);
    hang(host, false, false);
    world.run(3000);
    world.arbiter.running = true;
    wholeAgain(world);
  });

  stories('of the secondary with its metadata, while the arbiter is away: writes wait for it', (world) => {
    world.startPair();
    world.arbiter.running = false;
    hang(world.b, true);
    world.run(30_000);
    expect(world.a.mirror?.primary.gate).to.equal('held');
    hang(world.b, true, false);
    world.arbiter.running = true;
    wholeAgain(world);
  });

  stories('of both nodes: neither gives its copy up', (world) => {
    world.startPair();
    hang(world.a, false);
    hang(world.b, false);
    world.run(30_000);
    expect(world.hosts.map(({ mirror }) => mirror?.state.data)).to.include('up-to-date');
    for (const host of world.hosts) hang(host, false, false);
    wholeAgain(world);
  });

  stories('of the primary whose link is cut at the same time: the other node goes on', (world) => {
    world.startPair();
    hang(world.a, world.random.chance(0.5));
    world.run(world.random.between(0, 9000));
    world.link.setCut(true, true);
    world.expect('the VM runs on B', () => world.primary() === world.b, 30_000);
    world.run(2000);
    hang(world.a, true, false);
    world.link.setCut(false, false);
    wholeAgain(world);
  });

  stories('and its link blinks, while the node holds what the peer could go on with', (world) => {
    world.startPair();
    world.arbiter.running = false;
    world.link.setCut(true, true);
    world.run(4000);
    hang(world.a, false);
    world.run(9000);
    world.link.setCut(false, false);
    world.arbiter.running = true;
    // Both had asked the arbiter before the disk hung: which of them it names is chance.
    world.expect('the arbiter names one', () => world.arbiter.record?.holder !== 'both', 20_000);
    if (world.arbiter.record?.holder === 'B')
      world.expect('the VM runs on B', () => world.primary() === world.b, 20_000);
    hang(world.a, false, false);
    wholeAgain(world);
  });
});

describe('a disk that others keep busy, so that a flush takes up to 20 s', () => {
  const busyMs = 120_000;
  const longestFlushMs = 20_000;

  function makeBusy(
    world: World,
    host: SimulatedHost,
    fromMs = longestFlushMs / 2,
    toMs = longestFlushMs,
  ): void {
    keepBusy(host, new Random(world.seed), toMs, world.random.chance(0.5), fromMs);
  }

  for (const [role, hostsOf] of [
    ['the primary', (world: World) => [world.a]],
    ['the secondary', (world: World) => [world.b]],
    ['both nodes', (world: World) => [...world.hosts]],
  ] as const) {
    stories(`of ${role}: people are told, the guest goes on slowly, and nobody leaves`, (world) => {
      world.startPair();
      const { generation } = world.a.mirror?.state ?? { generation: 0 };
      const hosts = hostsOf(world);
      for (const host of hosts) makeBusy(world, host);
      world.expect('people are told', () =>
        hosts.every((host) => told(host).because.includes(' is slow since ')),
      );
      expect(hosts.map((host) => told(host).readiness)).to.deep.equal(hosts.map(() => 'transient'));
      const before = world.acknowledgedCount;
      world.run(busyMs);
      expect(world.acknowledgedCount).to.be.above(before);
      expect([world.inSync(), world.primary() === world.a]).to.deep.equal([true, true]);
      expect(world.a.mirror?.state.generation).to.equal(generation);
      for (const host of hosts) idle(host);
      world.run(40_000);
      expect(hosts.map((host) => told(host).readiness)).to.deep.equal(hosts.map(() => 'ready'));
      wholeAgain(world);
    });
  }

  stories('and that then hangs: the node leaves in time, counted from when the device stopped', (world) => {
    world.startPair();
    makeBusy(world, world.b);
    world.run(world.random.between(5000, 30_000));
    hang(world.b, world.random.chance(0.5));
    goesAlone(world, world.a, stallMsMax);
    idle(world.b);
    hang(world.b, true, false);
    wholeAgain(world);
  });

  stories('for far longer than guests wait: the node leaves before they give the disk up', (world) => {
    world.startPair();
    makeBusy(world, world.b, 100_000, 110_000);
    world.run(20_000);
    expect(world.inSync()).to.equal(true);
    goesAlone(world, world.a, 11_000);
    expect(told(world.b).because).to.include('although its device works');
    idle(world.b);
    world.run(110_000);
    wholeAgain(world);
  });
});

describe('a disk that fails', () => {
  for (const failing of ['read', 'write', 'flush'] as const) {
    stories(
      `${failing} of the primary: the VM goes to the other node, a start brings the node back`,
      (world) => {
        world.startPair();
        fail(world.a, failing);
        world.expect('the VM runs on B', () => world.primary() === world.b, stallMsMax);
        expect(world.a.mirror?.state.data).to.equal('outdated');
        expect(told(world.a).because).to.include('or replace it');
        world.run(2000);
        startAnew(world.a);
        wholeAgain(world);
        expect(world.primary()).to.equal(world.b);
      },
    );

    if (failing !== 'read')
      stories(`${failing} of the secondary: the guest goes on, a start brings the node back`, (world) => {
        world.startPair();
        fail(world.b, failing);
        goesAlone(world, world.a, 5000);
        world.expect('B knows', () => world.b.mirror?.state.data === 'outdated', 1000);
        world.run(2000);
        startAnew(world.b);
        wholeAgain(world);
        expect(world.primary()).to.equal(world.a);
      });

    stories(
      `${failing} of the target of a resync: the source goes on, and the copy stays unusable`,
      (world) => {
        aloneOnA(world);
        world.b.boot();
        world.expect('B is a target', () => world.b.mirror?.pairing.phase === 'resync-target');
        fail(world.b, failing);
        goesAlone(world, world.a, 8000);
        world.run(3000);
        expect(world.b.mirror?.state.data).to.equal('inconsistent');
        startAnew(world.b);
        wholeAgain(world);
      },
    );

    stories(`${failing} of the source of a resync: held, paused, and nothing is lost`, (world) => {
      aloneOnA(world);
      world.b.boot();
      world.expect('B is a target', () => world.b.mirror?.pairing.phase === 'resync-target');
      fail(world.a, failing);
      world.expect('the VM is paused', () => world.a.vm.state === 'paused', 10_000);
      expect(told(world.a).readiness).to.equal('not-ready');
      world.run(3000);
      startAnew(world.a);
      world.expect('A is back', () => world.a.mirror !== undefined);
      if (doubtOf(world.a) !== 'none') {
        world.run(10_000);
        expect(world.primary()).to.equal(undefined);
        world.a.command('acceptDisk');
      }
      wholeAgain(world);
    });
  }

  stories(
    'read of the primary while its guest shuts down, and the link blinks: the peer waits until the VM is off',
    (world) => {
      world.startPair();
      world.a.command('swap');
      world.expect('the guest shuts down', () => world.a.vm.state === 'stopping', 1000);
      world.link.blip();
      world.expect('the link is gone', () => world.a.mirror?.pairing.phase === 'down', 1000);
      fail(world.a, 'read');
      // The checker of VMs that execute fails the story otherwise.
      world.expect('the VM runs on B', () => world.primary() === world.b, stallMsMax);
      startAnew(world.a);
      wholeAgain(world);
    },
  );

  stories(
    'flush of the source, which loses power before its target has noted that they were in sync: both are compared',
    (world) => {
      aloneOnA(world);
      world.b.boot();
      world.expect('the arbiter says both', () => world.arbiter.record?.holder === 'both', 20_000);
      const flushMs = 3000;
      world.b.storage.busy = { random: new Random(world.seed), flushMsMin: flushMs, flushMsMax: flushMs };
      world.expect('B was told', () => world.b.mirror?.state.data === 'up-to-date', 1000);
      fail(world.a, 'flush');
      world.expect('A gives its disk up', () => world.a.mirror?.disk.present === true, flushMs / 2);
      world.a.losePower();
      fail(world.a, undefined);
      world.b.storage.busy = undefined;
      world.a.boot();
      wholeAgain(world);
    },
  );

  stories('of both nodes at once: never two outdated copies', (world) => {
    world.startPair();
    fail(world.a, 'flush');
    fail(world.b, 'flush');
    world.run(20_000);
    expect(world.hosts.map(({ mirror }) => mirror?.state.data)).to.include('up-to-date');
    for (const host of world.hosts) startAnew(host);
    world.run(5000);
    if (world.primary() === undefined) {
      const newest = world.hosts.find(({ mirror }) => mirror?.state.data === 'up-to-date');
      newest?.command('acceptDisk');
    }
    wholeAgain(world);
  });

  stories(
    'of the primary, while the other node leaves with its permission: one copy stays up to date',
    (world) => {
      world.startPair();
      world.b.command('stop');
      world.run(world.random.between(0, 12));
      fail(world.a, 'flush');
      world.run(8000);
      expect(world.hosts.map(({ mirror }) => mirror?.state.data)).to.include('up-to-date');
      fail(world.a, undefined);
      world.b.command('start');
      startAnew(world.a);
      world.run(20_000);
      if (world.primary() === undefined)
        world.hosts.find((host) => host.mirror?.state.data === 'up-to-date')?.command('acceptDisk');
      wholeAgain(world);
    },
  );
});

describe('a flush that failed while the node was alone', () => {
  /** Held, paused, red; `restart` is how the process ends. */
  function inDoubt(world: World, restart: (host: SimulatedHost) => void, metadataHangs = false): void {
    aloneOnA(world);
    if (metadataHangs) world.a.storage.hung = true;
    fail(world.a, 'flush');
    world.expect('the VM is paused', () => world.a.vm.state === 'paused', 10_000);
    expect(told(world.a)).to.include({ state: 'ALONE', readiness: 'not-ready' });
    world.run(1000);
    fail(world.a, undefined);
    world.a.storage.hung = false;
    restart(world.a);
    world.run(40_000);
    world.expect('A runs', () => world.a.mirror?.run === 'started');
  }

  function refusesByItself(world: World): void {
    expect(world.primary()).to.equal(undefined);
    expect([world.a.vm.state, doubtOf(world.a)]).to.deep.equal(['stopped', 'flush-failed']);
    expect(told(world.a)).to.include({ state: 'WAIT', readiness: 'not-ready' });
    expect(told(world.a).because).to.include('accept-disk');
    let refused = '';
    world.a.command('prim', (error) => (refused = error?.code ?? 'done'));
    expect(refused).to.equal('control-refused');
  }

  stories(
    'is known to the next process, which serves only when the operator has checked the disk',
    (world) => {
      inDoubt(world, (host) => host.kill());
      refusesByItself(world);
      world.a.command('acceptDisk');
      goesAlone(world, world.a, 60_000);
      world.b.boot();
      wholeAgain(world);
    },
  );

  stories('is known to the next process when the metadata hung too', (world) => {
    inDoubt(world, (host) => host.kill(), true);
    refusesByItself(world);
    world.a.command('acceptDisk');
    goesAlone(world, world.a, 60_000);
    world.b.boot();
    wholeAgain(world);
  });

  stories('is known after a reboot', (world) => {
    inDoubt(world, (host) => {
      host.losePower();
      host.boot();
    });
    refusesByItself(world);
    world.a.command('acceptDisk');
    goesAlone(world, world.a, 60_000);
    world.b.boot();
    wholeAgain(world);
  });

  stories(
    'the peer that comes back is older: it is not the source, and waits for the operator too',
    (world) => {
      inDoubt(world, (host) => host.kill());
      world.b.boot();
      world.run(30_000);
      expect(world.primary()).to.equal(undefined);
      expect(told(world.b).because).to.include('accept-disk');
      world.a.command('acceptDisk');
      wholeAgain(world);
    },
  );
});

describe('a disk without room', () => {
  stories(
    'of the primary: the guest waits, the pair stays in sync, and both copies are made equal again',
    (world) => {
      world.startPair();
      fail(world.a, 'no-space');
      world.run(world.random.between(100, 5000));
      expect(world.inSync()).to.equal(true);
      fail(world.a, undefined);
      const { acknowledgedCount } = world;
      world.expect('the guest goes on', () => world.acknowledgedCount > acknowledgedCount + 20, 5000);
      const dirty = (): number =>
        world.a.mirror?.replicas.reduce((sum, { bitmap }) => sum + bitmap.count, 0) ?? -1;
      world.expect('nothing is dirty', () => dirty() === 0, 10_000);
      expect(world.inSync()).to.equal(true);
      wholeAgain(world);
    },
  );

  stories('of the primary, whose guest never asks again: both copies are equal all the same', (world) => {
    world.startPair();
    world.guestsRest = true;
    world.run(500);
    fail(world.a, 'no-space');
    let answer = '';
    const chunks = [new Uint8Array(4096).fill(7)];
    world.a.mirror?.volumes[0]?.write(1024 * 1024, 4096, chunks, false, {
      done: (error) => (answer = error ?? 'done'),
    });
    world.run(5000);
    expect(answer).to.equal('no-space');
    world.checkers.equalCopies();
    expect(world.a.mirror?.replicas[0]?.bitmap.count).to.equal(0);
    fail(world.a, undefined);
    world.guestsRest = false;
    wholeAgain(world);
  });

  for (const when of ['is', 'was']) {
    stories(`of the primary, whose VM ${when} to move when the copies differ: it stays`, (world) => {
      world.startPair();
      world.guestsRest = true;
      world.run(500);
      fail(world.a, 'no-space');
      const refusedWrite = (offsetBytes: number): void => {
        const chunks = [new Uint8Array(4096).fill(7)];
        world.a.mirror?.volumes[0]?.write(offsetBytes, 4096, chunks, false, { done: () => {} });
      };
      let answer = '';
      const swap = (): void => world.a.command('swap', (error) => (answer = error?.code ?? 'done'));
      refusedWrite(1024 * 1024);
      world.run(500);
      if (when === 'was') swap();
      refusedWrite(2 * 1024 * 1024);
      world.run(20);
      if (when === 'is') swap();
      // Again and again: a repair passes every two seconds.
      for (let passedMs = 0; answer === '' && passedMs < 20_000; passedMs += 20) {
        refusedWrite(2 * 1024 * 1024);
        world.run(20);
      }
      fail(world.a, undefined);
      world.run(5000);
      world.expect('the pair is in sync', () => world.inSync(), 20_000);
      world.checkers.equalCopies();
      expect([answer, world.a.mirror?.serving]).to.deep.equal(['control-refused', true]);
      world.guestsRest = false;
      wholeAgain(world);
    });
  }

  stories('of the secondary: it leaves, and comes back by itself when there is room', (world) => {
    world.startPair();
    fail(world.b, 'no-space');
    goesAlone(world, world.a, 5000);
    expect(told(world.b).because).to.include('no room');
    fail(world.b, undefined);
    wholeAgain(world);
  });
});

describe('two doubts about one disk', () => {
  /** B's file was replaced and its flush failed: the other file holds nothing of what the bitmaps take for equal. */
  function copiedInFull(world: World): void {
    world.expect('B has left', () => world.b.mirror?.state.data === 'outdated', 10_000);
    world.run(lookIntervalMs + 1000);
    expect(doubtOf(world.b)).to.equal('file-replaced');
    fail(world.b, undefined);
    world.b.kill();
    world.b.filePath = 'same';
    const isCopied = (): boolean => world.a.mirror?.pairing.phase === 'resync-source';
    world.expect('B is made anew', isCopied, 60_000);
    expect(world.a.mirror?.pairing.verdict?.scope).to.equal('full');
    world.expect('the pair is in sync', () => world.inSync(), 60_000);
    expect(world.hosts.map(doubtOf)).to.deep.equal(['none', 'none']);
    world.run(lookIntervalMs + 1000);
    world.b.kill();
    wholeAgain(world, 2);
  }

  stories('the file is replaced and then a flush fails: the other file is copied in full', (world) => {
    world.startPair();
    world.b.filePath = 'another-file';
    world.run(lookIntervalMs + 1000);
    fail(world.b, 'flush');
    copiedInFull(world);
  });

  stories('a flush fails and then the file is replaced: the other file is copied in full', (world) => {
    world.startPair();
    fail(world.b, 'flush');
    world.expect('B has left', () => world.b.mirror?.state.data === 'outdated', 10_000);
    world.b.filePath = 'another-file';
    copiedInFull(world);
  });

  stories(
    'the file is replaced, a flush fails, the old file is put back: the failed flush is known',
    (world) => {
      world.startPair();
      world.b.filePath = 'another-file';
      world.run(lookIntervalMs + 1000);
      fail(world.b, 'flush');
      world.run(1000);
      world.b.filePath = 'same';
      world.run(lookIntervalMs + 1000);
      expect(doubtOf(world.b)).to.equal('flush-failed');
      startAnew(world.b);
      wholeAgain(world);
    },
  );
});
