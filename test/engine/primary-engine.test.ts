/**
 * The write path with a disk in memory and a peer that the test plays. What a peer does with the requests, and who decides to
 * hold, resume or go alone, is not verified here.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { blockSizeBytes, extentSizeBytes, hotExtentsMax } from '../../src/disk/state.ts';
import { mutationBytesMax } from '../../src/engine/mirrored-volume.ts';
import { settleIntervalMs } from '../../src/engine/primary-engine.ts';
import { FrameFlag, FrameType } from '../../src/link/frames.ts';
import { EngineFixture, GuestRequest } from './engine-fixture.ts';
import { ScriptedPeer } from './scripted-peer.ts';

const block = blockSizeBytes;

/** In sync, at rest: both are needed for every write. */
function inSync(fixture = new EngineFixture()): { fixture: EngineFixture; peer: ScriptedPeer } {
  const peer = new ScriptedPeer();
  fixture.engine.replicate(peer.channel, false);
  peer.answerAll();
  peer.requests.length = 0;
  fixture.device.calls.length = 0;
  return { fixture, peer };
}

/** The link is gone and nobody has allowed anything. */
function lose(fixture: EngineFixture, peer: ScriptedPeer): void {
  peer.channel.close();
  fixture.engine.channelLost();
}

function goAlone(fixture: EngineFixture): boolean | undefined {
  let result: boolean | undefined;
  fixture.engine.hold();
  fixture.engine.goAlone((ok) => {
    result = ok;
  });
  return result;
}

