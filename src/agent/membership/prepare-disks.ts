/**
 * The empty disk files that new hardware needs before its modules can start: sparse, of the configured size, and only where there is
 * no file. The directories are not made: they are mount points more often than not, and a file below one that is not mounted
 * fills the wrong disk.
 */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { ModuleConfig } from '../../config/module-config.ts';
import { createSparseFile } from '../../platform/locked-file.ts';

export interface PreparedDisks {
  readonly made: readonly string[];
  readonly kept: readonly string[];
  /** Nothing was made in these: mount or make them, and repeat. */
  readonly missingDirectories: readonly string[];
}

/** Throws `file-not-writable` or `file-io`. */
export function prepareDisks(modules: readonly ModuleConfig[], node: string): PreparedDisks {
  const made: string[] = [];
  const kept: string[] = [];
  const missing = new Set<string>();
  for (const { volumes, metadata } of modules) {
    if (!existsSync(dirname(metadata[node] ?? ''))) missing.add(dirname(metadata[node] ?? ''));
    for (const { file: files, sizeBytes } of volumes) {
      const file = files[node] as string;
      if (existsSync(file)) kept.push(file);
      else if (!existsSync(dirname(file))) missing.add(dirname(file));
      else {
        createSparseFile(file, sizeBytes);
        made.push(file);
      }
    }
  }
  return { made, kept, missingDirectories: [...missing] };
}
