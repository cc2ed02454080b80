/** Flags of the bench: a selection for a quick look, and a sentence for what cannot be. */
import { expect } from 'chai';
import { parseOptions, partNames } from '../../bench/options.ts';

describe('flags of the bench', () => {
  it('without flags everything is measured, but no other build', () => {
    const options = parseOptions([]);
    expect(options.parts).to.deep.equal(partNames);
    expect(options.systems).to.deep.equal(['vmpair', 'clear', 'mirror', 'qemu-nbd']);
    expect([options.rounds, options.seconds, options.idleSeconds]).to.deep.equal([3, 4, 60]);
    expect([options.write, options.json]).to.deep.equal([false, false]);
  });

  it('a selection keeps the order of the bench', () => {
    const args = ['--only', 'writes', '--systems', 'qemu-nbd,vmpair,baseline', '--baseline', '../other'];
    const options = parseOptions([...args, '--workload', 'randread-qd16,randwrite-qd1', '--rounds', '1']);
    expect(options.systems).to.deep.equal(['vmpair', 'baseline', 'qemu-nbd']);
    expect(options.workloads).to.deep.equal(['randwrite-qd1', 'randread-qd16']);
  });

  it('unknown names, numbers out of range and half a page are refused with what was wanted', () => {
    expect(() => parseOptions(['--only', 'wirtes'])).to.throw(/wanted --only of writes.*found "wirtes"/);
    expect(() => parseOptions(['--rounds', '0'])).to.throw(/1 to 100 for --rounds, found "0"/);
    expect(() => parseOptions(['--seconds', 'x'])).to.throw(/--seconds, found "x"/);
    expect(() => parseOptions(['--write', '--only', 'writes'])).to.throw(/whole run for --write/);
    expect(() => parseOptions(['--write', '--encryption', 'off'])).to.throw(/whole run for --write/);
    expect(() => parseOptions(['--fast'])).to.throw(/--fast/);
  });
});
