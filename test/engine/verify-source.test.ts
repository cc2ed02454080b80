/** One chunk of a verify, step by step: what is durable and locked when. When to begin and to yield is not verified here. */
import { expect } from 'chai';
import fc from 'fast-check';
import { blockSizeBytes } from '../../src/disk/state.ts';
import { BlockRepair } from '../../src/engine/block-repair.ts';
import { type ByteRange, differingRanges, VerifySource } from '../../src/engine/verify-source.ts';
import { FrameType } from '../../src/link/frames.ts';
import { EngineFixture } from './engine-fixture.ts';
import { ScriptedPeer } from './scripted-peer.ts';

const block = blockSizeBytes;
/** The first byte of a block stands for its content. */
const firstByte = {
  digestBytes: 1,
  digest(chunks: readonly Uint8Array[], target: Uint8Array, targetOffset: number): void {
    target[targetOffset] = chunks[0]?.[0] ?? 0;
  },
};

class Bench {
  readonly fixture = new EngineFixture(4 * block);
  readonly peer = new ScriptedPeer();
  readonly seen: string[] = [];
  readonly source: VerifySource;

  constructor() {
    const { engine, replica } = this.fixture;
    engine.replicate(this.peer.channel, false);
    this.peer.answerAll();
    const text = (ranges: readonly ByteRange[]): string =>
      ranges.map(({ offsetBytes, lengthBytes }) => `${offsetBytes / block}+${lengthBytes / block}`).join(' ');
    this.source = new VerifySource(
      replica,
      {
        channel: this.peer.channel,
        checksum: firstByte,
        flushBoth: (done) => engine.flushAll(done),
        wasDifferent: () => this.seen.some((line) => line.startsWith('differ')),
      },
      {
        differ: (ranges) => this.seen.push(`differ ${text(ranges)}`),
        examined: (range) => this.seen.push(`examined ${text([range])}`),
        diskFailed: (volume, during) => this.seen.push(`${volume} failed: ${during}`),
      },
    );
  }

  answerChecksums(...digests: number[]): void {
    this.peer.answerChecksums(this.peer.open(FrameType.checksumRequest)[0], new Uint8Array(digests));
  }
}

