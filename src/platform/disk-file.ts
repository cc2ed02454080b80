/**
 * A volume in a plain file: the `BlockDevice` at the bottom of a node.
 *
 * Invariants: the file is locked while it is open; a completion without error means that every byte was taken (write),
 * delivered (read) or is on stable storage (flush, FUA); a failed fdatasync is final: every later flush fails as well,
 * because the kernel may have dropped what it could not write; a write that is taken never completes inside the call. Writes
 * run in the event loop, at the end of the callback that asked for them, while that is measured to be fast
 * (loop-writes.ts). All other data calls go through Node's thread pool, so a hung disk
 * does not stop the event loop, and so do the calls that punch and map holes: on ext4, giving back 250 MiB was measured
 * to take about 50 ms, and any of them waits behind the inode's lock. They hold no more threads than their share
 * (thread-share.ts), so that a hung disk leaves some to others.
 * It has no deadlines: who issues requests watches their age.
 */
import fs from 'node:fs';
import { assertInvariant } from '../base/assert.ts';
import type {
  AllocationCompletion,
  AllocationExtent,
  BlockDevice,
  BlockError,
  Completion,
  ReadCompletion,
  ZeroOptions,
} from '../base/block-device.ts';
import { WorldError } from '../base/errors.ts';
import { adviseFile, fallocateAsync, seekAsync, type SystemCallError } from './libc.ts';
import { createSparseFile, openLockedFile } from './locked-file.ts';
import { type LoopWrites, loopTurnBytesMax, loopWriteBytesMax, newLoopWrites } from './loop-writes.ts';
import { ThreadShare, volumeThreads } from './thread-share.ts';

/** Chunks in one writev: IOV_MAX of Linux. */
const chunksPerCallMax = 1024;
/**
 * Bytes that one call in the event loop writes. ext4 keeps the pages of a long write or of a long read together in one folio, and
 * walks all blocks of it at every later write: writes of 4 KiB into folios of 2 MiB were measured to cost ten times as much. Pieces of
 * 256 KiB made writes of 1 MiB an eighth slower than these; 32 KiB changed nothing.
 */
const pieceBytesMax = 64 * 1024;
/** Bytes of one write of zeroes, where the file system cannot zero by itself. */
const zeroPieceBytes = 1024 * 1024;
/** Extents in one answer of `allocation`; each costs one or two calls. */
const allocationExtentsMax = 64;

type ZeroMode = 'punch-hole' | 'zero-range';
type Done = (error: BlockError | undefined) => void;

interface SystemError {
  readonly code?: string | undefined;
  readonly message: string;
}

/** A write that waits for the end of the callback that asked for it. */
interface QueuedWrite {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly chunks: readonly Uint8Array[];
  readonly fua: boolean;
  readonly completion: Completion;
}

export class DiskFile implements BlockDevice {
  readonly sizeBytes: number;
  /** Which file is open, whatever its path names later. */
  readonly identity: { readonly dev: number; readonly ino: number; readonly bornMs: number };
  readonly #fd: number;
  readonly #threads: ThreadShare;
  readonly #unsupported = new Set<ZeroMode>();
  readonly #loopWrites: LoopWrites;
  #queued: QueuedWrite[] = [];
  #queuedBytes = 0;
  #zeroes: Buffer | undefined;
  #inFlight = 0;
  #closed: (() => void)[] | undefined;
  #flushRuns = false;
  /** Flushes that the next fdatasync answers: it has not begun yet, so it covers what completed before them. */
  #nextFlush: Completion[] = [];
  #flushFailed = false;
  #lastError: string | undefined;

  private constructor(fd: number, sizeBytes: number, loopWrites: LoopWrites, threads: ThreadShare) {
    this.#fd = fd;
    this.#threads = threads;
    const { dev, ino, birthtimeMs } = fs.fstatSync(fd);
    this.identity = { dev, ino, bornMs: birthtimeMs };
    this.sizeBytes = sizeBytes;
    this.#loopWrites = loopWrites;
    // The guest reads ahead itself; see `pieceBytesMax` for what reading ahead here, and the tool that made the file, leave.
    adviseFile(fd, 'random');
    adviseFile(fd, 'do-not-need');
  }

  /**
   * Opens and locks the file of a volume; a file that is larger than the volume is fine. Changes nothing. Errors:
   * `file-missing`, `file-not-writable`, `file-locked`, `file-too-small`, `file-io`.
   */
  static open(
    filePath: string,
    sizeBytes: number,
    loopWrites = newLoopWrites(),
    threads = new ThreadShare(volumeThreads),
  ): DiskFile {
    const file = openLockedFile(filePath);
    if (file.sizeBytes >= sizeBytes) return new DiskFile(file.fd, sizeBytes, loopWrites, threads);
    fs.closeSync(file.fd);
    throw new WorldError('file-too-small', {
      wanted: `${filePath} to hold a volume of ${sizeBytes} bytes`,
      found: `${file.sizeBytes} bytes`,
      next: 'extend the file (truncate --size), or configure the size that it has',
    });
  }

