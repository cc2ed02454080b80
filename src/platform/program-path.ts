/**
 * Where the compiled programs of this package are: always under `dist/`, whether the caller itself runs from the sources
 * or from `dist/`, so that a started process never depends on a compiler.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WorldError } from '../base/errors.ts';

function findPackageRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package.json'))) {
    const parent = dirname(directory);
    if (parent === directory) return directory;
    directory = parent;
  }
  return directory;
}

export const packageRoot: string = findPackageRoot();

/** Version of this package. */
export function readVersion(): string {
  const text = readFileSync(join(packageRoot, 'package.json'), 'utf8');
  return (JSON.parse(text) as { readonly version: string }).version;
}

/** Path of a compiled program, for example `src/supervisor/main`. Throws `file-missing` when it was not built. */
export function programPath(program: string): string {
  const path = join(packageRoot, 'dist', `${program}.js`);
  if (existsSync(path)) return path;
  throw new WorldError('file-missing', {
    wanted: `the compiled program ${program}`,
    found: `no file ${path}`,
    next: 'Run "npm run build" in the package directory, or install the package again.',
  });
}
