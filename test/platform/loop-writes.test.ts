import { expect } from 'chai';
import {
  dirtyRoomOf,
  LoopWrites,
  loopWriteBytesMax,
  readingAgeMs,
  restMaxMs,
  restMinMs,
  slowFlushMs,
  slowPoolWriteMs,
  slowWriteMs,
} from '../../src/platform/loop-writes.ts';

const mebibyte = 2 ** 20;

describe('writes in the event loop', () => {
  let nowMs: number;
  let roomBytes: number | undefined;
  let readings: number;
  let loopWrites: LoopWrites;

  beforeEach(() => {
    nowMs = 0;
    roomBytes = 1024 * mebibyte;
    readings = 0;
    const dirtyRoomBytes = () => {
      readings += 1;
      return roomBytes;
    };
    loopWrites = new LoopWrites({ nowMs: () => nowMs, dirtyRoomBytes });
  });

  it('are admitted while every sign is good, up to a length', () => {
    expect(loopWrites.admits(4096)).to.equal(true);
    expect(loopWrites.wroteInLoop(slowWriteMs)).to.equal(false);
    expect(loopWrites.admits(loopWriteBytesMax)).to.equal(true);
    expect(loopWrites.admits(loopWriteBytesMax + 1)).to.equal(false);
  });

  it('rest after a slow one', () => {
    expect(loopWrites.wroteInLoop(slowWriteMs + 1)).to.equal(true);
    nowMs = restMinMs - 1;
    expect(loopWrites.admits(4096)).to.equal(false);
    nowMs = restMinMs;
    expect(loopWrites.admits(4096)).to.equal(true);
  });

  it('rest twice as long when the next attempt is as slow, up to a limit, and shortly again after a good time', () => {
    const restOf = (): number => {
      loopWrites.wroteInLoop(slowWriteMs + 1);
      const startMs = nowMs;
      while (!loopWrites.admits(1)) nowMs += restMinMs;
      return nowMs - startMs;
    };
    const rests = Array.from({ length: 8 }, restOf);
    expect(rests.slice(0, 4)).to.deep.equal([1, 2, 4, 8].map((times) => times * restMinMs));
    expect(rests.at(-1)).to.equal(restMaxMs);
    nowMs += 5 * restMaxMs;
    expect(restOf()).to.equal(restMinMs);
  });

  it('rest while writes on the pool take very long, and not because many wait there', () => {
    loopWrites.wroteOnPool(slowPoolWriteMs);
    expect(loopWrites.admits(4096)).to.equal(true);
    loopWrites.wroteOnPool(slowPoolWriteMs + 1);
    expect(loopWrites.admits(4096)).to.equal(false);
  });

  it('rest while a flush takes long: the disk may hang', () => {
    loopWrites.flushStarted();
    nowMs = slowFlushMs;
    expect(loopWrites.admits(4096)).to.equal(true);
    nowMs += 1;
    expect(loopWrites.admits(4096)).to.equal(false);
    loopWrites.flushEnded();
    expect(loopWrites.admits(4096)).to.equal(true);
  });

  it('use a quarter of the room for dirty pages between two readings', () => {
    roomBytes = 4 * mebibyte;
    for (let turn = 0; turn < 4; turn += 1) expect(loopWrites.admits(mebibyte / 4)).to.equal(true);
    expect(loopWrites.admits(1)).to.equal(false);
    expect(readings).to.equal(1);
    nowMs = readingAgeMs + 1;
    expect(loopWrites.admits(mebibyte)).to.equal(true);
    expect(readings).to.equal(2);
  });

  it('rest where the room for dirty pages is used up or not known', () => {
    roomBytes = 0;
    expect(loopWrites.admits(1)).to.equal(false);
    nowMs = readingAgeMs + 1;
    roomBytes = undefined;
    expect(loopWrites.admits(1)).to.equal(false);
  });
});

describe('room for dirty pages', () => {
  const vmstat = (dirty: number, writeback: number): string =>
    `nr_free_pages 9\nnr_dirty ${dirty}\nnr_writeback ${writeback}\nnr_dirtied 7\nnr_dirty_threshold 3000\nnr_dirty_background_threshold 1000\n`;

  it('reaches to the middle between the two thresholds', () => {
    expect(dirtyRoomOf(vmstat(100, 50), 4096)).to.equal((2000 - 150) * 4096);
    expect(dirtyRoomOf(vmstat(2500, 0), 4096)).to.equal(0);
  });

  it('is not known where the text does not tell', () => {
    expect(dirtyRoomOf('nr_dirty 5\n', 4096)).to.equal(undefined);
    expect(dirtyRoomOf('', 4096)).to.equal(undefined);
  });
});