  /** Opens and locks a file as a device of the size that the file has. Errors as `open`. */
  static openWhole(filePath: string, threads = new ThreadShare(volumeThreads)): DiskFile {
    const file = openLockedFile(filePath);
    return new DiskFile(file.fd, file.sizeBytes, newLoopWrites(), threads);
  }

  /** Makes a sparse file that reads as zeroes; does not open it. Errors: `file-exists`, `file-missing`, ... */
  static create(filePath: string, sizeBytes: number): void {
    createSparseFile(filePath, sizeBytes);
  }

  /** What the system said of the request that failed last, for people: `ENOSPC: no space left on device`. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  read(offsetBytes: number, lengthBytes: number, completion: ReadCompletion): void {
    if (this.#closed !== undefined) return completion.done('shutting-down', []);
    this.#inFlight += 1;
    const buffer = Buffer.allocUnsafeSlow(lengthBytes);
    let have = 0;
    const next = (): void => fs.read(this.#fd, buffer, have, lengthBytes - have, offsetBytes + have, taken);
    const taken = (error: NodeJS.ErrnoException | null, bytesRead: number): void => {
      this.#threads.leave();
      have += bytesRead;
      // The end of the file inside the volume: somebody has cut it short.
      const failed = error !== null || bytesRead === 0;
      if (failed) this.#note(error ?? { message: 'the file ends inside the volume' });
      if (!failed && have < lengthBytes) return this.#threads.enter(next);
      if (failed) completion.done('io-error', []);
      else completion.done(undefined, [buffer]);
      this.#leave();
    };
    this.#threads.enter(next);
  }

  write(
    offsetBytes: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[],
    fua: boolean,
    completion: Completion,
  ): void {
    if (this.#closed !== undefined) return completion.done('shutting-down');
    this.#inFlight += 1;
    const { length: queuedCount } = this.#queued;
    if (this.#queuedBytes + lengthBytes <= loopTurnBytesMax && this.#loopWrites.admits(lengthBytes)) {
      this.#queued.push({ offsetBytes, lengthBytes, chunks, fua, completion });
      this.#queuedBytes += lengthBytes;
      // Not at once: what the callback sends to the peer should leave first, and no completion comes from inside a call.
      if (queuedCount === 0) process.nextTick(this.#writeQueued);
      return;
    }
    this.#writeOnPool(offsetBytes, lengthBytes, chunks, fua, completion);
  }

  readonly #writeQueued = (): void => {
    const queued = this.#queued;
    this.#queued = [];
    this.#queuedBytes = 0;
    let slow = false;
    for (const { offsetBytes, lengthBytes, chunks, fua, completion } of queued) {
      if (slow) {
        this.#writeOnPool(offsetBytes, lengthBytes, chunks, fua, completion);
        continue;
      }
      const startedMs = performance.now();
      const written = this.#writeInLoop(offsetBytes, lengthBytes, chunks);
      slow = this.#loopWrites.wroteInLoop(performance.now() - startedMs);
      if (written === lengthBytes) this.#complete(undefined, fua, completion);
      else if (typeof written === 'string') this.#complete(written, fua, completion);
      else {
        const rest = withoutFirst(chunks, written);
        this.#writeOnPool(offsetBytes + written, lengthBytes - written, rest, fua, completion);
      }
    }
  };

  /** Bytes written, or why none were. */
  #writeInLoop(offsetBytes: number, lengthBytes: number, chunks: readonly Uint8Array[]): number | BlockError {
    try {
      const [only] = chunks;
      if (lengthBytes > pieceBytesMax) return this.#writePieces(offsetBytes, lengthBytes, chunks);
      if (chunks.length === 1 && only !== undefined) {
        return fs.writeSync(this.#fd, only, 0, lengthBytes, offsetBytes);
      }
      return fs.writevSync(this.#fd, chunks.slice(0, chunksPerCallMax), offsetBytes);
    } catch (error) {
      return this.#note(error as NodeJS.ErrnoException) ?? 'io-error';
    }
  }

  /** Piece by piece, each up to the next multiple of the length of a piece in the file. */
  #writePieces(offsetBytes: number, lengthBytes: number, chunks: readonly Uint8Array[]): number {
    let rest = chunks;
    let written = 0;
    while (written < lengthBytes) {
      const atBytes = offsetBytes + written;
      const pieceBytes = Math.min(pieceBytesMax - (atBytes % pieceBytesMax), lengthBytes - written);
      const count = fs.writevSync(this.#fd, firstOf(rest, pieceBytes), atBytes);
      written += count;
      if (count < pieceBytes) break;
      if (written < lengthBytes) rest = withoutFirst(rest, count);
    }
    return written;
  }

  #writeOnPool(
    offsetBytes: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[],
    fua: boolean,
    completion: Completion,
  ): void {
    const startedMs = performance.now();
    this.#writeChunks(offsetBytes, lengthBytes, chunks, (error) => {
      // A longer one takes its time also when nothing is wrong.
      if (lengthBytes <= loopWriteBytesMax) this.#loopWrites.wroteOnPool(performance.now() - startedMs);
      this.#complete(error, fua, completion);
    });
  }

  flush(completion: Completion): void {
    if (this.#closed !== undefined) return completion.done('shutting-down');
    this.#inFlight += 1;
    this.#complete(undefined, true, completion);
  }

  trim(offsetBytes: number, lengthBytes: number, fua: boolean, completion: Completion): void {
    this.zero(offsetBytes, lengthBytes, { fua, mayPunch: true, fast: false }, completion);
  }

  zero(offsetBytes: number, lengthBytes: number, options: ZeroOptions, completion: Completion): void {
    if (this.#closed !== undefined) return completion.done('shutting-down');
    this.#inFlight += 1;
    const mode = options.mayPunch ? 'punch-hole' : 'zero-range';
    const done: Done = (error) => this.#complete(error, options.fua, completion);
    const withoutFallocate = (): void => {
      if (options.fast) done('not-supported');
      else this.#writeZeroes(offsetBytes, lengthBytes, done);
    };
    if (this.#unsupported.has(mode)) return withoutFallocate();
    const ended = (error: SystemCallError | undefined): void => {
      this.#threads.leave();
      if (error?.code !== 'ENOTSUP' && error?.code !== 'ENOSYS') return done(this.#note(error));
      this.#unsupported.add(mode);
      withoutFallocate();
    };
    this.#threads.enter(() => fallocateAsync(this.#fd, mode, offsetBytes, lengthBytes, ended));
  }

  allocation(offsetBytes: number, lengthBytes: number, completion: AllocationCompletion): void {
    if (this.#closed !== undefined) return completion.done('shutting-down', []);
    this.#inFlight += 1;
    mapExtents(this.#fd, this.#threads, offsetBytes, offsetBytes + lengthBytes, (extents) => {
      completion.done(undefined, extents);
      this.#leave();
    });
  }

  /**
   * Makes readers see what the disk holds, and not what the page cache has kept of a write that failed. Before any request; it
   * waits for the disk. An error of the flush changes nothing: its pages count as clean afterwards.
   */
  forgetCached(): void {
    try {
      fs.fdatasyncSync(this.#fd);
    } catch {
      this.#flushFailed = true;
    }
    adviseFile(this.#fd, 'do-not-need');
  }

  /** Refuses further requests with `shutting-down`, waits for those in flight, unlocks. Does not flush. Idempotent. */
  close(done: () => void): void {
    if (this.#closed === undefined) {
      this.#closed = [done];
      if (this.#inFlight === 0) this.#closeFile();
    } else if (this.#closed.length > 0) this.#closed.push(done);
    else done();
  }

  #closeFile(): void {
    fs.close(this.#fd, () => {
      for (const done of this.#closed?.splice(0) ?? []) done();
    });
  }

  /** Keeps what the system said, and tells what it means for the request. */
  #note(error: SystemError | undefined): BlockError | undefined {
    if (error === undefined) return undefined;
    // Node ends its messages with the name of the call.
    this.#lastError = error.message.replace(/, \w+$/u, '');
    return error.code === 'ENOSPC' || error.code === 'EDQUOT' ? 'no-space' : 'io-error';
  }

  #leave(): void {
    this.#inFlight -= 1;
    if (this.#inFlight === 0 && this.#closed !== undefined) this.#closeFile();
  }

  /** Ends a request that was counted as in flight, through a flush when it succeeded so far and must be durable. */
  #complete(error: BlockError | undefined, durable: boolean, completion: Completion): void {
    if (error === undefined && durable) {
      if (!this.#flushFailed) {
        this.#nextFlush.push(completion);
        if (this.#flushRuns) return;
        this.#flushRuns = true;
        // What the callback sends to the peer should leave first: its flush is the one that takes longer.
        process.nextTick(this.#startFlush);
        return;
      }
      error = 'io-error';
    }
    completion.done(error);
    this.#leave();
  }

  readonly #startFlush = (): void => {
    const answered = this.#nextFlush;
    this.#nextFlush = [];
    this.#loopWrites.flushStarted();
    const synced = (error: NodeJS.ErrnoException | null): void => {
      this.#threads.leave();
      this.#loopWrites.flushEnded();
      this.#note(error ?? undefined);
      if (error !== null) this.#flushFailed = true;
      if (this.#flushFailed) answered.push(...this.#nextFlush.splice(0));
      this.#flushRuns = this.#nextFlush.length > 0;
      if (this.#flushRuns) this.#startFlush();
      for (const completion of answered) {
        completion.done(this.#flushFailed ? 'io-error' : undefined);
        this.#leave();
      }
    };
    this.#threads.enter(() => fs.fdatasync(this.#fd, synced));
  };

  #writeChunks(offsetBytes: number, lengthBytes: number, chunks: readonly Uint8Array[], done: Done): void {
    let rest = chunks;
    let written = 0;
    const next = (): void => {
      const some = rest.length > chunksPerCallMax ? rest.slice(0, chunksPerCallMax) : rest;
      fs.writev(this.#fd, some, offsetBytes + written, taken);
    };
    const taken = (error: NodeJS.ErrnoException | null, bytesWritten: number): void => {
      this.#threads.leave();
      if (error !== null) return done(this.#note(error));
      written += bytesWritten;
      if (written === lengthBytes) return done(undefined);
      if (bytesWritten === 0) return done('io-error');
      rest = withoutFirst(rest, bytesWritten);
      this.#threads.enter(next);
    };
    this.#threads.enter(next);
  }

  /** Bounded pieces, one after the other. */
  #writeZeroes(offsetBytes: number, lengthBytes: number, done: Done): void {
    this.#zeroes ??= Buffer.alloc(zeroPieceBytes);
    const zeroes = this.#zeroes;
    let written = 0;
    const next = (): void => {
      const piece = zeroes.subarray(0, Math.min(zeroPieceBytes, lengthBytes - written));
      this.#writeChunks(offsetBytes + written, piece.length, [piece], (error) => {
        written += piece.length;
        if (error !== undefined || written === lengthBytes) done(error);
        else next();
      });
    };
    next();
  }
}

/** The chunks that hold the first `bytes` bytes. */
function firstOf(chunks: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const first: Uint8Array[] = [];
  let left = bytes;
  for (const chunk of chunks) {
    if (left === 0 || first.length === chunksPerCallMax) break;
    const part = chunk.length <= left ? chunk : chunk.subarray(0, left);
    first.push(part);
    left -= part.length;
  }
  return first;
}

/** The chunks that are left after their first `bytes` bytes. */
function withoutFirst(chunks: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skip = bytes;
  for (const [index, chunk] of chunks.entries()) {
    if (skip < chunk.length) return [chunk.subarray(skip), ...chunks.slice(index + 1)];
    skip -= chunk.length;
  }
  assertInvariant(false, 'no more bytes are written than there are');
}

/** Maps data and holes; where the file system cannot tell, everything is data. */
function mapExtents(
  fd: number,
  threads: ThreadShare,
  startBytes: number,
  endBytes: number,
  done: (extents: readonly AllocationExtent[]) => void,
): void {
  const extents: AllocationExtent[] = [];
  let atBytes = startBytes;
  const add = (untilBytes: number, hole: boolean): void => {
    const lengthBytes = Math.min(untilBytes, endBytes) - atBytes;
    if (lengthBytes <= 0) return;
    extents.push({ lengthBytes, hole, zero: hole });
    atBytes += lengthBytes;
  };
  const seek: typeof seekAsync = (file, whence, offsetBytes, answer) =>
    threads.enter(() =>
      seekAsync(file, whence, offsetBytes, (error, result) => {
        threads.leave();
        answer(error, result);
      }),
    );
  const nextData = (): void => {
    if (atBytes >= endBytes || extents.length >= allocationExtentsMax) return done(extents);
    seek(fd, 'data', atBytes, (error, dataBytes) => {
      if (error !== undefined) {
        add(endBytes, error.code === 'ENXIO');
        return done(extents);
      }
      add(dataBytes, true);
      if (atBytes >= endBytes) return done(extents);
      seek(fd, 'hole', atBytes, (holeError, holeBytes) => {
        // A hole at once: the range was punched between the two calls; it is looked at again.
        add(holeError === undefined ? holeBytes : endBytes, false);
        nextData();
      });
    });
  };
  nextData();
}
