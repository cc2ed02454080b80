/**
 * Whether the files under the configuration directory are those of the configuration: a literal table over three texts of one
 * document. Pure. A file that a crash left behind an older revision is not drift; one that somebody edited is, and is
 * never overwritten without being asked.
 */
import type { Documents } from '../../config/configuration-set.ts';

/** `current`: as the head says. `to-apply`: as the revision before it, or missing where it is new. `drifted`: by hand. */
export type FileState = 'current' | 'to-apply' | 'drifted';

export interface DocumentState {
  readonly path: string;
  readonly state: FileState;
  readonly rule: string;
  /** One sentence for a person, without the full stop. */
  readonly because: string;
}

interface Texts {
  /** In the head; `undefined`: it has no such document. */
  readonly head: string | undefined;
  /** In the revision that was applied last. */
  readonly applied: string | undefined;
  /** On disk. */
  readonly file: string | undefined;
}

interface DriftRow {
  readonly rule: string;
  readonly state: FileState;
  readonly matches: (texts: Texts) => boolean;
  readonly because: (path: string) => string;
}

export const driftTable: readonly DriftRow[] = [
  {
    rule: 'as-configured',
    state: 'current',
    matches: ({ head, file }) => file === head,
    because: (path) => `${path} is as the configuration says`,
  },
  {
    rule: 'not-yet-applied',
    state: 'to-apply',
    matches: ({ applied, file }) => file === applied,
    because: (path) => `${path} is that of an earlier revision`,
  },
  {
    rule: 'file-deleted',
    state: 'drifted',
    matches: ({ file }) => file === undefined,
    because: (path) => `${path} was deleted by hand`,
  },
  {
    rule: 'file-added',
    state: 'drifted',
    matches: ({ head, applied }) => head === undefined && applied === undefined,
    because: (path) => `${path} was added by hand`,
  },
  {
    rule: 'file-edited',
    state: 'drifted',
    matches: () => true,
    because: (path) => `${path} was edited by hand`,
  },
];

/** State of every document that is configured, was applied or is on disk, in the order of the paths. */
export function documentStates(
  head: Documents,
  applied: Documents,
  files: Documents,
): readonly DocumentState[] {
  const paths = [...new Set([head, applied, files].flatMap((documents) => Object.keys(documents)))].sort();
  return paths.map((path) => {
    const texts = { head: head[path], applied: applied[path], file: files[path] };
    const row = driftTable.find(({ matches }) => matches(texts)) as DriftRow;
    return { path, state: row.state, rule: row.rule, because: row.because(path) };
  });
}
