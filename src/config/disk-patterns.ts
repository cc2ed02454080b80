/**
 * Disk files by pattern: turns what an administrator writes when he adds a VM (`/srv/vm1/*.qcow2`) into the explicit volumes of
 * its `module.yaml`. It is asked once, on one node; the module that runs always names its files, because a file that
 * appears later must not become a volume by itself.
 */
import { realpathSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, extname, isAbsolute } from 'node:path';
import fastGlob from 'fast-glob';
import { WorldError } from '../base/errors.ts';
import { volumesMax } from '../disk/state.ts';
import { isModuleName } from './module-config.ts';
import { sizeAlignmentBytes } from './size.ts';

/** Longest name of a volume, characters. */
const nameCharactersMax = 31;

export interface FoundVolume {
  /** Derived from the name of the file; distinct within one answer. */
  readonly name: string;
  readonly file: string;
  /** Length of the file, rounded up to whole blocks of 4096 bytes. A sparse or compressed image may need a larger volume. */
  readonly sizeBytes: number;
}

/**
 * The files of this host that any of the patterns names, as volumes, in the order of their paths. A pattern without wildcards is a
 * path. Throws `config-invalid`: for a relative pattern, one that finds nothing, more files than a module has volumes, anything
 * that is not a plain file, an empty file, and a link that leads out of the directory in which it lies.
 */
export async function resolveDiskPatterns(patterns: readonly string[]): Promise<readonly FoundVolume[]> {
  const files = new Set<string>();
  for (const pattern of patterns) {
    if (!isAbsolute(pattern)) throw refused(pattern, 'an absolute path or pattern', 'a relative one');
    const found = await fastGlob(pattern, {
      onlyFiles: false,
      followSymbolicLinks: false,
      dot: false,
      unique: true,
    });
    if (found.length === 0) throw refused(pattern, 'at least one file', 'none');
    for (const file of found) files.add(file);
  }
  const sorted = [...files].sort();
  if (sorted.length > volumesMax)
    throw refused(
      patterns.join(' '),
      `at most ${volumesMax} files, one per volume`,
      `${sorted.length} files`,
    );
  const names = new Set<string>();
  return sorted.map((file) => {
    const { size } = plainFile(file);
    const name = freeName(file, names);
    names.add(name);
    return { name, file, sizeBytes: Math.ceil(size / sizeAlignmentBytes) * sizeAlignmentBytes };
  });
}

function plainFile(file: string): Stats {
  let stats: Stats;
  let real: string;
  let folder: string;
  try {
    stats = statSync(file);
    real = realpathSync(file);
    folder = realpathSync(dirname(file));
  } catch (error) {
    throw refused(file, 'a file that can be read', error instanceof Error ? error.message : String(error));
  }
  if (stats.isDirectory()) throw refused(file, 'only disk files', 'a directory');
  if (!stats.isFile()) throw refused(file, 'only disk files', 'no plain file');
  if (!real.startsWith(`${folder}/`)) throw refused(file, `a file in ${folder}`, `a link to ${real}`);
  if (stats.size === 0) throw refused(file, 'a file that holds a disk', 'an empty file');
  return stats;
}

/** A name that a volume may have, as near to that of the file as possible. */
function freeName(file: string, taken: ReadonlySet<string>): string {
  const plain = basename(file, extname(file))
    .replaceAll(/[^A-Za-z0-9_-]+/g, '-')
    .replace(/^[-_]+/, '')
    .slice(0, nameCharactersMax);
  const base = isModuleName(plain) ? plain : 'disk';
  for (let count = 1; ; count += 1) {
    const suffix = count === 1 ? '' : `-${count}`;
    const name = `${base.slice(0, nameCharactersMax - suffix.length)}${suffix}`;
    if (!taken.has(name)) return name;
  }
}

function refused(what: string, wanted: string, found: string): WorldError {
  return new WorldError('config-invalid', {
    wanted: `${what}: ${wanted}`,
    found,
    next: 'Correct the pattern, or name the files one by one; nothing was changed.',
  });
}
