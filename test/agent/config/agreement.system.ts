/** The stories of three operations with one fault: half a minute of processor time, so not among the unit tests. */
import { expect } from 'chai';
import { Endings } from './agreement-checks.ts';
import { explore, type Operation, operations } from './agreement-explorer.ts';

/** The other node's stories are the same with the names exchanged. */
const firsts: readonly Operation[] = operations.filter((operation) => !operation.startsWith('B'));

/** What shows best what the operations before have left: a change on each node, with the other one and without it. */
const lasts: readonly Operation[] = operations.filter((operation) => / changes$| cut off/.test(operation));

describe('agreement on the configuration, at length', () => {
  it('every three operations with one message lost or late, or one crash: one history, unless both went on alone', async () => {
    const endings = new Endings();
    for (const first of firsts)
      for (const second of operations)
        for (const third of lasts) await explore([first, second, third], 1, endings.check);
    expect(endings.same).to.be.above(30_000);
    expect(endings.diverged).to.be.above(300);
  }).timeout(600_000);
});