describe('primary engine', () => {
  describe('in sync', () => {
    it('a write is acknowledged only after both: the peer is last', () => {
      const { fixture, peer } = inSync();
      const write = fixture.write(0, 4096, 7);
      expect(fixture.device.bytes[0]).to.equal(7);
      expect(write.answer).to.equal('none');
      peer.answer(peer.open()[0]);
      expect(write.answer).to.equal('ok');
      expect(fixture.dirty).to.deep.equal([]);
    });

    it('a write is acknowledged only after both: the own disk is last', () => {
      const { fixture, peer } = inSync();
      fixture.device.holding = true;
      const write = fixture.write(0, 4096, 7);
      peer.answer(peer.open()[0]);
      expect(write.answer).to.equal('none');
      fixture.device.release();
      expect(write.answer).to.equal('ok');
    });

    it('the peer gets offset, length, FUA and exactly the bytes', () => {
      const { fixture, peer } = inSync();
      fixture.write(8192, 4096, 9, true);
      const { header, payload } = peer.open()[0] ?? {};
      expect(header).to.include({
        type: FrameType.write,
        flags: FrameFlag.fua,
        offsetBytes: 8192,
        lengthBytes: 4096,
      });
      expect(payload).to.deep.equal(new Uint8Array(4096).fill(9));
      expect(fixture.device.calls[0]).to.include({ name: 'write', fua: true });
    });

    it('nothing is written anywhere before its extent is durably in the activity log', () => {
      const { fixture, peer } = inSync();
      fixture.metadata.holding = true;
      fixture.write(0, 4096, 7);
      expect(fixture.device.calls).to.deep.equal([]);
      expect(peer.requests).to.deep.equal([]);
      fixture.metadata.release();
      expect(fixture.device.calls).to.have.length(1);
      expect(peer.requests).to.have.length(1);
    });

    it('overlapping writes reach both copies one after the other, in order; others pass', () => {
      const { fixture, peer } = inSync();
      const writes = [1, 2, 3].map((value) => fixture.write(0, 4096, value));
      fixture.write(block, 4096, 4);
      const values = (): (number | undefined)[] => peer.requests.map(({ payload }) => payload[0]);
      expect(values()).to.deep.equal([1, 4]);
      peer.answer(peer.open()[0]);
      expect(writes.map(({ answer }) => answer)).to.deep.equal(['ok', 'none', 'none']);
      expect(values()).to.deep.equal([1, 4, 2]);
      peer.answerAll();
      expect(values()).to.deep.equal([1, 4, 2, 3]);
      expect(fixture.device.bytes[0]).to.equal(3);
    });

    it('a flush is acknowledged only after both are flushed', () => {
      for (const last of ['peer', 'disk'] as const) {
        const { fixture, peer } = inSync();
        fixture.device.holding = true;
        const flush = fixture.flush();
        const [request] = peer.open(FrameType.flush);
        if (last === 'peer') fixture.device.release();
        else peer.answer(request);
        expect(flush.answer, `${last} is last`).to.equal('none');
        if (last === 'peer') peer.answer(request);
        else fixture.device.release();
        expect(flush.answer).to.equal('ok');
      }
    });

    it('guests that flush while a flush runs share the next one', () => {
      const { fixture, peer } = inSync();
      const flushes = [fixture.flush(), fixture.flush(), fixture.flush()];
      expect(peer.open(FrameType.flush)).to.have.length(1);
      peer.answer(peer.open(FrameType.flush)[0]);
      expect(flushes.map(({ answer }) => answer)).to.deep.equal(['ok', 'none', 'none']);
      expect(peer.open(FrameType.flush)).to.have.length(1);
      peer.answerAll();
      expect(flushes.map(({ answer }) => answer)).to.deep.equal(['ok', 'ok', 'ok']);
    });

    it('a flush clears only what had completed on both before it began', () => {
      const { fixture, peer } = inSync();
      fixture.write(0, 4096, 1);
      peer.answerAll();
      fixture.write(block, 4096, 2);
      fixture.flush();
      peer.answer(peer.open(FrameType.write)[0]);
      fixture.write(2 * block, 4096, 3);
      peer.answer(peer.open(FrameType.write)[0]);
      peer.answer(peer.open(FrameType.flush)[0]);
      lose(fixture, peer);
      expect(goAlone(fixture)).to.equal(true);
      expect(fixture.dirty, 'block 0 was settled, 1 and 2 were not').to.deep.equal([1, 2]);
    });

    it('a flush that never ended clears nothing', () => {
      const { fixture, peer } = inSync();
      fixture.write(0, 4096, 1);
      peer.answerAll();
      fixture.flush();
      lose(fixture, peer);
      goAlone(fixture);
      expect(fixture.dirty).to.deep.equal([0]);
    });

    it('a flush runs by itself, so that the unstable set stays small', () => {
      const { fixture, peer } = inSync();
      fixture.write(0, 4096, 1);
      peer.answerAll();
      expect(fixture.replica.unstable.count).to.equal(1);
      fixture.clock.advance(settleIntervalMs);
      peer.answerAll();
      expect(fixture.replica.unstable.count + fixture.replica.unstableFlushing.count).to.equal(0);
      fixture.clock.advance(10 * settleIntervalMs);
      expect(peer.requests.filter(({ header }) => header.type === FrameType.flush)).to.have.length(1);
    });

    it('a trim longer than one mutation is cut and answered once', () => {
      const { fixture, peer } = inSync(new EngineFixture(3 * mutationBytesMax));
      const trim = new GuestRequest();
      fixture.volume.trim(0, 2 * mutationBytesMax + 4096, false, trim);
      const lengths: number[] = [];
      for (let [request] = peer.open(); request !== undefined; [request] = peer.open()) {
        lengths.push(request.header.lengthBytes);
        expect(trim.answer).to.equal('none');
        peer.answer(request);
      }
      expect(lengths).to.deep.equal([mutationBytesMax, mutationBytesMax, 4096]);
      expect(trim.answer).to.equal('ok');
    });
  });

  describe('the peer is lost', () => {
    it('nothing is acknowledged, new requests are held, nothing of them touches a disk', () => {
      const { fixture, peer } = inSync();
      const before = fixture.write(0, 4096, 1);
      lose(fixture, peer);
      expect(fixture.engine.gate).to.equal('held');
      const calls = fixture.device.calls.length;
      const after = [fixture.write(block, 4096, 2), fixture.flush()];
      expect(fixture.device.calls).to.have.length(calls);
      fixture.clock.advance(60_000);
      expect([before, ...after].map(({ answer }) => answer)).to.deep.equal(['none', 'none', 'none']);
    });

    it('reads go on', () => {
      const { fixture, peer } = inSync();
      lose(fixture, peer);
      let answer: unknown = 'none';
      fixture.volume.read(0, 4096, {
        done: (error, chunks) => {
          answer = error ?? chunks.length;
        },
      });
      expect(answer).to.equal(1);
    });

    it('resume sends again what was not answered, in its order, and lets in what was held', () => {
      const { fixture, peer } = inSync();
      const requests = [fixture.write(0, 4096, 1), fixture.write(block, 4096, 2), fixture.flush()];
      lose(fixture, peer);
      requests.push(fixture.write(2 * block, 4096, 3));
      const again = new ScriptedPeer();
      fixture.engine.resume(again.channel);
      const resent = again.requests.map(({ header, payload }) => payload[0] ?? header.type);
      expect(resent).to.deep.equal([1, 2, FrameType.flush, 3]);
      expect(requests.every(({ answer }) => answer === 'none')).to.equal(true);
      again.answerAll();
      expect(requests.every(({ answer }) => answer === 'ok')).to.equal(true);
      expect(fixture.dirty).to.deep.equal([]);
    });

    it('alone: what the peer may lack is dirty, the own disk is flushed, and only then is anything acknowledged', () => {
      const { fixture, peer } = inSync();
      const settled = fixture.write(0, 4096, 1);
      peer.answerAll();
      fixture.flush();
      peer.answerAll();
      fixture.write(block, 4096, 2);
      peer.answerAll();
      const unanswered = fixture.write(2 * block, 4096, 3);
      lose(fixture, peer);
      const held = fixture.write(3 * block, 4096, 4);
      fixture.device.holding = true;
      fixture.engine.goAlone(() => {});
      expect(fixture.dirty).to.deep.equal([1, 2]);
      expect(fixture.device.calls.at(-1)?.name).to.equal('flush');
      expect([unanswered, held].map(({ answer }) => answer)).to.deep.equal(['none', 'none']);
      fixture.device.release();
      expect([settled, unanswered, held].map(({ answer }) => answer)).to.deep.equal(['ok', 'ok', 'ok']);
      expect(fixture.dirty).to.deep.equal([1, 2, 3]);
    });

    it('alone, but the flush fails: nothing is acknowledged', () => {
      const { fixture, peer } = inSync();
      const write = fixture.write(0, 4096, 1);
      lose(fixture, peer);
      fixture.device.failures.push('io-error');
      expect(goAlone(fixture)).to.equal(false);
      expect(write.answer).to.equal('none');
      expect(fixture.engine.soloAllowed).to.equal(false);
      expect(fixture.diskFailures).to.have.length(1);
    });

    it('alone, an extent leaves the activity log only after its bitmap page is durable', () => {
      const { fixture, peer } = inSync();
      lose(fixture, peer);
      goAlone(fixture);
      fixture.write(0, 4096, 1);
      expect(fixture.metadata.dirtyBlocks).to.deep.equal([]);
      expect(fixture.metadata.hot).to.deep.equal([0]);
      fixture.clock.advance(settleIntervalMs);
      expect(fixture.metadata.dirtyBlocks).to.deep.equal([0]);
    });

    it('a flush on both settles nothing that was written alone before its bits are durable', () => {
      const fixture = new EngineFixture();
      goAlone(fixture);
      fixture.write(0, 4096, 1);
      const peer = new ScriptedPeer();
      fixture.metadata.holding = true;
      const settled: string[] = [];
      const { log } = fixture.replica;
      const settle = log.settled.bind(log);
      log.settled = (tick) => {
        settled.push(`dirty on disk: ${fixture.metadata.dirtyBlocks.join()}`);
        settle(tick);
      };
      fixture.engine.replicate(peer.channel, true);
      fixture.flush();
      peer.answerAll();
      expect(settled).to.deep.equal([]);
      fixture.metadata.release();
      fixture.flush();
      peer.answerAll();
      expect(settled).to.deep.equal(['dirty on disk: 0']);
    });

    it('a peer that fails a request is not taken for one that did it', () => {
      const { fixture, peer } = inSync();
      const write = fixture.write(0, 4096, 1);
      peer.answer(peer.open()[0], true);
      expect(write.answer).to.equal('none');
      lose(fixture, peer);
      goAlone(fixture);
      expect(write.answer).to.equal('ok');
      expect(fixture.dirty).to.deep.equal([0]);
    });

    it('the target of a resync drops out: the guest goes on at once, and what it missed is dirty', () => {
      const fixture = new EngineFixture();
      goAlone(fixture);
      const peer = new ScriptedPeer();
      fixture.engine.replicate(peer.channel, true);
      const write = fixture.write(5 * block, 4096, 1);
      expect(write.answer).to.equal('none');
      lose(fixture, peer);
      expect(write.answer).to.equal('ok');
      expect(fixture.write(6 * block, 4096, 2).answer).to.equal('ok');
      expect(fixture.dirty).to.deep.equal([5, 6]);
    });

    it('from the last part of a resync on, a lost peer holds the guest', () => {
      const fixture = new EngineFixture();
      goAlone(fixture);
      const peer = new ScriptedPeer();
      fixture.engine.replicate(peer.channel, true);
      fixture.engine.requireBoth();
      const write = fixture.write(0, 4096, 1);
      lose(fixture, peer);
      expect(write.answer).to.equal('none');
      fixture.engine.allowSolo();
      expect(write.answer).to.equal('ok');
      expect(fixture.dirty).to.deep.equal([0]);
    });
  });

  describe('the own disk', () => {
    it('no space is told to the guest, and its block counts as different', () => {
      const { fixture, peer } = inSync();
      fixture.device.failures.push('no-space');
      const write = fixture.write(0, 4096, 1);
      expect(write.answer).to.equal('none');
      peer.answerAll();
      expect(write.answer).to.equal('no-space');
      expect(fixture.dirty).to.deep.equal([0]);
      expect(fixture.diskFailures).to.deep.equal([]);
      const next = fixture.write(block, 4096, 2);
      peer.answerAll();
      expect(next.answer).to.equal('ok');
    });

    it('a failed read, write or fdatasync is never answered, and reported once', () => {
      for (const kind of ['read', 'write', 'flush'] as const) {
        const { fixture } = inSync();
        fixture.device.failures.push('io-error', 'io-error');
        const request = new GuestRequest();
        if (kind === 'read') fixture.volume.read(0, 4096, request);
        else if (kind === 'write') fixture.volume.write(0, 4096, [new Uint8Array(4096)], false, request);
        else fixture.volume.flush(request);
        const later = [fixture.write(block, 4096, 1), fixture.flush()];
        fixture.clock.advance(60_000);
        expect(
          [request, ...later].map(({ answer }) => answer),
          kind,
        ).to.deep.equal(['none', 'none', 'none']);
        expect(fixture.diskFailures, kind).to.have.length(1);
        expect(fixture.engine.gate).to.equal('held');
      }
    });

    it("a failed write or fdatasync is not answered by the peer's word, nor after the peer is lost", () => {
      for (const kind of ['write', 'flush'] as const) {
        const { fixture, peer } = inSync();
        fixture.device.failures.push('io-error');
        const request = kind === 'write' ? fixture.write(0, 4096, 1) : fixture.flush();
        peer.answerAll();
        expect(request.answer, kind).to.equal('none');
        lose(fixture, peer);
        fixture.engine.allowSolo();
        expect(request.answer, kind).to.equal('none');
      }
    });

    it('after a failure every request can be given up, and the engine becomes idle', () => {
      for (const kind of ['write', 'flush', 'overlapping writes'] as const) {
        const { fixture, peer } = inSync();
        fixture.device.failures.push('io-error');
        const requests = kind === 'flush' ? [fixture.flush()] : [fixture.write(0, 4096, 1)];
        if (kind === 'overlapping writes') requests.push(fixture.write(0, 4096, 2));
        requests.push(fixture.write(block, 4096, 3));
        peer.answerAll();
        let idle = false;
        fixture.engine.abandon();
        fixture.engine.whenIdle(() => {
          idle = true;
        });
        expect(new Set(requests.map(({ answer }) => answer)), kind).to.deep.equal(new Set(['shutting-down']));
        expect(idle, kind).to.equal(true);
      }
    });

    it('a difference for want of space stays in the activity log, whatever else is written and flushed', () => {
      const { fixture, peer } = inSync(new EngineFixture((hotExtentsMax + 1) * extentSizeBytes));
      fixture.device.failures.push('no-space');
      fixture.write(0, 4096, 1);
      peer.answerAll();
      for (let extent = 1; extent <= hotExtentsMax; extent += 1) {
        fixture.write(extent * extentSizeBytes, 4096, 2);
        peer.answerAll();
        if (extent % 100 === 0) fixture.flush();
        peer.answerAll();
      }
      fixture.flush();
      peer.answerAll();
      const covered = fixture.metadata.dirtyBlocks.includes(0) || fixture.metadata.hot.includes(0);
      expect(covered).to.equal(true);
      expect(fixture.metadata.hot).to.include(hotExtentsMax);
    });

    it('a failed write is dirty even when the peer has it', () => {
      const { fixture, peer } = inSync();
      fixture.device.failures.push('io-error');
      fixture.write(2 * block, 4096, 1);
      peer.answerAll();
      expect(fixture.dirty).to.deep.equal([2]);
    });
  });

  describe('ends', () => {
    it('closed: every kind of request is refused, none is kept', () => {
      const fixture = new EngineFixture();
      const requests = Array.from({ length: 5 }, () => new GuestRequest());
      const [read, write, flush, trim, zero] = requests as [
        GuestRequest,
        GuestRequest,
        GuestRequest,
        GuestRequest,
        GuestRequest,
      ];
      fixture.volume.read(0, 4096, read);
      fixture.volume.write(0, 4096, [new Uint8Array(4096)], false, write);
      fixture.volume.flush(flush);
      fixture.volume.trim(0, 4096, false, trim);
      fixture.volume.zero(0, 4096, { fua: false, mayPunch: true, fast: false }, zero);
      expect(requests.map(({ answer }) => answer)).to.deep.equal(
        Array.from({ length: 5 }, () => 'shutting-down'),
      );
      expect(fixture.device.calls).to.deep.equal([]);
    });

    it('quiesce lets what is in flight end, and nothing in', () => {
      const { fixture, peer } = inSync();
      const write = fixture.write(0, 4096, 1);
      let idle = false;
      fixture.engine.quiesce(() => {
        idle = true;
      });
      expect(fixture.write(block, 4096, 2).answer).to.equal('shutting-down');
      expect(idle).to.equal(false);
      peer.answerAll();
      expect([idle, write.answer]).to.deep.equal([true, 'ok']);
    });

    it('abandon never acknowledges: what waits for peer, gate or disk is answered "shutting down"', () => {
      const { fixture, peer } = inSync();
      const atPeer = fixture.write(0, 4096, 1);
      fixture.device.holding = true;
      const atDisk = fixture.write(block, 4096, 2);
      lose(fixture, peer);
      const atGate = fixture.write(2 * block, 4096, 3);
      const flush = fixture.flush();
      let idle = false;
      fixture.engine.abandon();
      fixture.engine.whenIdle(() => {
        idle = true;
      });
      expect([atPeer, atGate, flush].map(({ answer }) => answer)).to.deep.equal(
        Array.from({ length: 3 }, () => 'shutting-down'),
      );
      expect([atDisk.answer, idle]).to.deep.equal(['none', false]);
      fixture.device.release();
      expect([atDisk.answer, idle]).to.deep.equal(['shutting-down', true]);
      expect(fixture.device.calls.filter(({ name }) => name === 'write')).to.have.length(2);
    });

    it('abandon answers overlapping writes that wait for each other', () => {
      const { fixture, peer } = inSync();
      lose(fixture, peer);
      const writes = [1, 2, 3, 4].map((value) => fixture.write(0, 4096, value));
      let idle = false;
      fixture.engine.abandon();
      fixture.engine.whenIdle(() => {
        idle = true;
      });
      expect(writes.map(({ answer }) => answer)).to.deep.equal(
        Array.from({ length: 4 }, () => 'shutting-down'),
      );
      expect(idle).to.equal(true);
    });

    it('a node that was abandoned in the middle of a flush can be primary again', () => {
      const { fixture, peer } = inSync();
      fixture.write(0, 4096, 1);
      peer.answerAll();
      fixture.flush();
      lose(fixture, peer);
      fixture.engine.abandon();
      expect(fixture.dirty, 'what was not settled').to.deep.equal([0]);
      const again = new ScriptedPeer();
      fixture.engine.hold();
      fixture.engine.resume(again.channel);
      const flush = fixture.flush();
      again.answerAll();
      expect(flush.answer).to.equal('ok');
    });

    it('no timer is left', () => {
      const { fixture, peer } = inSync();
      fixture.write(0, 4096, 1);
      peer.answerAll();
      fixture.engine.abandon();
      expect(fixture.clock.pendingCount).to.equal(0);
    });
  });

  it('however answers, losses and returns of the peer fall, acknowledged writes are on both or dirty', () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.tuple(fc.constant('write' as const), fc.nat({ max: 15 })) },
      { weight: 6, arbitrary: fc.tuple(fc.constant('answer' as const), fc.nat({ max: 50 })) },
      { weight: 2, arbitrary: fc.tuple(fc.constant('disk' as const), fc.constant(0)) },
      { weight: 2, arbitrary: fc.tuple(fc.constant('flush' as const), fc.constant(0)) },
      { weight: 1, arbitrary: fc.tuple(fc.constant('blip' as const), fc.constant(0)) },
      { weight: 1, arbitrary: fc.tuple(fc.constant('time' as const), fc.constant(0)) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const setUp = inSync();
        const { fixture } = setUp;
        let { peer } = setUp;
        fixture.device.holding = true;
        /** The peer's copy: it applies a request when it answers it, in the order of the answers. */
        const theirs = new Uint8Array(16);
        const answer = (request: ReturnType<ScriptedPeer['open']>[number]): void => {
          const { type, offsetBytes } = request.header;
          if (type === FrameType.write) theirs[offsetBytes / block] = request.payload[0] as number;
          peer.answer(request);
        };
        const guest: { at: number; value: number; request: GuestRequest }[] = [];
        let value = 0;
        for (const [kind, number] of steps) {
          if (kind === 'write') {
            value += 1;
            guest.push({ at: number, value, request: fixture.write(number * block, 4096, value) });
          } else if (kind === 'answer') {
            const open = peer.open();
            const request = open[number % Math.max(1, open.length)];
            if (request !== undefined) answer(request);
          } else if (kind === 'disk') fixture.device.releaseOne();
          else if (kind === 'flush') fixture.flush();
          else if (kind === 'time') fixture.clock.advance(settleIntervalMs);
          else {
            lose(fixture, peer);
            peer = new ScriptedPeer();
            fixture.engine.resume(peer.channel);
          }
        }
        lose(fixture, peer);
        fixture.engine.goAlone(() => {});
        while (fixture.device.heldCount > 0) fixture.device.release();
        for (const { request } of guest) expect(request.answer).to.equal('ok');
        const dirty = new Set(fixture.dirty);
        for (let at = 0; at < 16; at += 1) {
          const last = guest.findLast((each) => each.at === at)?.value ?? 0;
          expect(fixture.device.bytes[at * block], 'own copy').to.equal(last);
          if (!dirty.has(at)) expect(theirs[at], `the peer's copy of block ${at}`).to.equal(last);
        }
      }),
      { numRuns: 80 },
    );
  });
});