describe('a chunk of a verify', () => {
  it('that is equal costs no metadata and no write', () => {
    const bench = new Bench();
    bench.source.examine(0);
    bench.answerChecksums(0, 0, 0, 0);
    expect(bench.seen).to.deep.equal(['examined 0+4']);
    expect(bench.fixture.metadata.bitmapWrites).to.equal(0);
    expect(bench.fixture.replica.locks.count).to.equal(0);
  });

  it('that differs: dirty on disk, then copied, then flushed on both, then clean, and only then done', () => {
    const bench = new Bench();
    const { fixture, peer, seen, source } = bench;
    fixture.metadata.holding = true;
    source.examine(0);
    bench.answerChecksums(0, 9, 9, 0);
    expect(fixture.dirty).to.deep.equal([1, 2]);
    expect([seen, peer.open()]).to.deep.equal([[], []]);
    fixture.metadata.release();
    expect(seen).to.deep.equal(['differ 1+2']);
    expect(fixture.metadata.dirtyBlocks).to.deep.equal([1, 2]);
    const [write] = peer.open(FrameType.resyncWrite);
    expect([write?.header.offsetBytes, write?.header.lengthBytes]).to.deep.equal([block, 2 * block]);
    fixture.device.holding = true;
    peer.answer(write);
    peer.answer(peer.open(FrameType.flush)[0]);
    expect(fixture.dirty).to.deep.equal([1, 2]);
    fixture.device.release();
    expect([fixture.dirty, fixture.metadata.dirtyBlocks]).to.deep.equal([[], []]);
    expect(seen).to.deep.equal(['differ 1+2', 'examined 0+4']);
  });

  it('that differs while another block was repaired and is not flushed yet: that block stays dirty on disk', () => {
    const bench = new Bench();
    const { fixture, peer, source } = bench;
    const { clock, engine, metadata, replica } = fixture;
    // An interrupted verify left it: no extent of the activity log covers it.
    replica.bitmap.setBlock(3);
    replica.writeBitmap(() => {});
    const repair = new BlockRepair(engine, clock, { diskFailed: () => {} });
    repair.consider(peer.channel);
    peer.answer(peer.open(FrameType.write)[0]);
    expect([fixture.dirty, peer.open(FrameType.flush).length]).to.deep.equal([[], 1]);
    source.examine(0);
    bench.answerChecksums(0, 9, 0, 0);
    expect(metadata.dirtyBlocks).to.deep.equal([1, 3]);
    peer.answerAll();
    expect([bench.seen, metadata.dirtyBlocks]).to.deep.equal([['differ 1+1', 'examined 0+4'], []]);
  });

  it('whose repair was interrupted and looks equal now: done only when both are flushed', () => {
    const bench = new Bench();
    const { fixture, peer, seen, source } = bench;
    source.examine(0);
    bench.answerChecksums(0, 9, 0, 0);
    peer.answer(peer.open(FrameType.resyncWrite)[0]);
    source.stop();
    peer.answerAll();
    source.examine(0);
    fixture.device.holding = true;
    bench.answerChecksums(0, 0, 0, 0);
    fixture.device.release();
    expect(seen, 'before the peer has flushed').to.deep.equal(['differ 1+1']);
    peer.answerAll();
    expect(seen).to.deep.equal(['differ 1+1', 'examined 0+4']);
  });

  it('waits for guest writes in its range, and those that come later wait for it', () => {
    const { fixture, peer, source } = new Bench();
    const before = fixture.write(0, 4096, 1);
    source.examine(0);
    expect(peer.open(FrameType.checksumRequest)).to.deep.equal([]);
    peer.answer(peer.open(FrameType.write)[0]);
    expect(before.answer).to.equal('ok');
    const later = fixture.write(4096, 4096, 2);
    expect(peer.open(FrameType.write)).to.deep.equal([]);
    peer.answerChecksums(peer.open(FrameType.checksumRequest)[0], new Uint8Array([1, 0, 0, 0]));
    peer.answer(peer.open(FrameType.write)[0]);
    expect(later.answer).to.equal('ok');
  });

  it('that is stopped at any step lets its range go, does nothing more, and leaves what differs dirty', () => {
    for (const steps of [0, 1, 2, 3]) {
      const bench = new Bench();
      const { fixture, peer, source } = bench;
      source.examine(0);
      if (steps > 0) bench.answerChecksums(0, 9, 0, 0);
      if (steps > 1) peer.answer(peer.open(FrameType.resyncWrite)[0]);
      const flushes = peer.open(FrameType.flush);
      source.stop();
      expect(fixture.replica.locks.count, `${steps} steps`).to.equal(0);
      if (steps > 2) for (const flush of flushes) peer.answer(flush);
      for (const request of peer.open())
        if (request.header.type === FrameType.checksumRequest)
          peer.answerChecksums(request, new Uint8Array([0, 9, 0, 0]));
        else peer.answer(request);
      expect(fixture.dirty, `${steps} steps`).to.deep.equal(steps === 0 ? [] : [1]);
      expect(fixture.metadata.dirtyBlocks).to.deep.equal(steps === 0 ? [] : [1]);
      expect(bench.seen.some((line) => line.startsWith('examined'))).to.equal(false);
    }
  });

  it('that cannot be read here is a disk failure, not a difference', () => {
    const bench = new Bench();
    bench.fixture.device.failures.push('io-error');
    bench.source.examine(0);
    expect(bench.seen).to.deep.equal(['disk0 failed: reading for a verify']);
    expect(bench.fixture.dirty).to.deep.equal([]);
  });
});

describe('ranges that differ', () => {
  it('cover exactly the blocks whose digests differ, as long runs, up to the end of a short last block', () => {
    const digests = fc.array(fc.tuple(fc.nat(1), fc.nat(1)), { minLength: 1, maxLength: 16 });
    fc.assert(
      fc.property(digests, fc.nat({ max: 100 }), fc.integer({ min: 1, max: block }), (pairs, first, tail) => {
        const lengthBytes = (pairs.length - 1) * block + tail;
        const mine = new Uint8Array(pairs.map(([value]) => value));
        const theirs = new Uint8Array(pairs.map(([, value]) => value));
        const start = first * block;
        const ranges = differingRanges(mine, theirs, 1, { offsetBytes: start, lengthBytes });
        const covered = pairs.map(() => false);
        let end = -1;
        for (const range of ranges) {
          expect(range.offsetBytes).to.be.above(end);
          end = range.offsetBytes + range.lengthBytes;
          for (let at = range.offsetBytes; at < end; at += block) covered[(at - start) / block] = true;
        }
        expect(end).to.be.at.most(start + lengthBytes);
        expect(covered).to.deep.equal(pairs.map(([left, right]) => left !== right));
      }),
    );
  });
});
