/**
 * A copy of the sources with a change planted in it, for the workers of a simulation: what is shipped has no switch. A change
 * is a replacement of text that must be found exactly once, so that a bug whose place has moved is noticed.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface SourceEdit {
  /** From the root of the project. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

const projectRoot = fileURLToPath(new URL('../../', import.meta.url));
/** All that the workers load. */
const copied = ['src', 'test/simulation', 'test/disk', 'package.json', 'tsconfig.json'];

/** Runs `use` with the root of a copy that has these edits, and removes the copy. Throws when an edit does not fit. */
export async function withPlanted<Result>(
  edits: readonly SourceEdit[],
  use: (root: string) => Promise<Result>,
): Promise<Result> {
  const root = `${mkdtempSync(join(tmpdir(), 'vmpair-planted-'))}/`;
  try {
    for (const path of copied) cpSync(`${projectRoot}${path}`, `${root}${path}`, { recursive: true });
    symlinkSync(`${projectRoot}node_modules`, `${root}node_modules`);
    for (const edit of edits) apply(root, edit);
    return await use(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function apply(root: string, { file, find, replace }: SourceEdit): void {
  const text = readFileSync(`${root}${file}`, 'utf8');
  const found = text.split(find).length - 1;
  if (found !== 1) throw new Error(`wanted this once in ${file}, found it ${found} times:\n${find}`);
  writeFileSync(
    `${root}${file}`,
    text.replace(find, () => replace),
  );
}
