/**
 * What the checks must not forget, in a small file beside the metadata. Only the newest is written when several wait. One that is missing
 * or unreadable is none: restarts count from zero and no maintenance lasts; one that cannot be written is logged.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Log } from '../../src/base/log.ts';
import { aged, type KeptFacts, keptFactsSchema, type KeptFactsStore } from '../../src/checks/kept-facts.ts';
import { replaceFile } from '../../src/platform/durable-file.ts';

const fileSchema = z.object({
  /** Time of day of this host when it was written, ms since 1970. */
  writtenAtMs: z.number(),
  facts: keptFactsSchema,
});

export function openKeptFacts(metadataFile: string, log: Log): KeptFactsStore {
  const file = `${metadataFile}.checks`;
  let next: { readonly text: string; readonly waiting: (() => void)[] } | undefined;
  let writing = false;
  const write = (): void => {
    if (next === undefined || writing) return;
    const { text, waiting } = next;
    next = undefined;
    writing = true;
    void replaceFile(file, text, 0o600)
      .catch((error: unknown) => log.warn('checks-not-kept', { file, because: String(error) }))
      .finally(() => {
        writing = false;
        for (const then of waiting) then();
        write();
      });
  };
  return {
    last: read(file, log),
    keep(facts, then) {
      const text = `${JSON.stringify({ writtenAtMs: Date.now(), facts })}\n`;
      next = { text, waiting: [...(next?.waiting ?? []), then] };
      write();
    },
  };
}

function read(file: string, log: Log): KeptFacts | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  try {
    const { writtenAtMs, facts } = fileSchema.parse(JSON.parse(text));
    return aged(facts, Date.now() - writtenAtMs);
  } catch (error) {
    log.warn('checks-unreadable', { file, because: String(error) });
    return undefined;
  }
}
