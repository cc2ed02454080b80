/** What `vmpair explain` says a handshake would decide, and what the handshake then decides, in a simulated world. */
import { expect } from 'chai';
import type { DryRun } from '../../src/cluster/dry-run.ts';
import type { SimulatedHost } from '../simulation/simulated-host.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

function dryRunOf(world: World, host: SimulatedHost): DryRun {
  let answer: DryRun | undefined;
  host.mirror?.peerFacts.dryRun((result) => (answer = result));
  world.expect('the dry run has a result', () => answer !== undefined, 2000);
  return answer as unknown as DryRun;
}

describe('the dry run of a handshake in a living pair', () => {
  it('in sync: both ask each other and agree that nothing would be examined after a blip', () =>
    story(301, (world) => {
      world.startPair();
      for (const host of world.hosts) {
        const result = dryRunOf(world, host);
        expect([result.peerFacts, result.rule, result.source]).to.deep.equal([
          'asked-now',
          'link-resumes',
          'A',
        ]);
        expect(result.examinedBytesMax).to.equal(0);
      }
      world.checkAtRest();
    }));

  it('the peer is away: the node that went on says that it would be the source, and it is', () =>
    story(302, (world) => {
      world.startPair();
      world.b.losePower();
      world.expect('A writes alone', () => world.a.mirror?.primary.soloAllowed === true, 5000);
      world.run(2000);
      const result = dryRunOf(world, world.a);
      expect([result.peerFacts, result.rule, result.scope, result.source]).to.deep.equal([
        'own-record',
        'newer-generation',
        'bits',
        'A',
      ]);
      world.b.boot();
      world.expect('the pair is in sync', () => world.inSync());
      expect(world.a.mirror?.pairing.verdict?.rule).to.equal('newer-generation');
      world.checkAtRest();
    }));

  it('a peer that does not answer in time is taken as this node recorded it', () =>
    story(303, (world) => {
      world.startPair();
      world.link.setCut(true, true);
      expect(dryRunOf(world, world.a)).to.include({ peerFacts: 'own-record', rule: 'guest-runs' });
    }));
});
