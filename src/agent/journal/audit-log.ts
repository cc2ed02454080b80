/**
 * Who did what: one record for each call that changes something, and for each one that was refused, on stable storage before
 * the call is answered. Secrets never get into it. A disk that refuses the record does not refuse the call: in an emergency
 * somebody must still be able to act; it is in the program's log then.
 */
import { z } from 'zod';
import type { RecordLog } from '../store/record-log.ts';

/** Newest first, of one answer. */
export const auditPerAnswerMax = 1000;

export const auditSchema = z.object({
  at: z.string(),
  node: z.string(),
  /** `local`, `user anna`, `token 1f2e3d4c`, `peer B for user anna`, or `nobody`. */
  who: z.string(),
  /** Address, or `this host`. */
  from: z.string(),
  /** Method and path. */
  what: z.string(),
  args: z.record(z.string(), z.unknown()),
  outcome: z.enum(['done', 'accepted', 'refused', 'failed']),
  status: z.int(),
  because: z.string(),
  job: z.string().optional(),
});

export type AuditRecord = z.infer<typeof auditSchema>;

const secretKeys = new Set(['password', 'newPassword', 'oldPassword', 'secret', 'token', 'keyPem']);
/** Of one argument as text. */
const argumentCharactersMax = 500;

/** Arguments as they may be kept: without secrets, and short. */
export function auditedArguments(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return {};
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => {
      if (secretKeys.has(key)) return [key, '(not kept)'];
      const text = JSON.stringify(each) ?? '';
      return [
        key,
        text.length <= argumentCharactersMax ? each : `${text.slice(0, argumentCharactersMax)}...`,
      ];
    }),
  );
}

export class AuditLog {
  readonly #log: RecordLog;
  readonly #node: string;
  readonly #wallTime: () => string;

  constructor(log: RecordLog, node: string, wallTime: () => string) {
    this.#log = log;
    this.#node = node;
    this.#wallTime = wallTime;
  }

  /** Resolves when the record is on stable storage, or the disk has refused it. */
  async add(record: Omit<AuditRecord, 'at' | 'node'>): Promise<void> {
    await this.#log.appendDurably({ at: this.#wallTime(), node: this.#node, ...record }).catch(() => {});
  }

  /** Newest first. */
  async query({
    limit,
    since,
  }: {
    readonly limit: number;
    readonly since?: string | undefined;
  }): Promise<AuditRecord[]> {
    const found = (await this.#log.readAll()).flatMap((value) => {
      const parsed = auditSchema.safeParse(value);
      return parsed.success && (since === undefined || parsed.data.at >= since) ? [parsed.data] : [];
    });
    return found.slice(-limit).reverse();
  }
}
