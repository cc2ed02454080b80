/**
 * Records that are only ever appended: one JSON value a line, in a file that is rotated when it is full (`NAME`, `NAME.1`, ...;
 * the oldest is deleted). Appends that come together are written together, and flushed once for all that asked for it.
 *
 * Invariants: a line is complete or it is the torn last one of a process that was killed, which nobody reads; nothing is
 * appended behind a torn line. The queue is bounded: what is above is dropped and counted, unless durability was asked for.
 */
import { closeSync, existsSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { type FileHandle, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { flushDirectory } from '../../platform/durable-file.ts';

/** Lines that wait for the disk. */
export const linesQueuedMax = 10_000;
const fileMode = 0o600;
const newline = 0x0a;
/** Read at once when the end of the last line is looked for. */
const lookBackBytes = 64 * 1024;

export interface RecordLogOptions {
  readonly directory: string;
  readonly name: string;
  /** A file that is larger is rotated before the next line. */
  readonly fileBytesMax: number;
  /** With the one that is written. */
  readonly filesMax: number;
  /** Called when the disk refuses lines; they are lost. */
  readonly failed: (error: Error) => void;
}

interface Waiting {
  readonly line: string;
  readonly durable: boolean;
  readonly done: (error: Error | undefined) => void;
}

export class RecordLog {
  readonly #options: RecordLogOptions;
  readonly #file: string;
  #queue: Waiting[] = [];
  #writing: Promise<void> | undefined;
  #handle: FileHandle | undefined;
  #sizeBytes = 0;
  #dropped = 0;

  constructor(options: RecordLogOptions) {
    this.#options = options;
    this.#file = join(options.directory, options.name);
    cutTornLine(this.#file);
  }

  /** Lines that were not written because too many waited. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Never waits and never throws. */
  append(value: object): void {
    if (this.#queue.length >= linesQueuedMax) {
      this.#dropped += 1;
      return;
    }
    this.#add({ line: `${JSON.stringify(value)}\n`, durable: false, done: () => {} });
  }

  /** Resolves when the line is on stable storage; rejects when the disk refused it. */
  appendDurably(value: object): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (error: Error | undefined) => (error === undefined ? resolve() : reject(error));
      this.#add({ line: `${JSON.stringify(value)}\n`, durable: true, done });
    });
  }

  /** All values that the files hold, oldest first; lines that are none are left out. */
  async readAll(): Promise<unknown[]> {
    const values: unknown[] = [];
    for (let index = this.#options.filesMax - 1; index >= 0; index -= 1) {
      const text = await readFile(this.#numbered(index), 'utf8').catch(() => '');
      for (const line of text.split('\n')) {
        if (line === '') continue;
        try {
          values.push(JSON.parse(line));
        } catch {
          // Damaged by something else than us: the lines around it still count.
        }
      }
    }
    return values;
  }

  /** Resolves when everything that was appended is written. */
  async close(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    await this.#handle?.close();
    this.#handle = undefined;
  }

  #add(waiting: Waiting): void {
    this.#queue.push(waiting);
    this.#writing ??= this.#writeAll();
  }

  async #writeAll(): Promise<void> {
    // What is appended in this turn goes together.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      const error = await this.#write(batch).catch((cause: unknown) =>
        cause instanceof Error ? cause : new Error(String(cause)),
      );
      if (error instanceof Error) this.#options.failed(error);
      for (const { done } of batch) done(error instanceof Error ? error : undefined);
    }
    this.#writing = undefined;
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    try {
      if (this.#sizeBytes >= this.#options.fileBytesMax) await this.#rotate();
      if (this.#handle === undefined) {
        this.#handle = await open(this.#file, 'a', fileMode);
        this.#sizeBytes = (await this.#handle.stat()).size;
      }
      const bytes = Buffer.from(batch.map(({ line }) => line).join(''));
      await this.#handle.appendFile(bytes);
      this.#sizeBytes += bytes.length;
      if (batch.some(({ durable }) => durable)) await this.#handle.datasync();
    } catch (error) {
      // Part of a line may be in the file.
      await this.#handle?.close().catch(() => {});
      this.#handle = undefined;
      cutTornLine(this.#file);
      throw error;
    }
  }

  async #rotate(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
    const { filesMax, directory } = this.#options;
    await rm(this.#numbered(filesMax - 1), { force: true });
    for (let index = filesMax - 2; index >= 0; index -= 1) {
      const from = this.#numbered(index);
      if (existsSync(from)) await rename(from, this.#numbered(index + 1));
    }
    await flushDirectory(directory);
    this.#sizeBytes = 0;
  }

  #numbered(index: number): string {
    return index === 0 ? this.#file : `${this.#file}.${index}`;
  }
}

/** Ends the file after its last complete line. A file that cannot be opened is found again by the first append. */
function cutTornLine(file: string): void {
  let fd: number;
  try {
    fd = openSync(file, 'r+');
  } catch {
    return;
  }
  try {
    const { size } = fstatSync(fd);
    const end = endOfLastLine(fd, size);
    if (end < size) ftruncateSync(fd, end);
  } finally {
    closeSync(fd);
  }
}

/** Where the last complete line of a file ends; 0: it has none. */
function endOfLastLine(fd: number, size: number): number {
  const chunk = Buffer.alloc(lookBackBytes);
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - lookBackBytes);
    const read = readSync(fd, chunk, 0, end - start, start);
    const last = chunk.subarray(0, read).lastIndexOf(newline);
    if (last >= 0) return start + last + 1;
    end = start;
  }
  return 0;
}
