/** The dry run of a handshake: it says what the resync table says, how much would be examined, and how it knows. */
import { expect } from 'chai';
import { decideResync } from '../../src/cluster/decide-resync.ts';
import {
  dryRun,
  factsOfState,
  type KnownCopy,
  otherwise,
  peerAsRecorded,
} from '../../src/cluster/dry-run.ts';
import { PeerFacts } from '../../src/cluster/peer-facts.ts';
import type { CopyFacts } from '../../src/link/control-messages.ts';
import { id, sampleState } from '../disk/sample-state.ts';
import { VirtualClock } from '../base/virtual-clock.ts';
import { forEachPair } from './resync-universe.ts';

const gibibyte = 1024 ** 3;

function copy(node: string, facts: CopyFacts, coveredBytes?: number): KnownCopy {
  return { node, facts, origin: 'asked-now', coveredBytes };
}

const inSync = { ...sampleState, pending: undefined };
const alone = { ...inSync, path: [...inSync.path, id(20)], generation: 4, holder: 'A', base: id(12) };

describe('the dry run of a handshake', () => {
  it('of a peer that is away uses what it said last, until the copies were made a pair again', () => {
    const host = {
      state: alone,
      replicas: [],
      preferSelf: true,
      channel: undefined,
      factsAfterBlip: () => factsOfState(alone),
    };
    const peer = new PeerFacts(host, new VirtualClock());
    const origins: string[] = [];
    const look = (): void => peer.dryRun(({ peerFacts }) => origins.push(peerFacts));
    look();
    peer.observe(factsOfState({ ...inSync, self: 'B', peer: 'A' }));
    look();
    peer.forget();
    look();
    expect(origins).to.deep.equal(['own-record', 'last-heard', 'own-record']);
  });

  it('is the verdict of the table, whatever both sides say', () => {
    let seen = 0;
    forEachPair((mine, theirs) => {
      seen += 1;
      if (seen % 17 !== 0) return;
      const verdict = decideResync(mine, theirs, true);
      const result = dryRun(copy('A', mine, 0), copy('B', theirs, 0), true, gibibyte);
      const source = verdict.action === 'source' ? 'A' : verdict.action === 'target' ? 'B' : undefined;
      expect([result.action, result.rule, result.because, result.scope, result.source]).to.deep.equal([
        verdict.action,
        verdict.rule,
        verdict.because,
        verdict.scope,
        source,
      ]);
      expect(result.sentence).to.contain(verdict.rule).and.to.contain(verdict.because);
    });
  });

  it('counts what the bitmaps and logs of both cover, and everything for a full copy', () => {
    const mine = copy('A', { ...factsOfState(alone), alone: true }, 3 * 65_536);
    const peer = { ...inSync, self: 'B', peer: 'A', role: 'secondary' as const };
    const known = dryRun(mine, copy('B', factsOfState(peer), 65_536), true, gibibyte);
    expect([known.scope, known.examinedBytesMax]).to.deep.equal(['bits', 4 * 65_536]);
    const unknown = dryRun(mine, copy('B', factsOfState(peer)), true, gibibyte);
    expect(unknown.examinedBytesMax).to.equal(undefined);
    expect(unknown.sentence).to.contain('unknown amount');
    const fresh = {
      ...peer,
      path: [],
      generation: 0,
      holder: undefined,
      base: undefined,
      data: 'fresh' as const,
    };
    const full = dryRun(mine, copy('B', factsOfState(fresh), 0), true, gibibyte);
    expect([full.scope, full.examinedBytesMax]).to.deep.equal(['full', gibibyte]);
  });

  it('where nobody may be the source, nothing would be examined', () => {
    const other = { ...alone, self: 'B', peer: 'A', path: [...inSync.path, id(30)], holder: 'B' };
    const split = dryRun(
      copy('A', factsOfState(alone), 5),
      copy('B', factsOfState(other), 5),
      true,
      gibibyte,
    );
    expect([split.rule, split.source, split.examinedBytesMax]).to.deep.equal([
      'split-brain',
      undefined,
      undefined,
    ]);
    expect(split.sentence).to.contain('they refuse each other');
  });

  it('a peer that was never heard is taken as this node recorded it', () => {
    expect(peerAsRecorded(inSync)).to.include({ data: 'up-to-date', generation: 3, lastRole: 'secondary' });
    expect(peerAsRecorded(alone)).to.deep.include({ path: inSync.path, generation: 3, data: 'up-to-date' });
    expect(peerAsRecorded({ ...alone, peerData: 'outdated' }).data).to.equal('outdated');
    expect(peerAsRecorded({ ...alone, base: undefined })).to.include({ data: 'fresh', generation: 0 });
    const theirs = { ...copy('B', peerAsRecorded(alone)), origin: 'own-record' as const };
    const result = dryRun(copy('A', factsOfState(alone), 0), theirs, true, gibibyte);
    expect([result.rule, result.source]).to.deep.equal(['newer-generation', 'A']);
    expect(result.sentence).to.contain('was not heard by this process');
  });

  it('what two files cannot tell is said where it would change the verdict', () => {
    const mine = copy('A', factsOfState(inSync), 0);
    const theirs = copy('B', factsOfState({ ...inSync, self: 'B', peer: 'A', role: 'secondary' }), 0);
    expect(dryRun(mine, theirs, true, gibibyte).rule).to.equal('last-primary');
    const lines = otherwise(mine, theirs, true).join('\n');
    expect(lines).to.contain('the VM still runs on B: B is the source (guest-runs');
    expect(lines).to.contain('the host of A was rebooted: B is the source (not-rebooted');
    const ahead = copy('A', factsOfState(alone), 0);
    expect(otherwise(ahead, theirs, true)).to.deep.equal([]);
  });
});
