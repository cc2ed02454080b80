/** A small file system of its own in a file, for tests; needs root to mount it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import type { TempDirectory } from './temp-directory.ts';

export interface SmallFileSystem {
  readonly path: string;
  unmount(): void;
}

/** XFS, which can share blocks between files. */
export function mountXfs(directory: TempDirectory, name: string, sizeBytes: number): SmallFileSystem {
  const image = directory.file(`${name}.xfs`);
  const path = directory.file(name);
  writeFileSync(image, '');
  truncateSync(image, sizeBytes);
  execFileSync('mkfs.xfs', ['-q', '-m', 'reflink=1', image]);
  mkdirSync(path);
  execFileSync('mount', ['-o', 'loop', image, path]);
  return { path, unmount: () => void execFileSync('umount', [path]) };
}
