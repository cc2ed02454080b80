/**
 * What the checks must not forget, in a small file beside the metadata. One that is missing or unreadable is none: restarts count from
 * zero and no maintenance lasts.
 */
import { z } from 'zod';
import type { Log } from '../../src/base/log.ts';
import { aged, keptFactsSchema, type KeptFactsStore } from '../../src/checks/kept-facts.ts';
import { SmallFile } from './small-file.ts';

const fileSchema = z.object({
  /** Time of day of this host when it was written, ms since 1970. */
  writtenAtMs: z.number(),
  facts: keptFactsSchema,
});

export function openKeptFacts(metadataFile: string, log: Log): KeptFactsStore {
  const file = new SmallFile(`${metadataFile}.checks`, 'checks', log);
  const found = file.read(fileSchema);
  return {
    last: found && aged(found.facts, Date.now() - found.writtenAtMs),
    keep: (facts, then) => file.write({ writtenAtMs: Date.now(), facts }, then),
  };
}
