/**
 * Kept images in real files: a clone of each disk file beside it, where the file system can share blocks between files (XFS, btrfs),
 * and one small file beside the metadata that says that all of them are complete. Without that file, clones are rubbish that
 * the next attempt removes.
 *
 * Restoring clones back into the disk file that is there, which stays open and locked: a crash in the middle is repeated from
 * the image.
 */
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { open, stat, statfs, unlink } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { hexIdPattern } from '../base/identity.ts';
import type { Log } from '../base/log.ts';
import { sizeText } from '../base/size-text.ts';
import type { ImageLineage, KeptImageFacts, KeptImagePort } from '../cluster/kept-image.ts';
import { flushDirectory, replaceFile } from './durable-file.ts';
import { reflink } from './libc.ts';

/** Room that must be left beside what the resync may take, bytes. */
const reserveBytes = 64 * 1024 * 1024;

const factsSchema = z.object({
  path: z.array(z.string().regex(hexIdPattern)),
  generation: z.number().int(),
  holder: z.string().optional(),
  keptAt: z.string(),
  contentOf: z.string(),
  files: z.array(z.string()),
});

export function imageFileOf(diskFile: string): string {
  return `${realpathSync(diskFile)}.kept-image`;
}

export function manifestFileOf(metadataFile: string): string {
  return `${metadataFile}.kept-image`;
}

export class KeptImageFiles implements KeptImagePort {
  readonly found: KeptImageFacts | undefined;
  readonly #diskFiles: readonly string[];
  readonly #manifest: string;
  readonly #log: Log;
  /** Calls run one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(diskFiles: readonly string[], metadataFile: string, log: Log) {
    this.#diskFiles = diskFiles.map((file) => realpathSync(file));
    this.#manifest = manifestFileOf(metadataFile);
    this.#log = log;
    this.found = readManifest(this.#manifest, this.#images, log);
  }

  get #images(): string[] {
    return this.#diskFiles.map(imageFileOf);
  }

  keep(
    lineage: ImageLineage,
    neededBytes: number,
    isWanted: () => boolean,
    done: (result: KeptImageFacts | string) => void,
  ): void {
    this.#next(async () => {
      try {
        await this.#remove();
        const problem = await this.#roomProblem(neededBytes);
        if (problem !== undefined) return done(problem);
        done(await this.#clone(lineage, isWanted));
      } catch (error) {
        await this.#remove().catch(() => undefined);
        done(error instanceof CannotClone ? error.message : `it could not be made (${messageOf(error)})`);
      }
    });
  }

  restore(done: (problem: string | undefined) => void): void {
    this.#next(async () => {
      try {
        for (const [index, image] of this.#images.entries())
          await cloneInto(image, this.#diskFiles[index] as string, 'r+');
        done(undefined);
      } catch (error) {
        done(messageOf(error));
      }
    });
  }

  discard(done: () => void): void {
    this.#next(async () => {
      await this.#remove().catch((error: unknown) => {
        this.#log.warn('kept-image-not-removed', { manifest: this.#manifest, because: messageOf(error) });
      });
      done();
    });
  }

  #next(work: () => Promise<void>): void {
    this.#last = this.#last.then(work);
  }

  async #clone(lineage: ImageLineage, isWanted: () => boolean): Promise<KeptImageFacts> {
    const written = await Promise.all(this.#diskFiles.map(async (file) => (await stat(file)).mtimeMs));
    for (const [index, image] of this.#images.entries())
      await cloneInto(this.#diskFiles[index] as string, image, 'wx');
    for (const directory of new Set(this.#images.map((image) => path.dirname(image))))
      await flushDirectory(directory);
    const facts: KeptImageFacts = {
      path: lineage.path,
      generation: lineage.generation,
      holder: lineage.holder,
      keptAt: new Date().toISOString(),
      contentOf: new Date(Math.max(...written)).toISOString(),
      files: this.#images,
    };
    if (!isWanted()) throw new Error('it is not wanted any more');
    await replaceFile(this.#manifest, `${JSON.stringify(facts)}\n`, 0o600);
    return facts;
  }

  /** First it does not count any more, durably; then the files go. */
  async #remove(): Promise<void> {
    if (await unlinkIfThere(this.#manifest)) await flushDirectory(path.dirname(this.#manifest));
    for (const image of this.#images) await unlinkIfThere(image);
  }

  /** A resync must not fail for the sake of an image. */
  async #roomProblem(neededBytes: number): Promise<string | undefined> {
    const perDevice = new Map<number, { directory: string; allocatedBytes: number }>();
    for (const file of this.#diskFiles) {
      const { dev, blocks } = await stat(file);
      const before = perDevice.get(dev)?.allocatedBytes ?? 0;
      perDevice.set(dev, { directory: path.dirname(file), allocatedBytes: before + blocks * 512 });
    }
    for (const { directory, allocatedBytes } of perDevice.values()) {
      const { bavail, bsize } = await statfs(directory);
      const wanted = Math.min(neededBytes, allocatedBytes) + reserveBytes;
      const free = bavail * bsize;
      if (free < wanted)
        return `the file system of ${directory} has ${sizeText(free)} free, and the resync may need ${sizeText(wanted)} beside it`;
    }
    return undefined;
  }
}

class CannotClone extends Error {}

/** Makes `target` a clone of `source`, durably; its name is not flushed. */
async function cloneInto(source: string, target: string, flags: 'wx' | 'r+'): Promise<void> {
  const from = await open(source, 'r');
  try {
    const to = await open(target, flags, 0o600);
    try {
      if (!(await reflink(to.fd, from.fd)))
        throw new CannotClone(`the file system of ${target} cannot clone files`);
      await to.sync();
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
}

async function unlinkIfThere(file: string): Promise<boolean> {
  try {
    await unlink(file);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

/** What an earlier process completed; anything else is rubbish. */
function readManifest(manifest: string, images: readonly string[], log: Log): KeptImageFacts | undefined {
  let text: string;
  try {
    text = readFileSync(manifest, 'utf8');
  } catch {
    return undefined;
  }
  try {
    const facts = factsSchema.parse(JSON.parse(text));
    if (facts.files.join('\n') !== images.join('\n')) throw new Error('it is of other disk files');
    for (const file of facts.files) statSync(file);
    return { ...facts, holder: facts.holder };
  } catch (error) {
    log.warn('kept-image-unusable', { manifest, because: messageOf(error) });
    return undefined;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
