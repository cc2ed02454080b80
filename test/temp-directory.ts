/** A directory of its own for each test, with a path short enough for unix sockets; removed afterwards. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TempDirectory {
  readonly path: string;
  file(name: string): string;
  remove(): void;
}

/** File system in memory that every Linux has. */
const memoryDirectory = '/dev/shm';

/** `in-memory`: what other programs do to the disk of this machine does not slow it down; nothing there is durable. */
export function makeTempDirectory(place: 'on-disk' | 'in-memory' = 'on-disk'): TempDirectory {
  const path = mkdtempSync(join(place === 'in-memory' ? memoryDirectory : tmpdir(), 'vmpair-'));
  return {
    path,
    file: (name) => join(path, name),
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
