import { expect } from 'chai';
import { withVmName } from '../../src/base/hint.ts';

describe('a hint', () => {
  it('names the VM in each of its commands, and nothing else', () => {
    expect(
      withVmName('its VM waits; run `vmpair prim VM` or `vmpair prim VM --accept-outdated`', 'web1'),
    ).to.equal('its VM waits; run `vmpair prim web1` or `vmpair prim web1 --accept-outdated`');
    expect(withVmName('`vmpair arbiter recreate VM`', 'web1')).to.equal('`vmpair arbiter recreate web1`');
    expect(withVmName('`vmpair supervisor list`, the VM', 'web1')).to.equal(
      '`vmpair supervisor list`, the VM',
    );
  });
});
