import { expect } from 'chai';
import fc from 'fast-check';
import type { GuestDisk } from '../../../hypervisors/simulated/guest-disk.ts';
import {
  decideJournalVerdict,
  encodeJournalRecord,
  type JournalBlock,
  journalBlockIndex,
  journalRecordBytes,
  parseJournalBlock,
} from '../../../hypervisors/simulated/journal.ts';
import { JournalGuest } from '../../../hypervisors/simulated/journal-guest.ts';
import { systemClock } from '../../../src/platform/system-clock.ts';
import { until } from '../../until.ts';

/** The ring after records 1 to `last` were written. */
function ringAfter(last: number, blockCount: number): JournalBlock[] {
  const ring: JournalBlock[] = Array.from({ length: blockCount }, () => 'empty');
  for (let number = 1; number <= last; number += 1) ring[journalBlockIndex(number, blockCount)] = number;
  return ring;
}

class MemoryDisk implements GuestDisk {
  readonly data: Uint8Array;
  readonly sizeBytes: number;
  failing = false;

  constructor(data: Uint8Array) {
    this.data = data;
    this.sizeBytes = data.length;
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return this.data.slice(offsetBytes, offsetBytes + lengthBytes);
  }

  async write(offsetBytes: number, data: Uint8Array): Promise<void> {
    if (this.failing) throw new Error('disk fails');
    this.data.set(data, offsetBytes);
  }

  async flush(): Promise<void> {}

  close(): void {}
}

describe('journal of the simulated guest', () => {
  it('a record comes back as its number, and any changed byte damages it', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
        fc.nat(journalRecordBytes - 1),
        fc.integer({ min: 1, max: 255 }),
        (number, offset, change) => {
          const record = encodeJournalRecord(number);
          expect(parseJournalBlock(record)).to.equal(number);
          record[offset] = (record[offset] ?? 0) ^ change;
          expect(parseJournalBlock(record)).to.equal('damaged');
        },
      ),
    );
    expect(parseJournalBlock(new Uint8Array(journalRecordBytes))).to.equal('empty');
  });

  it('whatever was written before a crash is in order, also with the next record torn', () => {
    for (let last = 0; last <= 12; last += 1) {
      const ring = ringAfter(last, 5);
      expect(decideJournalVerdict(ring)).to.deep.equal({
        ok: true,
        last,
        records: Math.min(last, 5),
        tailBytes: 0,
      });
      ring[journalBlockIndex(last + 1, 5)] = 'damaged';
      expect(decideJournalVerdict(ring)).to.include({ ok: true, last, tailBytes: journalRecordBytes });
    }
  });

  it('a record that was lost, damaged or brought back is found', () => {
    for (let last = 3; last <= 12; last += 1) {
      for (let lost = Math.max(1, last - 3); lost < last; lost += 1) {
        const changes: JournalBlock[] = ['empty', 'damaged', lost - 5];
        for (const change of changes) {
          const ring = ringAfter(last, 5);
          ring[journalBlockIndex(lost, 5)] = change;
          expect(decideJournalVerdict(ring), `${last} ${lost} ${change}`).to.have.property('ok', false);
        }
      }
    }
  });

  it('a guest goes on where it was, in a pause and after a disk error', async () => {
    const disk = new MemoryDisk(new Uint8Array(journalRecordBytes * 8));
    const said: string[] = [];
    let errors = 0;
    const guest = new JournalGuest({
      disk,
      clock: systemClock,
      intervalMs: 1,
      say: (report) => said.push(report),
      diskFailed: () => {
        errors += 1;
      },
    });
    const newest = () => Number(said.findLast((report) => report.startsWith('ACK'))?.slice(4) ?? 0);
    guest.resume();
    await until('10 records', () => newest() >= 10);
    await guest.pause();
    const paused = newest();
    expect(decideRing(disk)).to.include({ ok: true, last: paused });
    disk.failing = true;
    guest.resume();
    await until('a disk error', () => errors === 1);
    expect(newest()).to.equal(paused);
    disk.failing = false;
    guest.resume();
    await until('one more record', () => newest() > paused);
    await guest.powerOff();
    expect(said.slice(0, 3)).to.deep.equal(['BOOT', 'VERIFY OK last=0 records=0 tail=0', 'START']);
    expect(said.slice(-2)).to.deep.equal([`STOPPING ${newest()}`, 'POWEROFF']);
  });
});

function decideRing(disk: MemoryDisk) {
  const blocks: JournalBlock[] = [];
  for (let offset = 0; offset < disk.sizeBytes; offset += journalRecordBytes) {
    blocks.push(parseJournalBlock(disk.data.subarray(offset, offset + journalRecordBytes)));
  }
  return decideJournalVerdict(blocks);
}
