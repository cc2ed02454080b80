/** Two nodes that change their configuration: single stories, and every story of two operations with one fault. */
import { expect } from 'chai';
import { Endings } from './agreement-checks.ts';
import { explore, operations } from './agreement-explorer.ts';

describe('agreement on the configuration', () => {
  it('every two operations without a fault: both nodes end with one history', async () => {
    const endings = new Endings();
    for (const first of operations)
      for (const second of operations) await explore([first, second], 0, endings.check);
    expect(endings.same).to.be.above(60);
    // Each of the two was cut off while it went on alone.
    expect(endings.diverged).to.equal(2);
  }).timeout(30_000);

  it('every operation with one message lost or late, or one crash: nothing that was confirmed is lost, nothing refused is there', async () => {
    const endings = new Endings();
    for (const operation of operations) await explore([operation], 1, endings.check);
    expect(endings.same).to.be.above(100);
    expect(endings.diverged).to.equal(0);
  }).timeout(30_000);
});
