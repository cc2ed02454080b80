/**
 * Which files the disk files of a module are, in a small file beside the metadata: so that a start notices a file that was replaced
 * while no process had it open. A file is known by its inode and the time of its birth, because inode numbers are used again. Not
 * by the device, whose number a boot may change.
 *
 * Noticed are files that were restored, copied, or moved from another file system, whatever they hold: the metadata cannot tell.
 * Not noticed is what is written into the file that is there, and, where a file system knows no times of birth, a new file that got the
 * old one's inode number. A record that is missing or unreadable says nothing, and is written anew.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Log } from '../base/log.ts';
import { replaceFile } from './durable-file.ts';

export interface RecordedFile {
  readonly volume: string;
  readonly file: string;
  readonly identity: { readonly ino: number; readonly bornMs: number };
}

const recordSchema = z.record(z.string(), z.object({ inode: z.number(), bornMs: z.number() }));
type DiskFileIds = z.infer<typeof recordSchema>;

export class DiskFileRecord {
  /** Volumes whose file is not the one that was recorded. */
  readonly replaced: readonly string[];
  readonly #file: string;
  readonly #ids: DiskFileIds;
  readonly #log: Log;
  #recorded: string;

  constructor(metadataFile: string, files: readonly RecordedFile[], log: Log) {
    this.#file = `${metadataFile}.disk-files`;
    this.#log = log;
    this.#ids = Object.fromEntries(
      files.map(({ volume, identity }) => [volume, { inode: identity.ino, bornMs: identity.bornMs }]),
    );
    const recorded = this.#read();
    this.#recorded = JSON.stringify(recorded);
    const isReplaced = ({ volume, identity }: RecordedFile): boolean => {
      const before = recorded[volume];
      return before !== undefined && (before.inode !== identity.ino || before.bornMs !== identity.bornMs);
    };
    const replaced = files.filter(isReplaced);
    this.replaced = replaced.map(({ volume }) => volume);
    for (const { volume, file } of replaced)
      log.warn('disk-file-replaced', { volume, file, because: 'it is not the file that was open before' });
  }

  /** From now on the files that are open are those of the module; nothing happens when they are recorded already. */
  async keep(): Promise<void> {
    const text = JSON.stringify(this.#ids);
    if (text === this.#recorded) return;
    this.#recorded = text;
    try {
      await replaceFile(this.#file, `${text}\n`, 0o600);
    } catch (error) {
      // It costs a check at the next start, or a copy that was not needed.
      this.#log.warn('disk-files-not-recorded', { file: this.#file, because: String(error) });
    }
  }

  #read(): DiskFileIds {
    let text: string;
    try {
      text = readFileSync(this.#file, 'utf8');
    } catch {
      return {};
    }
    try {
      return recordSchema.parse(JSON.parse(text));
    } catch (error) {
      this.#log.warn('disk-file-record-unreadable', { file: this.#file, because: String(error) });
      return {};
    }
  }
}
