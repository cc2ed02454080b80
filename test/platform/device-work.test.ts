import { statSync } from 'node:fs';
import { expect } from 'chai';
import { deviceNumbers, deviceWork, parseDeviceWork } from '../../src/platform/device-work.ts';

describe('work of a device', () => {
  it('is what it completed, of each kind, also where a kernel counts fewer kinds', () => {
    const line =
      '  341401 30610 1234 78 35092685 499673 2385 90 0 16 9197 654205 149 892 279 648880 124743\n';
    expect(parseDeviceWork(line)).to.deep.equal({ reads: 341_401, changes: 35_092_685 + 654_205 + 648_880 });
    expect(parseDeviceWork('1 2 3 4 5 6 7 8 9 10 11')).to.deep.equal({ reads: 1, changes: 5 });
    for (const text of ['', 'a text', '1 2 3 4 five']) expect(parseDeviceWork(text)).to.equal(undefined);
  });

  it('device numbers are taken apart as the C library does it', () => {
    expect(deviceNumbers(0xfe_00)).to.equal('254:0');
    expect(deviceNumbers(27)).to.equal('0:27');
    expect(deviceNumbers(66_319)).to.equal('259:15');
    expect(deviceNumbers(0x12_3a_bc_de)).to.equal(`${0xabc}:${0x123de}`);
  });

  it('a file system without a device has none', () => {
    expect(deviceWork(statSync('/proc').dev)()).to.equal(undefined);
  });
});
