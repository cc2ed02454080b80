/**
 * The dirty bitmap of one volume, in memory: one bit per block of 64 KiB that may differ from the peer's copy.
 *
 * Invariants: bits beyond the last block are zero; `count` is the number of set bits; every page whose bits were changed
 * since the last `takeChangedPages` is in the changed set. A page is what one metadata page on disk holds (format.ts).
 * It does no I/O and does not know why a bit is set. A volume of 1 TiB takes 2 MiB.
 */
import { assertInvariant } from '../base/assert.ts';
import { bitmapPagePayloadBytes, blocksPerPage, pageCountOf, volumeSizeBytesMax } from './format.ts';
import { blockSizeBytes } from './state.ts';

const wordsPerPage = bitmapPagePayloadBytes / 4;

/** Pages and link messages are the bytes of the words, so a host must be little-endian (x64 and arm64 are). */
const hostIsLittleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
assertInvariant(hostIsLittleEndian, 'the dirty bitmap needs a little-endian host');

export class DirtyBitmap {
  readonly blockCount: number;
  readonly pageCount: number;
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #pageChanged: Uint8Array;
  /** Pages that may hold a set bit. */
  readonly #pageUsed: Uint8Array;
  #count = 0;

  constructor(volumeSizeBytes: number) {
    assertInvariant(
      volumeSizeBytes > 0 && volumeSizeBytes <= volumeSizeBytesMax,
      'a volume has a usable size',
    );
    this.blockCount = Math.ceil(volumeSizeBytes / blockSizeBytes);
    this.pageCount = pageCountOf(volumeSizeBytes);
    this.#words = new Uint32Array(Math.ceil(this.blockCount / 32));
    this.#bytes = new Uint8Array(this.#words.buffer);
    this.#pageChanged = new Uint8Array(this.pageCount);
    this.#pageUsed = new Uint8Array(this.pageCount);
  }

  /** Number of dirty blocks. */
  get count(): number {
    return this.#count;
  }

  /** Bytes that `exportBytes` and `mergeBytes` address: one bit per block, block 0 in bit 0 of byte 0. */
  get byteLength(): number {
    return Math.ceil(this.blockCount / 8);
  }

