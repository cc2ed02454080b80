/**
 * What each module of a node tells the others about the start of its VM: one notice per module process, replaced as a whole.
 * There is no coordinator: every module reads all notices and comes to its own verdict by the same rules. A notice of a
 * process that has ended counts for nothing; who reads them sees to that.
 *
 * Times are those of the host's monotonic clock, which all processes of a host share; ms.
 */
import { z } from 'zod';
import { priorityMax } from './start-settings.ts';

const name = z.string().max(64);

const noticeSchema = z.strictObject({
  version: z.literal(1),
  module: name,
  priority: z.number().min(0).max(priorityMax),
  after: z.array(name).max(64),
  /**
   * `idle`: nothing is to start. `expected`: this node lost the peer, or asks the arbiter, and will start the VM if it may.
   * `waiting`: for those in `after`. `ready`: for a slot. `starting`: holds a slot.
   */
  phase: z.enum(['idle', 'expected', 'waiting', 'ready', 'starting']),
  /** Since when the VM is to start. */
  sinceMs: z.number(),
  /** Of an expected start: nobody gives way to it any longer than until then. */
  expectedByMs: z.number(),
  /** Slots that it gave back because the VM did not come up. */
  failedTurns: z.int().min(0),
  /** Where the VM of the pair runs, as far as this node knows. */
  vm: z.enum(['here', 'at-peer', 'off']),
  /** Another one for each cold start of the VM of the pair; absent: not known. */
  vmStart: z.string().max(64).optional(),
  /** A failover would start the VM here. */
  wouldRun: z.boolean(),
  needs: z.strictObject({ memoryBytes: z.number().min(0), cpus: z.number().min(0) }).optional(),
});

export type StartNotice = z.infer<typeof noticeSchema>;
export type VmNeeds = NonNullable<StartNotice['needs']>;

/** `undefined` for anything that is no notice. */
export function parseNotice(value: unknown): StartNotice | undefined {
  const parsed = noticeSchema.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}
