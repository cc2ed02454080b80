/**
 * A revision: all documents of the cluster's configuration at one time, and what it was made from. Revisions form a chain, and
 * the identifier of one is the digest of its parent and its documents, so that two nodes with one head have one history. Who made
 * it, when and why is not in the digest: the same change made on both nodes is the same revision.
 * Pure: takes the digest as a port.
 */
import { z } from 'zod';
import type { Documents } from '../../config/configuration-set.ts';

/** SHA-256 of a text, as 64 lower-case hex digits. */
export type Digest = (text: string) => string;

export interface Revision {
  /** Counts from 1 along the chain. */
  readonly number: number;
  readonly id: string;
  /** `undefined`: the first one. */
  readonly parent?: string | undefined;
  /** Time of day, for people. */
  readonly time: string;
  readonly author: string;
  readonly comment: string;
  readonly documents: Documents;
}

/** What a person adds to a change. */
export interface RevisionNote {
  readonly time: string;
  readonly author: string;
  readonly comment: string;
}

const authorCharactersMax = 200;
const commentCharactersMax = 2000;
const documentsMax = 200;

export const revisionIdPattern = /^[0-9a-f]{64}$/;
const revisionId = z.string().regex(revisionIdPattern);

/** Shape of a revision that came from a file or a peer; verifyRevision checks the rest. */
export const revisionSchema = z.strictObject({
  number: z.int().min(1),
  id: revisionId,
  parent: revisionId.optional(),
  time: z.string().max(40),
  author: z.string().max(authorCharactersMax),
  comment: z.string().max(commentCharactersMax),
  documents: z
    .record(z.string().max(200), z.string())
    .refine((documents) => Object.keys(documents).length <= documentsMax),
});

/** The bytes that an identifier stands for: the order of the documents does not count. */
function canonicalText(number: number, parent: string | undefined, documents: Documents): string {
  const entries = Object.entries(documents).sort(([left], [right]) => (left < right ? -1 : 1));
  return JSON.stringify(['vmpair-revision-1', number, parent ?? null, entries]);
}

/** The revision that follows `parent`, or the first one. */
export function makeRevision(
  parent: Pick<Revision, 'id' | 'number'> | undefined,
  documents: Documents,
  note: RevisionNote,
  digest: Digest,
): Revision {
  const number = (parent?.number ?? 0) + 1;
  const id = digest(canonicalText(number, parent?.id, documents));
  const { time, author, comment } = note;
  return {
    number,
    id,
    ...(parent === undefined ? {} : { parent: parent.id }),
    time,
    author: author.slice(0, authorCharactersMax),
    comment: comment.slice(0, commentCharactersMax),
    documents,
  };
}

/** What is wrong with something that should be a revision; `undefined`: its content is the one that its identifier stands for. */
export function revisionProblem(value: unknown, digest: Digest): string | undefined {
  const parsed = revisionSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return `${issue?.path.join('.') || 'the whole'}: ${issue?.message ?? 'not a revision'}`;
  }
  const { number, id, parent, documents } = parsed.data;
  if ((number === 1) !== (parent === undefined))
    return `number ${number} with${parent ? '' : 'out'} a parent`;
  const found = digest(canonicalText(number, parent, documents));
  return found === id ? undefined : `content whose identifier is ${found}, not ${id}`;
}

/** Whether `child` follows `parent` directly. */
export function follows(
  child: Pick<Revision, 'number' | 'parent'>,
  parent: Pick<Revision, 'id' | 'number'> | undefined,
): boolean {
  return child.parent === parent?.id && child.number === (parent?.number ?? 0) + 1;
}

export function sameDocuments(left: Documents, right: Documents): boolean {
  const paths = Object.keys(left);
  return paths.length === Object.keys(right).length && paths.every((path) => left[path] === right[path]);
}
