/**
 * Files that are replaced as a whole: after `replaceFile` answered, the new content survives a loss of power;
 * at every instant before, a reader sees the complete old or the complete new content.
 *
 * Order: write a new file, fsync it, rename it over the old one, fsync the directory. After an error that was
 * raised once the rename had begun (`renamed` is true), nobody knows which of the two a loss of power would
 * leave.
 */
import { randomBytes } from 'node:crypto';
import { open, rename, unlink } from 'node:fs/promises';
import path from 'node:path';
import { type FileOrigin, originOf } from './file-origin.ts';

/** Names of files that a crash left behind unfinished end like this. */
export const unfinishedPattern = /\.[0-9a-f]{16}\.tmp$/;

export class ReplaceError extends Error {
  override readonly name = 'ReplaceError';
  /** False: the old file is untouched. */
  readonly renamed: boolean;

  constructor(file: string, renamed: boolean, cause: unknown) {
    super(`cannot replace ${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.renamed = renamed;
  }
}

/** Makes the names in a directory durable. Windows cannot flush a directory and journals names by itself. */
export async function flushDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Durably replaces or creates `file`, with file mode `mode`. Content may depend on the origin that the file will have.
 * Throws `ReplaceError`.
 */
export async function replaceFile(
  file: string,
  content: string | ((origin: FileOrigin) => string),
  mode: number,
): Promise<void> {
  const unfinished = `${file}.${randomBytes(8).toString('hex')}.tmp`;
  let renamed = false;
  try {
    const handle = await open(unfinished, 'wx', mode);
    try {
      const text =
        typeof content === 'string' ? content : content(originOf(await handle.stat({ bigint: true })));
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    renamed = true;
    await rename(unfinished, file);
    await flushDirectory(path.dirname(file));
  } catch (error) {
    if (!renamed) await unlink(unfinished).catch(() => undefined);
    throw new ReplaceError(file, renamed, error);
  }
}
