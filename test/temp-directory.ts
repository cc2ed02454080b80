/** A directory of its own for each test, with a path short enough for unix sockets; removed afterwards. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TempDirectory {
  readonly path: string;
  file(name: string): string;
  remove(): void;
}

export function makeTempDirectory(): TempDirectory {
  const path = mkdtempSync(join(tmpdir(), 'vmpair-'));
  return {
    path,
    file: (name) => join(path, name),
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
