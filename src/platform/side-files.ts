/**
 * Side files in the real file system: `DISKFILE.given-up-TIME` beside each disk file, sparse. Written under another name,
 * synced, renamed, and the directory synced; after any error none of one attempt is left. Files of earlier attempts stay.
 */
import { createHash } from 'node:crypto';
import { readdirSync, realpathSync } from 'node:fs';
import { type FileHandle, open, rename, statfs, unlink } from 'node:fs/promises';
import path from 'node:path';
import { sizeText } from '../base/size-text.ts';
import type { SideFileContent, SideFilePort } from '../cluster/side-files.ts';
import {
  encodeDescription,
  encodeHead,
  type SideFileDescription,
  sideFileDataOffsetBytes,
} from '../disk/side-file.ts';
import { flushDirectory } from './durable-file.ts';

/** Room that is left beside what is kept, bytes. */
const reserveBytes = 64 * 1024 * 1024;
/** Copied at a time. */
const pieceBytes = 1024 * 1024;
/** Longest range with one checksum, so that damage can be placed. */
const rangeBytesMax = 64 * 1024 * 1024;
const suffix = '.given-up-';
const unfinished = '.unfinished';

export interface SideFileVolume {
  readonly file: string;
  readonly sizeBytes: number;
}

export interface SideFileIdentity {
  readonly clusterId: string;
  readonly moduleId: string;
  readonly node: string;
}

export class SideFiles implements SideFilePort {
  readonly #identity: SideFileIdentity;
  readonly #volumes: readonly SideFileVolume[];

  constructor(identity: SideFileIdentity, volumes: readonly SideFileVolume[]) {
    this.#identity = identity;
    this.#volumes = volumes.map(({ file, sizeBytes }) => ({ file: realpathSync(file), sizeBytes }));
  }

  /** Complete side files that are there now, by name. */
  list(): string[] {
    return this.#volumes.flatMap(({ file }) => {
      const [directory, start] = [path.dirname(file), path.basename(file) + suffix];
      const names = readdirSync(directory).filter(
        (name) => name.startsWith(start) && !name.endsWith(unfinished),
      );
      return names.sort().map((name) => path.join(directory, name));
    });
  }

  checkRoom(neededBytes: number, done: (problem: string | undefined) => void): void {
    this.#roomProblem(neededBytes).then(done, (error: unknown) => done(messageOf(error)));
  }

  write(content: SideFileContent, done: (result: readonly string[] | string) => void): void {
    this.#writeAll(content).then(done, (error: unknown) => done(messageOf(error)));
  }

  /** Each file system is taken to need all of it: an upper bound. */
  async #roomProblem(neededBytes: number): Promise<string | undefined> {
    for (const { file } of this.#volumes) {
      const directory = path.dirname(file);
      const { bavail, bsize } = await statfs(directory);
      const wanted = neededBytes + reserveBytes;
      if (bavail * bsize < wanted)
        return `the file system of ${directory} has ${sizeText(bavail * bsize)} free, and up to ${sizeText(wanted)} is needed`;
    }
    return undefined;
  }

  async #writeAll(content: SideFileContent): Promise<string[]> {
    const madeAt = new Date().toISOString();
    const stamp = madeAt.replaceAll(/[:.]/g, '-');
    const files = this.#volumes.map(({ file }) => `${file}${suffix}${stamp}`);
    try {
      for (const [index, file] of files.entries())
        await this.#writeOne(index, content, madeAt, file + unfinished);
      for (const file of files) await rename(file + unfinished, file);
      for (const directory of new Set(files.map((file) => path.dirname(file))))
        await flushDirectory(directory);
      return files;
    } catch (error) {
      for (const file of files) {
        await unlink(file).catch(() => undefined);
        await unlink(file + unfinished).catch(() => undefined);
      }
      throw error;
    }
  }

  async #writeOne(index: number, content: SideFileContent, madeAt: string, target: string): Promise<void> {
    const { file, sizeBytes } = this.#volumes[index] as SideFileVolume;
    const volume = content.volumes[index];
    const source = await open(file, 'r');
    try {
      const side = await open(target, 'wx', 0o600);
      try {
        const ranges: SideFileDescription['ranges'] = [];
        for (const range of volume?.ranges ?? [])
          for (let done = 0; done < range.lengthBytes; done += rangeBytesMax) {
            const lengthBytes = Math.min(rangeBytesMax, range.lengthBytes - done);
            const offsetBytes = range.offsetBytes + done;
            ranges.push({
              offsetBytes,
              lengthBytes,
              sha256: await copyRange(source, side, offsetBytes, lengthBytes),
            });
          }
        const { since, seenAt, keep } = content;
        const described = encodeDescription({
          ...this.#identity,
          kept: keep,
          volume: volume?.name ?? '',
          sizeBytes,
          ...(since === undefined ? {} : { since }),
          ...(seenAt === undefined ? {} : { seenAt }),
          madeAt,
          ranges,
        });
        await writeAll(side, described, sideFileDataOffsetBytes + sizeBytes);
        await side.sync();
        await writeAll(side, encodeHead(sizeBytes, described), 0);
        await side.sync();
      } finally {
        await side.close();
      }
    } finally {
      await source.close();
    }
  }
}

/** Copies one range, holes for zeroes; answers its SHA-256. */
async function copyRange(
  source: FileHandle,
  side: FileHandle,
  offsetBytes: number,
  lengthBytes: number,
): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(pieceBytes);
  for (let done = 0; done < lengthBytes; done += pieceBytes) {
    const piece = buffer.subarray(0, Math.min(pieceBytes, lengthBytes - done));
    piece.fill(0);
    // Behind the end of a disk file that is too short, nothing was ever written: zeroes.
    for (let at = 0; at < piece.length; ) {
      const { bytesRead } = await source.read(piece, at, piece.length - at, offsetBytes + done + at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    hash.update(piece);
    if (piece.some((byte) => byte !== 0))
      await writeAll(side, piece, sideFileDataOffsetBytes + offsetBytes + done);
  }
  return hash.digest('hex');
}

async function writeAll(side: FileHandle, bytes: Uint8Array, offsetBytes: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await side.write(bytes, at, bytes.length - at, offsetBytes + at);
    at += bytesWritten;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
