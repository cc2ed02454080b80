/**
 * The mark that a disk of a module is in doubt, as a file in the run-time directory: written in the same turn as the error is
 * seen, and not on the disk that fails. The directory is emptied by a boot, and so is the page cache that the doubt is about.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Log } from '../base/log.ts';
import type { DoubtMark } from '../cluster/disk-trouble.ts';
import type { DiskDoubt } from '../disk/state.ts';

/** What an earlier process of this boot noted. A mark that cannot be read, or says something else, is a failed flush. */
export function readDoubtMark(file: string): DiskDoubt {
  try {
    return readFileSync(file, 'utf8').trim() === 'file-replaced' ? 'file-replaced' : 'flush-failed';
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return missing ? 'none' : 'flush-failed';
  }
}

export function doubtMarkFile(file: string, log: Log): DoubtMark {
  return {
    note: (doubt) => {
      try {
        writeFileSync(file, `${doubt}\n`, { mode: 0o600 });
      } catch (error) {
        log.error('doubt-not-marked', { file, because: String(error) });
      }
    },
    forget: () => rmSync(file, { force: true }),
  };
}
