/** What was read or written before a measurement stays in the page cache, for some systems more than for others. */
import { closeSync, fdatasyncSync, openSync } from 'node:fs';
import { adviseFile } from '../src/platform/libc.ts';

/** What is read of the file afterwards comes from the disk. */
export function dropPageCache(path: string): void {
  const fd = openSync(path, 'r+');
  fdatasyncSync(fd);
  adviseFile(fd, 'do-not-need');
  closeSync(fd);
}