  has(block: number): boolean {
    this.#assertBlock(block);
    return ((this.#word(block >>> 5) >>> (block & 31)) & 1) === 1;
  }

  setBlock(block: number): void {
    this.#assertBlock(block);
    this.#storeWord(block >>> 5, this.#word(block >>> 5) | (1 << (block & 31)));
  }

  clearBlock(block: number): void {
    this.#assertBlock(block);
    this.#storeWord(block >>> 5, this.#word(block >>> 5) & ~(1 << (block & 31)));
  }

  /** Marks every block that the byte range touches, partly touched ones too. */
  setRange(offsetBytes: number, lengthBytes: number): void {
    if (lengthBytes === 0) return;
    const firstBlock = Math.floor(offsetBytes / blockSizeBytes);
    const lastBlock = Math.floor((offsetBytes + lengthBytes - 1) / blockSizeBytes);
    this.#assertBlock(firstBlock);
    this.#assertBlock(lastBlock);
    this.#setBlocks(firstBlock, lastBlock);
  }

  /** Clears every block that the byte range touches. */
  clearRange(offsetBytes: number, lengthBytes: number): void {
    if (lengthBytes === 0) return;
    const firstBlock = Math.floor(offsetBytes / blockSizeBytes);
    const lastBlock = Math.floor((offsetBytes + lengthBytes - 1) / blockSizeBytes);
    this.#assertBlock(firstBlock);
    this.#assertBlock(lastBlock);
    this.#changeBlocks(firstBlock, lastBlock, (word, mask) => word & ~mask);
  }

  setAll(): void {
    this.#setBlocks(0, this.blockCount - 1);
  }

  clearAll(): void {
    if (this.#count === 0) return;
    // Page by page: storing every word of a volume of 1 TiB takes milliseconds, and every flush clears a set of blocks.
    for (let page = 0; page < this.pageCount; page += 1) {
      if (this.#pageUsed[page] === 0) continue;
      this.#words.fill(0, page * wordsPerPage, (page + 1) * wordsPerPage);
      this.#pageUsed[page] = 0;
      this.#pageChanged[page] = 1;
    }
    this.#count = 0;
  }

  /** The first dirty block at or after `fromBlock`; -1 when there is none. Scans a word (2 MiB) at a time. */
  nextDirty(fromBlock: number): number {
    if (fromBlock >= this.blockCount) return -1;
    const words = this.#words;
    let index = fromBlock >>> 5;
    let word = this.#word(index) & (-1 << (fromBlock & 31));
    while (word === 0) {
      index += 1;
      if (index >= words.length) return -1;
      word = words[index] as number;
    }
    return index * 32 + lowestBit(word);
  }

  /** Calls `visit` with each dirty block, ascending. A bit changed by `visit` itself may or may not be visited. */
  forEach(visit: (block: number) => void): void {
    for (let block = this.nextDirty(0); block !== -1; block = this.nextDirty(block + 1)) visit(block);
  }

  /** Adds every dirty block of `other`, which is of the same volume. */
  or(other: DirtyBitmap): void {
    assertInvariant(other.blockCount === this.blockCount, 'bitmaps of one volume have one size');
    if (other.#count === 0) return;
    for (let index = 0; index < this.#words.length; index += 1) {
      const more = other.#word(index);
      if (more !== 0) this.#storeWord(index, this.#word(index) | more);
    }
  }

  /** Removes every dirty block of `other`, which is of the same volume. */
  andNot(other: DirtyBitmap): void {
    assertInvariant(other.blockCount === this.blockCount, 'bitmaps of one volume have one size');
    if (other.#count === 0) return;
    for (let index = 0; index < this.#words.length; index += 1) {
      const less = other.#word(index);
      if (less !== 0) this.#storeWord(index, this.#word(index) & ~less);
    }
  }

  /** Pages whose bits changed since the last call, ascending; they count as unchanged from now on. */
  takeChangedPages(): number[] {
    const changed: number[] = [];
    for (let page = 0; page < this.pageCount; page += 1) {
      if (this.#pageChanged[page] === 1) changed.push(page);
    }
    this.#pageChanged.fill(0);
    return changed;
  }

  /** Copies the bits of one page to `target` (`bitmapPagePayloadBytes` long); the rest of the last page is zero. */
  copyPage(page: number, target: Uint8Array): void {
    assertInvariant(target.length === bitmapPagePayloadBytes, 'a page payload has its exact size');
    const bits = this.#pageBytes(page);
    target.set(bits);
    target.fill(0, bits.length);
  }

  /** Replaces the bits of one page, which then counts as unchanged. Bits beyond the last block are dropped. */
  loadPage(page: number, payload: Uint8Array): void {
    assertInvariant(payload.length === bitmapPagePayloadBytes, 'a page payload has its exact size');
    const bits = this.#pageBytes(page);
    const firstWord = page * wordsPerPage;
    const endWord = firstWord + bits.length / 4;
    this.#count -= this.#countWords(firstWord, endWord);
    bits.set(payload.subarray(0, bits.length));
    this.#dropBitsBeyondEnd();
    this.#count += this.#countWords(firstWord, endWord);
    this.#pageChanged[page] = 0;
    this.#pageUsed[page] = 1;
  }

  /** Marks every block of one page. */
  setPage(page: number): void {
    this.#setBlocks(page * blocksPerPage, Math.min((page + 1) * blocksPerPage, this.blockCount) - 1);
  }

  /** A copy of the bits from byte `firstByte` on, at most `lengthBytes` of them: what goes over the link. */
  exportBytes(firstByte: number, lengthBytes: number): Uint8Array {
    return this.#bytes.slice(firstByte, Math.min(firstByte + lengthBytes, this.byteLength));
  }

  /** Adds bits that the peer exported. False, and nothing is changed, when they reach beyond the last block. */
  mergeBytes(firstByte: number, bytes: Uint8Array): boolean {
    const end = firstByte + bytes.length;
    if (!Number.isSafeInteger(firstByte) || firstByte < 0 || end > this.byteLength) return false;
    const usedBits = this.blockCount & 7;
    const last = bytes[bytes.length - 1] ?? 0;
    if (usedBits !== 0 && end === this.byteLength && last >>> usedBits !== 0) return false;
    for (let at = 0; at < bytes.length; at += 1) {
      const more = bytes[at] as number;
      if (more === 0) continue;
      const byteIndex = firstByte + at;
      this.#storeWord(byteIndex >>> 2, this.#word(byteIndex >>> 2) | (more << ((byteIndex & 3) * 8)));
    }
    return true;
  }

  #assertBlock(block: number): void {
    assertInvariant(block >= 0 && block < this.blockCount, 'a block index is inside the volume');
  }

  #word(index: number): number {
    return this.#words[index] as number;
  }

  #storeWord(index: number, value: number): void {
    const before = this.#word(index);
    if (before === value >>> 0) return;
    this.#words[index] = value;
    this.#count += populationCount(value) - populationCount(before);
    const page = Math.floor(index / wordsPerPage);
    this.#pageChanged[page] = 1;
    this.#pageUsed[page] = 1;
  }

  #setBlocks(firstBlock: number, lastBlock: number): void {
    this.#changeBlocks(firstBlock, lastBlock, (word, mask) => word | mask);
  }

  #changeBlocks(firstBlock: number, lastBlock: number, change: (word: number, mask: number) => number): void {
    const firstWord = firstBlock >>> 5;
    const lastWord = lastBlock >>> 5;
    const fromFirst = -1 << (firstBlock & 31);
    const upToLast = -1 >>> (31 - (lastBlock & 31));
    for (let index = firstWord; index <= lastWord; index += 1) {
      let mask = -1;
      if (index === firstWord) mask &= fromFirst;
      if (index === lastWord) mask &= upToLast;
      this.#storeWord(index, change(this.#word(index), mask));
    }
  }

  #pageBytes(page: number): Uint8Array {
    assertInvariant(page >= 0 && page < this.pageCount, 'a page index is inside the bitmap');
    return this.#bytes.subarray(page * bitmapPagePayloadBytes, (page + 1) * bitmapPagePayloadBytes);
  }

  #countWords(firstWord: number, endWord: number): number {
    let count = 0;
    for (let index = firstWord; index < endWord; index += 1) count += populationCount(this.#word(index));
    return count;
  }

  #dropBitsBeyondEnd(): void {
    const usedBits = this.blockCount & 31;
    const last = this.#words.length - 1;
    if (usedBits !== 0) this.#words[last] = this.#word(last) & (-1 >>> (32 - usedBits));
  }
}

/** Index of the lowest set bit of a word that is not zero. */
function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

/** Number of set bits of a 32-bit word. */
function populationCount(word: number): number {
  let pairs = word - ((word >>> 1) & 0x55555555);
  pairs = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((pairs + (pairs >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
