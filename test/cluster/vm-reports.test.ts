/** What the nodes of a pair tell each other of the VM. */
import { expect } from 'chai';
import { VmReports } from '../../src/cluster/vm-reports.ts';
import type { PeerChannel } from '../../src/engine/peer-channel.ts';
import type { ControlMessage } from '../../src/link/control-messages.ts';
import { linkProtocolVersions } from '../../src/link/frames.ts';

describe('reports of the VM to the peer', () => {
  let sent: ControlMessage[];
  let reports: VmReports;
  beforeEach(() => {
    sent = [];
    const channel = { control: (message: ControlMessage) => sent.push(message) } as unknown as PeerChannel;
    reports = new VmReports(() => channel);
  });

  it('are sent when the peer has said that it understands them, and again with each change', () => {
    reports.say({ runs: false });
    expect(sent).to.deep.equal([]);
    reports.peerSpeaks(linkProtocolVersions);
    reports.peerSpeaks(linkProtocolVersions);
    reports.say({ runs: false });
    reports.say({ runs: true, start: 'a' });
    expect(sent).to.deep.equal([
      { type: 'vm-report', runs: false },
      { type: 'vm-report', runs: true, start: 'a' },
    ]);
  });

  it('are not sent to an older peer, which would end the connection', () => {
    reports.peerSpeaks([1]);
    reports.say({ runs: true });
    expect(sent).to.deep.equal([]);
  });

  it('count as long as the connection, and are told anew on the next one', () => {
    reports.say({ runs: true });
    reports.peerSpeaks(linkProtocolVersions);
    reports.observe({ type: 'vm-report', runs: true });
    reports.forget();
    expect(reports.peer).to.equal(undefined);
    reports.peerSpeaks(linkProtocolVersions);
    expect(sent).to.have.length(2);
  });
});
