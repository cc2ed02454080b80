/**
 * What a writing guest knows, kept in a file that survives everybody: which writes it sent, which were acknowledged and when.
 * The oracle of crash tests: replayed, it says for each block which contents a copy may hold. Times are of the monotonic
 * clock, which all processes of a machine share.
 *
 * Lines: `i SEQ OFFSET LENGTH` a write is about to be sent; `c SEQ MS` it was acknowledged; `f MS` a flush was acknowledged;
 * `o MS` connected; `x MS TEXT` a connection failed or was lost; `e MS TEXT` the server answered a request with an error.
 * Only one write that overlaps a block is in flight at a time, and it is sent again until it is acknowledged.
 */
import { closeSync, openSync, readSync } from 'node:fs';

/** Every write covers whole blocks of this size, bytes. */
export const journalBlockBytes = 4096;
/** Writes that a guest keeps in flight. */
export const guestWritesInFlight = 16;
/** Bytes that are read of the file, or of a copy, at a time. */
const pieceBytes = 1024 * 1024;
const wordsPerBlock = journalBlockBytes / 4;

export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** The content that write `sequence` gives to a block: both numbers, then words that depend on both. */
export function blockContent(sequence: number, block: number): Uint32Array {
  const words = new Uint32Array(wordsPerBlock).fill(Math.imul(sequence, 0x9e3779b1) ^ block);
  words[0] = sequence;
  words[1] = block;
  return words;
}

interface BlockState {
  /** The last acknowledged write; 0: none. */
  acknowledged: number;
  /** Sent later and not acknowledged: may be there or not. */
  readonly unknown: number[];
}

interface SentWrite {
  readonly firstBlock: number;
  readonly blocks: number;
}

export type ReadCopy = (offsetBytes: number, lengthBytes: number) => Uint8Array | Promise<Uint8Array>;

export class WriteJournal {
  readonly file: string;
  /** When each write or flush was acknowledged, oldest first, ms. */
  readonly acknowledgedMs: number[] = [];
  /** Why connections failed or were lost, oldest first. */
  readonly lost: string[] = [];
  /** Errors that the guest saw, oldest first. */
  readonly errors: string[] = [];
  connections = 0;
  lastSequence = 0;
  readonly #blocks = new Map<number, BlockState>();
  readonly #sent = new Map<number, SentWrite>();
  #readBytes = 0;
  #rest = '';

  constructor(file: string) {
    this.file = file;
  }

  /** Takes in what was appended since the last call. */
  update(): this {
    const fd = openSync(this.file, 'a+');
    const buffer = Buffer.alloc(pieceBytes);
    for (;;) {
      const got = readSync(fd, buffer, 0, buffer.length, this.#readBytes);
      if (got === 0) break;
      this.#readBytes += got;
      const lines = (this.#rest + buffer.toString('utf8', 0, got)).split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) this.#take(line);
    }
    closeSync(fd);
    return this;
  }

  /** Longest time without an acknowledgement from `sinceMs` to `untilMs`, ms. */
  longestGapMs(sinceMs: number, untilMs: number): number {
    let last = sinceMs;
    let longest = 0;
    for (const at of this.acknowledgedMs) {
      if (at < sinceMs || at > untilMs) continue;
      longest = Math.max(longest, at - last);
      last = at;
    }
    return Math.max(longest, untilMs - last);
  }

  /** Blocks whose content is none that the guest's history allows, with what was found; empty: nothing is lost. */
  async findLost(read: ReadCopy): Promise<string[]> {
    const problems: string[] = [];
    const blocks = [...this.#blocks.keys()].sort((left, right) => left - right);
    let piece = new Uint8Array(0);
    let pieceStartBytes = -1;
    for (const block of blocks) {
      const offsetBytes = block * journalBlockBytes;
      const startBytes = offsetBytes - (offsetBytes % pieceBytes);
      if (startBytes !== pieceStartBytes) {
        piece = Uint8Array.from(await read(startBytes, pieceBytes));
        pieceStartBytes = startBytes;
      }
      const words = new Uint32Array(piece.buffer, offsetBytes - startBytes, wordsPerBlock);
      const problem = this.#judge(block, words);
      if (problem !== undefined) problems.push(problem);
    }
    return problems;
  }

  #judge(block: number, words: Uint32Array): string | undefined {
    const state = this.#blocks.get(block);
    if (state === undefined) return undefined;
    const allowed = [state.acknowledged, ...state.unknown];
    const found = words[0] ?? 0;
    if (allowed.includes(found)) {
      const wanted = found === 0 ? new Uint32Array(wordsPerBlock) : blockContent(found, block);
      if (wanted.every((word, index) => word === words[index])) return undefined;
    }
    return `block ${block}: wanted the content of one of the writes ${allowed.join(', ')}; found ${found}`;
  }

  #take(line: string): void {
    const [kind, first, second, third] = line.split(' ');
    const text = line.slice(line.indexOf(' ', 2) + 1);
    if (kind === 'i') this.#issued(Number(first), Number(second), Number(third));
    else if (kind === 'c') this.#acknowledged(Number(first), Number(second));
    else if (kind === 'f') this.acknowledgedMs.push(Number(first));
    else if (kind === 'o') this.connections += 1;
    else if (kind === 'x') this.lost.push(text);
    else if (kind === 'e') this.errors.push(text);
    else throw new Error(`a line that is none of a journal: ${line}`);
  }

  #issued(sequence: number, offsetBytes: number, lengthBytes: number): void {
    const write = { firstBlock: offsetBytes / journalBlockBytes, blocks: lengthBytes / journalBlockBytes };
    this.lastSequence = Math.max(this.lastSequence, sequence);
    this.#sent.set(sequence, write);
    for (let block = write.firstBlock; block < write.firstBlock + write.blocks; block += 1) {
      const state = this.#blocks.get(block) ?? { acknowledged: 0, unknown: [] };
      state.unknown.push(sequence);
      this.#blocks.set(block, state);
    }
  }

  #acknowledged(sequence: number, atMs: number): void {
    this.acknowledgedMs.push(atMs);
    const write = this.#sent.get(sequence);
    if (write === undefined) throw new Error(`write ${sequence} was acknowledged but never sent`);
    this.#sent.delete(sequence);
    for (let block = write.firstBlock; block < write.firstBlock + write.blocks; block += 1) {
      const state = this.#blocks.get(block) as BlockState;
      state.acknowledged = sequence;
      state.unknown.length = 0;
    }
  }
}
