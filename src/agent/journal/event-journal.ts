/**
 * What happened on this node, for the timeline: changes of modules, decisions, processes, the other agent, what people did.
 * The newest are in memory and answer every question; all go to a bounded log on disk, which nobody waits for. After a loss
 * of power the last seconds may be missing; the audit log is the one that is durable.
 */
import { z } from 'zod';
import type { Decision } from '../../base/decision.ts';
import type { RecordLog } from '../store/record-log.ts';

/** In memory. */
export const eventsKeptMax = 4000;
/** Of one answer. */
export const eventsPerAnswerMax = 1000;

export const eventKinds = [
  'module-state',
  'decision',
  'process',
  'supervisor',
  'peer-agent',
  'agent',
  'action',
  'access',
  'certificate',
] as const;

export const eventSchema = z.object({
  /** Counts up on this node, also over restarts. */
  id: z.int(),
  /** Time of day. */
  at: z.string(),
  node: z.string(),
  kind: z.enum(eventKinds),
  module: z.string().optional(),
  /** For `module-state`: state and readiness before and after. */
  from: z.string().optional(),
  to: z.string().optional(),
  /** For `decision`: what was decided and by which rule. */
  action: z.string().optional(),
  rule: z.string().optional(),
  because: z.string(),
  /** For `action`: who asked. */
  by: z.string().optional(),
});

export type JournalEvent = z.infer<typeof eventSchema>;
/** `at`: when it happened, if that was not just now. */
export type NewEvent = Omit<JournalEvent, 'id' | 'at' | 'node'> & { readonly at?: string };

type DatedDecision = Decision<string> & { readonly at: string };

export interface EventQuery {
  /** Later than this id. */
  readonly after?: number | undefined;
  /** Not earlier than this time of day. */
  readonly since?: string | undefined;
  readonly vm?: string | undefined;
  readonly limit?: number | undefined;
}

export class EventJournal {
  readonly #log: RecordLog;
  readonly #node: string;
  readonly #wallTime: () => string;
  readonly #events: JournalEvent[];
  readonly #listeners = new Set<(event: JournalEvent) => void>();
  #nextId: number;

  /** Reads what an earlier process wrote. */
  static async open(log: RecordLog, node: string, wallTime: () => string): Promise<EventJournal> {
    const read = (await log.readAll()).flatMap((value) => {
      const parsed = eventSchema.safeParse(value);
      return parsed.success ? [parsed.data] : [];
    });
    return new EventJournal(log, node, wallTime, read.slice(-eventsKeptMax));
  }

  private constructor(log: RecordLog, node: string, wallTime: () => string, events: JournalEvent[]) {
    this.#log = log;
    this.#node = node;
    this.#wallTime = wallTime;
    this.#events = events;
    this.#nextId = events.reduce((highest, { id }) => Math.max(highest, id), 0) + 1;
  }

  add(event: NewEvent): void {
    const full: JournalEvent = { id: this.#nextId, at: this.#wallTime(), node: this.#node, ...event };
    this.#nextId += 1;
    this.#events.push(full);
    if (this.#events.length > eventsKeptMax) this.#events.shift();
    this.#log.append(full);
    for (const listener of this.#listeners) listener(full);
  }

  /** Oldest first, the newest that fit into `limit`; with `after`, the oldest of them, so that a reader can go on. */
  query({ after, since, vm, limit = eventsPerAnswerMax }: EventQuery): JournalEvent[] {
    const fitting = this.#events.filter(
      ({ id, at, module }) =>
        (after === undefined || id > after) &&
        (since === undefined || at >= since) &&
        (vm === undefined || module === vm),
    );
    return after === undefined ? fitting.slice(-limit) : fitting.slice(0, limit);
  }

  /** What the journal says of a module last; `undefined`: nothing that is still kept. */
  lastStateOf(module: string): string | undefined {
    return this.#events.findLast((event) => event.kind === 'module-state' && event.module === module)?.to;
  }

  /** Those of a module's last decisions (newest first) that the journal does not have, oldest first. */
  newDecisions(module: string, decisions: readonly DatedDecision[]): DatedDecision[] {
    const last = this.#events.findLast((event) => event.kind === 'decision' && event.module === module);
    const known = decisions.findIndex(
      ({ at, rule, action, because }) =>
        at === last?.at && rule === last.rule && action === last.action && because === last.because,
    );
    const fresh = known < 0 ? decisions : decisions.slice(0, known);
    return fresh.toReversed().map(({ at, action, rule, because }) => ({ at, action, rule, because }));
  }

  /** Calls for each later event; returns what ends that. */
  listen(listener: (event: JournalEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
