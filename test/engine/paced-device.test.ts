/** What a disk may owe to its next flush, on a disk in memory and in virtual time. */
import { expect } from 'chai';
import { blockSizeBytes } from '../../src/disk/state.ts';
import {
  flushTargetMs,
  PacedDevice,
  unflushedBlocksMax,
  unflushedBlocksMin,
} from '../../src/engine/paced-device.ts';
import { VirtualClock } from '../base/virtual-clock.ts';
import { MemoryDevice } from '../nbd/memory-device.ts';
import { GuestRequest } from './engine-fixture.ts';

const writeBytes = 4096;

/** A disk that takes writes at once and keeps flushes until it is told. */
class SlowToFlush extends MemoryDevice {
  readonly flushes: GuestRequestLike[] = [];

  override flush(completion: GuestRequestLike): void {
    this.flushes.push(completion);
  }
}

type GuestRequestLike = Parameters<MemoryDevice['flush']>[0];

function fixture() {
  const clock = new VirtualClock();
  const device = new SlowToFlush(4 * unflushedBlocksMin * blockSizeBytes);
  let failures = 0;
  const paced = new PacedDevice(device, clock, () => {
    failures += 1;
  });
  const write = (block: number): GuestRequest => {
    const request = new GuestRequest();
    paced.write(block * blockSizeBytes, writeBytes, [new Uint8Array(writeBytes)], false, request);
    return request;
  };
  /** Writes one page in each of so many blocks. */
  const writeBlocks = (count: number, fromBlock = 0): GuestRequest[] =>
    Array.from({ length: count }, (_, index) => write(fromBlock + index));
  const answered = (requests: readonly GuestRequest[]): number =>
    requests.filter(({ answer }) => answer === 'ok').length;
  const endFlush = (tookMs: number, error?: 'io-error'): void => {
    clock.advance(tookMs);
    device.flushes.shift()?.done(error);
  };
  return { clock, device, paced, write, writeBlocks, answered, endFlush, failures: () => failures };
}

describe('paced device', () => {
  it('at the bound a flush begins, as much again goes on beside it, and the rest waits for its end', () => {
    const { device, writeBlocks, answered, endFlush, paced } = fixture();
    const requests = writeBlocks(unflushedBlocksMin);
    expect([answered(requests), device.flushes.length]).to.deep.equal([unflushedBlocksMin, 0]);
    requests.push(...writeBlocks(unflushedBlocksMin + 100, unflushedBlocksMin));
    expect([answered(requests), device.flushes.length]).to.deep.equal([2 * unflushedBlocksMin, 1]);
    endFlush(5 * flushTargetMs);
    expect([answered(requests), device.flushes.length]).to.deep.equal([requests.length, 1]);
    expect(paced.limitBlocks).to.equal(unflushedBlocksMin);
  });

  it('the same blocks written again and again are as much as once', () => {
    const { device, writeBlocks, answered } = fixture();
    for (let turn = 0; turn < 20; turn += 1)
      expect(answered(writeBlocks(unflushedBlocksMin - 1))).to.equal(unflushedBlocksMin - 1);
    expect(device.flushes).to.deep.equal([]);
  });

  it('the bound doubles while flushes of that much are fast, up to the greatest', () => {
    const { writeBlocks, endFlush, paced, device } = fixture();
    for (let bound = unflushedBlocksMin; paced.limitBlocks < 2 * unflushedBlocksMin; bound += 1) {
      writeBlocks(unflushedBlocksMin + 1);
      endFlush(flushTargetMs / 10);
      expect(bound).to.be.below(unflushedBlocksMin + 3);
    }
    expect(device.flushes.length).to.equal(0);
    for (let turn = 0; turn < 20; turn += 1) {
      paced.flush(new GuestRequest());
      endFlush(1);
    }
    expect(paced.limitBlocks, 'flushes of little say nothing').to.equal(2 * unflushedBlocksMin);
    expect(unflushedBlocksMax).to.be.above(unflushedBlocksMin);
  });

  it('the bound shrinks to what the disk would have written in time', () => {
    const { writeBlocks, endFlush, paced } = fixture();
    for (let turn = 0; turn < 2; turn += 1) {
      writeBlocks(paced.limitBlocks + 1);
      endFlush(1);
    }
    const grown = paced.limitBlocks;
    expect(grown).to.equal(4 * unflushedBlocksMin);
    writeBlocks(grown, 0);
    paced.flush(new GuestRequest());
    endFlush(2 * flushTargetMs);
    expect(paced.limitBlocks).to.equal(grown / 2);
  });

  it('flushes that are asked for beside one that runs cover what was written meanwhile, and are one', () => {
    const { clock, device, writeBlocks, paced } = fixture();
    const ended: number[] = [];
    const ask = (name: number): void => paced.flush({ done: () => ended.push(name) });
    writeBlocks(unflushedBlocksMin - 1);
    ask(1);
    writeBlocks(unflushedBlocksMin - 1);
    ask(2);
    ask(3);
    clock.advance(flushTargetMs / 10);
    device.flushes.shift()?.done(undefined);
    expect(paced.limitBlocks, 'after the first').to.equal(2 * unflushedBlocksMin);
    // Written while the second runs: its end says nothing of them, and neither do two answers.
    writeBlocks(2 * unflushedBlocksMin - 1);
    clock.advance(4 * flushTargetMs);
    for (const flush of device.flushes.splice(0)) flush.done(undefined);
    expect([ended, paced.limitBlocks]).to.deep.equal([[1, 2, 3], unflushedBlocksMin]);
  });

  it('a flush that fails lets go of what waited, and is told when nobody else had asked for it', () => {
    const { writeBlocks, answered, endFlush, failures, paced } = fixture();
    const requests = writeBlocks(2 * unflushedBlocksMin + 10);
    expect(answered(requests)).to.equal(2 * unflushedBlocksMin);
    endFlush(10, 'io-error');
    expect([answered(requests), failures()]).to.deep.equal([requests.length, 1]);
    endFlush(10);
    const asked = new GuestRequest();
    paced.flush(asked);
    endFlush(10, 'io-error');
    expect([asked.answer, failures()]).to.deep.equal(['io-error', 1]);
  });
});
