/** SHA-256 and short documents for tests of revisions. */
import { createHash } from 'node:crypto';
import type { Documents } from '../../../src/config/configuration-set.ts';
import { makeRevision, type Revision } from '../../../src/agent/config/revision.ts';

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

export const note = { time: '2026-01-01T00:00:00Z', author: 'ann', comment: 'test' };

/** Documents that differ by `text`. */
export const documents = (text: string): Documents => ({ 'cluster.yaml': text });

/** A chain of revisions, one per text. */
export function chainOf(...texts: readonly string[]): Revision[] {
  const chain: Revision[] = [];
  for (const text of texts) chain.push(makeRevision(chain.at(-1), documents(text), note, sha256));
  return chain;
}
