import { expect } from 'chai';
import fc from 'fast-check';
import { lastAcknowledged, parseGuestReport, parseGuestReports } from '../../hypervisors/guest-report.ts';

describe('guest report', () => {
  it('is found between the words of a kernel, and a line without its end is left out', () => {
    const log =
      '1.50 BOOT\r\n[    1.6] random: crng init done\r\n1.90 VERIFY OK last=7 records=7 tail=0\r\n2.01 ACK 8\r\n2.05 ACK 9';
    const reports = parseGuestReports(log);
    expect(reports).to.deep.equal([
      { atMs: 1500, type: 'boot' },
      { atMs: 1900, type: 'verified', last: 7, records: 7, tailBytes: 0 },
      { atMs: 2010, type: 'acknowledged', record: 8 },
    ]);
    expect(lastAcknowledged(reports)).to.equal(8);
  });

  it('tells why a verification failed', () => {
    expect(parseGuestReport('3.00 VERIFY FAIL checksum at record 4')).to.deep.equal({
      atMs: 3000,
      type: 'verify-failed',
      because: 'checksum at record 4',
    });
  });

  it('foreign lines never throw', () => {
    fc.assert(
      fc.property(fc.string(), fc.constantFrom('ACK', 'VERIFY', 'IOERR', 'X'), (text, word) => {
        parseGuestReports(`${text}\n1.00 ${word} ${text}\n`);
      }),
    );
  });
});
