/**
 * The journal of the simulated guest on its raw disk: records of one block, each with its number and a digest, in a ring
 * over the first `journalBytesMax` bytes. One record is in flight at a time, so after a crash everything up to the newest
 * record must be there, and only the block after it may hold anything.
 *
 * Record: magic (8 bytes), number (u64 LE), filler that follows from the number, SHA-256 of all before (32 bytes).
 */
import { createHash } from 'node:crypto';

export const journalRecordBytes = 4096;
export const journalBytesMax = 16 * 1024 ** 2;

const magic = Buffer.from('vmpairJ1');
const numberOffset = 8;
const fillerOffset = 16;
const digestOffset = journalRecordBytes - 32;

/** What a block of the journal holds: the number of a valid record, or none. */
export type JournalBlock = number | 'empty' | 'damaged';

export type JournalVerdict =
  | { readonly ok: true; readonly last: number; readonly records: number; readonly tailBytes: number }
  | { readonly ok: false; readonly because: string };

export function journalBlockCount(diskBytes: number): number {
  return Math.floor(Math.min(diskBytes, journalBytesMax) / journalRecordBytes);
}

/** Block of record `number`, which counts from 1. */
export function journalBlockIndex(number: number, blockCount: number): number {
  return (number - 1) % blockCount;
}

function digestOf(record: Uint8Array): Buffer {
  return createHash('sha256').update(record.subarray(0, digestOffset)).digest();
}

export function encodeJournalRecord(number: number): Buffer {
  const record = Buffer.alloc(journalRecordBytes, number & 0xff);
  magic.copy(record);
  record.writeBigUInt64LE(BigInt(number), numberOffset);
  record.fill(`record ${number} `, fillerOffset, digestOffset);
  digestOf(record).copy(record, digestOffset);
  return record;
}

export function parseJournalBlock(block: Uint8Array): JournalBlock {
  if (block.every((byte) => byte === 0)) return 'empty';
  const record = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
  const number = Number(record.readBigUInt64LE(numberOffset));
  const intact =
    record.subarray(0, numberOffset).equals(magic) &&
    digestOf(record).equals(record.subarray(digestOffset)) &&
    Number.isSafeInteger(number) &&
    number >= 1;
  return intact ? number : 'damaged';
}

/** Whether `blocks`, the whole ring, is what a crash at any instant may leave. */
export function decideJournalVerdict(blocks: readonly JournalBlock[]): JournalVerdict {
  const count = blocks.length;
  let last = 0;
  for (const block of blocks) if (typeof block === 'number') last = Math.max(last, block);
  const open = journalBlockIndex(last + 1, count);
  for (const [index, found] of blocks.entries()) {
    // Newest number up to `last` that belongs into this block; 0 or less: none yet.
    const wanted = last - ((last - 1 - index + count) % count);
    if (found === (wanted < 1 ? 'empty' : wanted)) continue;
    if (index === open && found === 'damaged') continue;
    return { ok: false, because: `block ${index} holds ${found} instead of ${Math.max(0, wanted)}` };
  }
  const tailBytes = blocks[open] === 'damaged' ? journalRecordBytes : 0;
  return { ok: true, last, records: Math.min(last, count), tailBytes };
}
