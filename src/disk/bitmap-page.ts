/**
 * Pages of the dirty bitmap on disk: encoding, decoding, and the choice between the two slots of a page (format.ts says
 * why there are two).
 */
import { assertInvariant } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import * as format from './format.ts';
import type { BlockProblem, Decoded } from './format.ts';
import { allZero, getU64, putU64, viewOf } from './record-layout.ts';

export interface PageHeader {
  /** Grows by one with each write of the page; its parity is the slot. */
  readonly sequence: number;
  readonly volumeIndex: number;
  readonly pageIndex: number;
}

export interface BitmapPage extends PageHeader {
  /** A view into the decoded bytes, `bitmapPagePayloadBytes` long. */
  readonly bits: Uint8Array;
}

const at = format.bitmapPageFields;

/** The part of a block of 4 KiB that holds the bits; to be filled before `sealPage`. */
export function pageBits(block: Uint8Array): Uint8Array {
  return block.subarray(at.bits[0], at.bits[0] + at.bits[1]);
}

/** Writes header and checksum around the bits that are in the block already. The rest of the header must be zero. */
export function sealPage(block: Uint8Array, header: PageHeader): void {
  assertInvariant(block.length === format.metadataBlockBytes, 'a bitmap page is one block');
  const view = viewOf(block);
  view.setUint32(at.magic[0], format.bitmapPageMagic, true);
  putU64(view, at.sequence[0], header.sequence);
  view.setUint32(at.volumeIndex[0], header.volumeIndex, true);
  view.setUint32(at.pageIndex[0], header.pageIndex, true);
  view.setUint32(at.checksum[0], crc32c(block.subarray(at.sequence[0])), true);
}

/** Judges one slot by itself. */
export function decodePage(block: Uint8Array): Decoded<BitmapPage> {
  const view = viewOf(block);
  if (view.getUint32(at.magic[0], true) !== format.bitmapPageMagic) {
    return format.invalid(allZero(block) ? 'never-written' : 'bad-magic');
  }
  if (view.getUint32(at.checksum[0], true) !== crc32c(block.subarray(at.sequence[0]))) {
    return format.invalid('bad-checksum');
  }
  const sequence = getU64(view, at.sequence[0]);
  if (sequence === undefined) return format.invalid('bad-field');
  const reserved = block.subarray(at.reserved[0], at.reserved[0] + at.reserved[1]);
  if (!allZero(reserved)) return format.invalid('reserved-not-zero');
  const volumeIndex = view.getUint32(at.volumeIndex[0], true);
  const pageIndex = view.getUint32(at.pageIndex[0], true);
  return { kind: 'valid', content: { sequence, volumeIndex, pageIndex, bits: pageBits(block) } };
}

export interface PageFinding {
  /** The newest whole slot; `undefined` when there is none. */
  readonly page: BitmapPage | undefined;
  /** What is wrong with slot 0 and slot 1. */
  readonly problems: readonly [BlockProblem | undefined, BlockProblem | undefined];
}

/** Chooses between the two slots of one page: the higher sequence number among the whole ones that belong there. */
export function choosePageSlot(
  slots: readonly [Uint8Array, Uint8Array],
  volumeIndex: number,
  pageIndex: number,
): PageFinding {
  const zero = decodeSlot(slots[0], 0, volumeIndex, pageIndex);
  const one = decodeSlot(slots[1], 1, volumeIndex, pageIndex);
  if (zero.kind === 'invalid') {
    return { page: one.kind === 'valid' ? one.content : undefined, problems: [zero.problem, problemOf(one)] };
  }
  if (one.kind === 'invalid') return { page: zero.content, problems: [undefined, one.problem] };
  const newer = zero.content.sequence > one.content.sequence ? zero.content : one.content;
  return { page: newer, problems: [undefined, undefined] };
}

function decodeSlot(
  block: Uint8Array,
  slot: 0 | 1,
  volumeIndex: number,
  pageIndex: number,
): Decoded<BitmapPage> {
  const page = decodePage(block);
  if (page.kind === 'invalid') return page;
  const { content } = page;
  const belongs = content.volumeIndex === volumeIndex && content.pageIndex === pageIndex;
  return belongs && content.sequence % 2 === slot ? page : format.invalid('misplaced');
}

function problemOf(page: Decoded<BitmapPage>): BlockProblem | undefined {
  return page.kind === 'valid' ? undefined : page.problem;
}
