/** The options of `vmpair prim` that go together, and those that do not. What they do is tested with the module. */
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { primArguments } from '../../src/cli/module-commands.ts';

const refused = (options: Parameters<typeof primArguments>[0]): string => {
  try {
    primArguments(options);
    return 'accepted';
  } catch (error) {
    return error instanceof WorldError ? error.code : String(error);
  }
};

describe('options of prim', () => {
  it('become the arguments of the verb', () => {
    expect(primArguments({})).to.deep.equal({});
    expect(primArguments({ peerIsOff: 'B' })).to.deep.equal({ peerIsOff: 'B' });
    expect(primArguments({ acceptOutdated: true, loseSince: 'T', peerIsOff: 'B' })).to.deep.equal({
      force: 'outdated',
      loseSince: 'T',
      peerIsOff: 'B',
    });
    expect(primArguments({ withoutArbiter: true, peerIsOff: 'B' })).to.deep.equal({
      force: 'without-arbiter',
      peerIsOff: 'B',
    });
  });

  it('that do not go together are a wrong command line', () => {
    expect(refused({ acceptOutdated: true, fromKeptImage: true })).to.equal('usage-wrong');
    expect(refused({ loseSince: 'T' })).to.equal('usage-wrong');
    expect(refused({ withoutArbiter: true, loseSince: 'T' })).to.equal('usage-wrong');
  });
});
