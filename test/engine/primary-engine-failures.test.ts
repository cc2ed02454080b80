/** The write path when the own disk fails, and when everything in flight must be given up. */
import { expect } from 'chai';
import { blockSizeBytes } from '../../src/disk/state.ts';
import { EngineFixture, GuestRequest } from './engine-fixture.ts';
import { ScriptedPeer } from './scripted-peer.ts';

const block = blockSizeBytes;
function inSync(): { fixture: EngineFixture; peer: ScriptedPeer } {
  const fixture = new EngineFixture();
  const peer = new ScriptedPeer();
  fixture.engine.replicate(peer.channel, false);
  peer.answerAll();
  return { fixture, peer };
}
describe('primary engine, failures', () => {
  it('abandon answers every one of several overlapping writes, and becomes idle', () => {
    const { fixture, peer } = inSync();
    peer.channel.close();
    fixture.engine.channelLost();
    const writes = [1, 2, 3].map((value) => fixture.write(0, 4096, value));
    let idle = false;
    fixture.engine.abandon();
    fixture.engine.whenIdle(() => {
      idle = true;
    });
    expect(writes.map(({ answer }) => answer)).to.deep.equal([
      'shutting-down',
      'shutting-down',
      'shutting-down',
    ]);
    expect(idle).to.equal(true);
  });
  for (const kind of ['write', 'held', 'flush'] as const)
    it(`after a disk error (${kind}), abandon becomes idle`, () => {
      const { fixture, peer } = inSync();
      fixture.device.failures.push('io-error');
      if (kind === 'flush') fixture.flush();
      else fixture.write(0, 4096, 1);
      if (kind === 'held') fixture.write(0, 4096, 1);
      if (kind !== 'flush') fixture.write(block, 4096, 1);
      peer.answerAll();
      let idle = false;
      fixture.engine.abandon();
      fixture.engine.whenIdle(() => {
        idle = true;
      });
      expect(idle).to.equal(true);
    });
  it('a node that was abandoned in the middle of a flush can be primary again', () => {
    const { fixture, peer } = inSync();
    fixture.write(0, 4096, 1);
    peer.answerAll();
    fixture.flush();
    peer.channel.close();
    fixture.engine.channelLost();
    fixture.engine.abandon();
    const again = new ScriptedPeer();
    fixture.engine.hold();
    fixture.engine.resume(again.channel);
    const flush = fixture.flush();
    again.answerAll();
    expect(flush.answer).to.equal('ok');
  });
  for (const kind of ['write', 'flush'] as const)
    it(`a ${kind} that the own disk ends after the peer was lost is not acknowledged before the node may go on`, () => {
      for (const goesOn of ['alone', 'with the peer'] as const) {
        const { fixture, peer } = inSync();
        fixture.device.holding = true;
        const request = kind === 'write' ? fixture.write(0, 4096, 1) : fixture.flush();
        peer.answerAll();
        peer.channel.close();
        fixture.engine.channelLost();
        fixture.device.release();
        expect(request.answer).to.equal('none');
        const again = new ScriptedPeer();
        if (goesOn === 'alone') fixture.engine.goAlone(() => {});
        else fixture.engine.resume(again.channel);
        again.answerAll();
        expect(request.answer).to.equal('ok');
      }
    });
  it('a failed write is never answered, also when the peer answers later', () => {
    const { fixture, peer } = inSync();
    fixture.device.failures.push('io-error');
    const write = fixture.write(0, 4096, 1);
    peer.answerAll();
    expect(write.answer).to.equal('none');
  });
  it('a failed fdatasync is never acknowledged, also when the peer answers later', () => {
    const { fixture, peer } = inSync();
    fixture.device.failures.push('io-error');
    const flush = fixture.flush();
    peer.answerAll();
    expect(flush.answer).to.equal('none');
  });
  it('a failed fdatasync is not acknowledged alone after the peer is lost', () => {
    const { fixture, peer } = inSync();
    peer.channel.close();
    fixture.engine.channelLost();
    fixture.engine.hold();
    fixture.engine.goAlone(() => {});
    fixture.device.failures.push('io-error');
    const flush = fixture.flush();
    const next = new GuestRequest();
    fixture.volume.flush(next);
    expect([flush.answer, next.answer]).to.deep.equal(['none', 'none']);
  });
});
