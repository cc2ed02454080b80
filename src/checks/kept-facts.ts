/**
 * What the checks of a module must not forget when its process is started again: counted restarts, maintenance, why the module is
 * stopped or waits. It holds ages and remaining times, not times of day; how long it lay on disk is the difference of two times of day of
 * this host, so a clock that is set meanwhile can only make a wait longer or shorter, never endless. Pure.
 */
import { z } from 'zod';

const reason = z.object({ rule: z.string(), because: z.string() });

export const keptFactsSchema = z.object({
  restarts: z.object({ epoch: z.number().int().min(0), agesMs: z.array(z.number().min(0)) }),
  maintenance: z.object({ sequence: z.number().int().min(0), leftMs: z.number().min(0) }),
  /** The VM ended in this maintenance and is to stay down until its end. */
  endedInMaintenance: z.boolean(),
  /** Since a rule moved the VM to the other node. */
  swapAgeMs: z.number().min(0).optional(),
  /** A rule made this node leave until its checks are well. */
  waiting: reason.optional(),
  /** A rule stopped this node. */
  stopped: reason.optional(),
});

export type KeptFacts = z.infer<typeof keptFactsSchema>;
export type KeptReason = z.infer<typeof reason>;

/** What they say after `elapsedMs`; a clock that was set back counts as no time. */
export function aged(facts: KeptFacts, elapsedMs: number): KeptFacts {
  const elapsed = Math.max(0, elapsedMs);
  const { restarts, maintenance, swapAgeMs } = facts;
  return {
    ...facts,
    restarts: { ...restarts, agesMs: restarts.agesMs.map((ageMs) => ageMs + elapsed) },
    maintenance: { ...maintenance, leftMs: Math.max(0, maintenance.leftMs - elapsed) },
    ...(swapAgeMs === undefined ? {} : { swapAgeMs: swapAgeMs + elapsed }),
  };
}

export interface KeptFactsStore {
  /** Of an earlier process, aged; `undefined`: none. */
  readonly last: KeptFacts | undefined;
  /** `then` when they are durable, or cannot be made so, which is logged. */
  keep(facts: KeptFacts, then: () => void): void;
}
