/** Looks at the open disk files of a module and at what their paths name now, on the thread pool; one file after the other. */
import { stat, statfs } from 'node:fs/promises';
import type { DiskFileFacts } from '../cluster/disk-file-facts.ts';
import type { DiskFile } from './disk-file.ts';

export interface InspectedFile {
  readonly volume: string;
  readonly file: string;
  readonly sizeBytes: number;
  readonly open: DiskFile;
}

/** Bytes of the unit in which stat counts allocated blocks. */
const statBlockBytes = 512;

/** Answers once; never while the file system does not answer. */
export function inspectDiskFiles(
  files: readonly InspectedFile[],
  done: (facts: readonly DiskFileFacts[]) => void,
): void {
  void inspectAll(files).then(done);
}

async function inspectAll(files: readonly InspectedFile[]): Promise<DiskFileFacts[]> {
  const facts: DiskFileFacts[] = [];
  for (const file of files) facts.push(await inspect(file));
  return facts;
}

async function inspect({ volume, file, sizeBytes, open }: InspectedFile): Promise<DiskFileFacts> {
  const found = await stat(file).catch((error: NodeJS.ErrnoException) => error.code);
  const space = await statfs(file).catch(() => undefined);
  const isFile = typeof found === 'object';
  const same = isFile && found.dev === open.identity.dev && found.ino === open.identity.ino;
  return {
    volume,
    file,
    path: same ? 'same' : isFile ? 'another-file' : found === 'ENOENT' ? 'nothing' : 'unknown',
    freeBytes: space === undefined ? undefined : space.bavail * space.bsize,
    unallocatedBytes: same ? Math.max(0, sizeBytes - found.blocks * statBlockBytes) : 0,
  };
}
