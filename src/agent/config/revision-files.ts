/** The directory of the revisions of one node, as the few operations that the store needs; tests stand in for it. */
import { mkdir, readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { flushDirectory, replaceFile, unfinishedPattern } from '../../platform/durable-file.ts';

export interface RevisionFiles {
  /** For messages. */
  readonly directory: string;
  /** Names of all finished files. */
  list(): Promise<readonly string[]>;
  /** `undefined`: there is no such file. */
  read(name: string): Promise<string | undefined>;
  /** Durable and as a whole when it resolves; before, a reader sees all of the old content or all of the new one. */
  replace(name: string, text: string): Promise<void>;
  /** Idempotent; durable when it resolves. */
  remove(name: string): Promise<void>;
}

/** Makes the directory, for root only, and removes what a crash left unfinished. */
export async function openRevisionFiles(directory: string): Promise<RevisionFiles> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const unfinished = (await readdir(directory)).filter((name) => unfinishedPattern.test(name));
  for (const name of unfinished) await unlink(join(directory, name));
  return {
    directory,
    list: async () => (await readdir(directory)).filter((name) => !unfinishedPattern.test(name)),
    read: async (name) => {
      try {
        return await readFile(join(directory, name), 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
    },
    replace: (name, text) => replaceFile(join(directory, name), text, 0o600),
    remove: async (name) => {
      await unlink(join(directory, name)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
      await flushDirectory(directory);
    },
  };
}
