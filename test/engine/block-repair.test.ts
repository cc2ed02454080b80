/** What the own disk had no room for is made equal on both copies, block by block. */
import { expect } from 'chai';
import { blockSizeBytes, extentSizeBytes, hotExtentsMax } from '../../src/disk/state.ts';
import { BlockRepair, passIntervalMs } from '../../src/engine/block-repair.ts';
import { settleIntervalMs } from '../../src/engine/primary-engine.ts';
import { FrameType } from '../../src/link/frames.ts';
import { EngineFixture } from './engine-fixture.ts';
import { ScriptedPeer } from './scripted-peer.ts';

function withoutRoom() {
  const fixture = new EngineFixture();
  const peer = new ScriptedPeer();
  fixture.engine.replicate(peer.channel, false);
  const failed: string[] = [];
  const repair = new BlockRepair(fixture.engine, fixture.clock, {
    diskFailed: (volume, during) => failed.push(`${volume}: ${during}`),
  });
  fixture.write(3 * blockSizeBytes, 4096, 1);
  peer.answerAll();
  fixture.device.failures.push('no-space');
  const refused = fixture.write(3 * blockSizeBytes, 4096, 2);
  peer.answerAll();
  expect([refused.answer, fixture.dirty]).to.deep.equal(['no-space', [3]]);
  peer.requests.length = 0;
  return { fixture, peer, repair, failed };
}

describe('block repair', () => {
  it('the peer gets what the own disk holds; only when both are flushed the extent may leave the activity log', () => {
    const { fixture, peer, repair } = withoutRoom();
    repair.consider(peer.channel);
    const [sent] = peer.open(FrameType.write);
    expect([sent?.header.offsetBytes, sent?.payload.length]).to.deep.equal([
      3 * blockSizeBytes,
      blockSizeBytes,
    ]);
    expect([sent?.payload[0], fixture.dirty]).to.deep.equal([1, [3]]);
    peer.answer(sent);
    expect([fixture.dirty, fixture.replica.unstableFlushing.has(3)]).to.deep.equal([[], true]);
    expect(peer.open(FrameType.flush).length).to.equal(1);
    expect(fixture.metadata.bitmapWrites).to.equal(0);
    peer.answerAll();
    expect([fixture.metadata.bitmapWrites, fixture.replica.unstable.count]).to.deep.equal([1, 0]);
    expect([repair.repairedBlocks, fixture.replica.locks.count]).to.deep.equal([1, 0]);
  });

  it('a guest write to the block waits until the block is repaired', () => {
    const { fixture, peer, repair } = withoutRoom();
    repair.consider(peer.channel);
    const write = fixture.write(3 * blockSizeBytes, 4096, 5);
    expect(peer.open(FrameType.write).length).to.equal(1);
    peer.answerAll();
    expect(write.answer).to.equal('ok');
  });

  it('nothing is dirty, or the last pass was a moment ago: nothing is sent', () => {
    const { fixture, peer, repair } = withoutRoom();
    repair.consider(peer.channel);
    peer.answerAll();
    peer.requests.length = 0;
    repair.consider(peer.channel);
    fixture.replica.bitmap.setBlock(9);
    repair.consider(peer.channel);
    expect(peer.requests.length).to.equal(0);
    fixture.clock.advance(passIntervalMs);
    repair.consider(peer.channel);
    expect(peer.open(FrameType.write).map(({ header }) => header.offsetBytes)).to.deep.equal([
      9 * blockSizeBytes,
    ]);
  });

  it('the link is lost in the middle: the range is free again and the block stays dirty', () => {
    const { fixture, peer, repair } = withoutRoom();
    repair.consider(peer.channel);
    peer.channel.close();
    repair.stop();
    expect([fixture.dirty, fixture.replica.locks.count]).to.deep.equal([[3], 0]);
    fixture.clock.advance(passIntervalMs);
    const again = new ScriptedPeer();
    repair.consider(again.channel);
    expect(again.open(FrameType.write).length).to.equal(1);
  });

  it('it is stopped while it reads: nothing is sent over a range that is free again', () => {
    const { fixture, peer, repair } = withoutRoom();
    fixture.device.holding = true;
    repair.consider(peer.channel);
    const write = fixture.write(3 * blockSizeBytes, 4096, 5);
    repair.stop();
    fixture.device.release();
    expect(peer.open(FrameType.write).map(({ payload }) => payload[0])).to.deep.equal([5]);
    peer.answerAll();
    expect(write.answer).to.equal('ok');
  });

  it('the own disk cannot be read: that is a failure of the disk', () => {
    const { fixture, peer, repair, failed } = withoutRoom();
    fixture.device.failures.push('io-error');
    repair.consider(peer.channel);
    expect(failed).to.deep.equal(['disk0: reading for a repair']);
    expect(fixture.replica.locks.count).to.equal(0);
  });

  it('a resync has made the blocks equal: their extents may leave the activity log as well', () => {
    const { fixture, peer, repair } = withoutRoom();
    fixture.replica.bitmap.clearAll();
    expect(fixture.replica.log.hasPinned).to.equal(true);
    repair.consider(peer.channel);
    peer.answerAll();
    expect(fixture.replica.log.hasPinned).to.equal(false);
  });

  it('alone there was no room in more extents than the activity log holds: writes go on when there is', () => {
    const fixture = new EngineFixture((hotExtentsMax + 1) * extentSizeBytes);
    fixture.engine.hold();
    fixture.engine.goAlone(() => {});
    for (let extent = 0; extent < hotExtentsMax; extent += 1) {
      fixture.device.failures.push('no-space');
      expect(fixture.write(extent * extentSizeBytes, 4096, 1).answer).to.equal('no-space');
    }
    fixture.metadata.holding = true;
    const write = fixture.write(hotExtentsMax * extentSizeBytes, 4096, 1);
    fixture.clock.advance(settleIntervalMs);
    expect([write.answer, fixture.replica.log.hasPinned]).to.deep.equal(['none', true]);
    fixture.metadata.release();
    expect(write.answer).to.equal('ok');
  });
});
