/**
 * Control messages of the link: everything that is not guest data, as JSON in `control` frames. Foreign text is parsed
 * strictly; an unknown message or a wrong shape closes the connection.
 *
 * A handshake is a round: both sides say `hello`; the side that the resync table names as source proposes, the other makes
 * its part durable and accepts. Whenever something that the table reads changes before that, a new `hello` starts a new round,
 * and a proposal that names older rounds is ignored.
 */
import { z } from 'zod';
import { hexIdPattern, nodeNamePattern } from '../base/identity.ts';

const id = z.string().regex(hexIdPattern);
const node = z.string().regex(nodeNamePattern);
const dataFlag = z.enum(['fresh', 'up-to-date', 'outdated', 'inconsistent']);

/** What one side says of itself; the input of the resync table. */
const copyFacts = z.strictObject({
  data: dataFlag,
  path: z.array(id).max(64),
  generation: z.number().int().min(0),
  holder: z.union([z.literal('both'), node]).optional(),
  base: id.optional(),
  /** An arbiter operation of this side is not answered yet. */
  claimOpen: z.boolean(),
  /** The VM (or whoever uses the volumes) still runs on this side. */
  guestRuns: z.boolean(),
  /** This host lost its page cache since the copy was last in sync or alone. */
  rebooted: z.boolean(),
  /** Its disk file cannot be trusted to hold what this copy should. */
  diskDoubt: z.enum(['flush-failed', 'file-replaced']).optional(),
  lastRole: z.enum(['primary', 'secondary']),
  /** May write alone now: the arbiter, or what stands for it, has confirmed this copy. */
  alone: z.boolean().optional(),
  /** Boot of the peer with which this process, as an uninterrupted primary, was last in sync: only then can it resume. */
  resumeWithBoot: id.optional(),
  bootId: id,
});
export type CopyFacts = z.infer<typeof copyFacts>;

const hello = z.strictObject({
  type: z.literal('hello'),
  protocols: z.array(z.number().int()).max(16),
  clusterId: id,
  moduleId: id,
  self: node,
  volumes: z.array(z.strictObject({ name: z.string(), sizeBytes: z.number().int() })).max(16),
  instance: id,
  round: z.number().int(),
  /** The operator wants this module to run. */
  started: z.boolean(),
  /** Why it cannot run although the operator wants it to; for people. */
  failure: z.string().max(1000).optional(),
  /** The VM provably does not run there and nothing is served to it; of a node that cannot run: only then may the other one go on. */
  vmIsOff: z.boolean().optional(),
  facts: copyFacts,
});
export type Hello = z.infer<typeof hello>;

const checkName = z.string().min(1).max(64);
const count = z.number().int().min(0);
const rounds = { round: z.number().int(), peerRound: z.number().int() };

const message = z.discriminatedUnion('type', [
  /**
   * From the side that dials, once on a connection and before anything else but heartbeats: everything goes over this one now.
   * `epoch` grows with every choice of one process, whose `instance` it is.
   */
  z.strictObject({ type: z.literal('use-path'), instance: id, epoch: z.number().int().min(1) }),
  hello,
  /** Source to target: this is what my table says, and so much I know of to examine; make your part durable. */
  z.strictObject({
    type: z.literal('propose'),
    ...rounds,
    rule: z.string(),
    coveredBytes: z.number().int().min(0),
  }),
  /** Target to source: done; dirty bits of the target went ahead as frames. */
  z.strictObject({ type: z.literal('accept'), ...rounds }),
  /** Source to target: both copies are equal and flushed, this is the lineage now. */
  z.strictObject({
    type: z.literal('in-sync'),
    path: z.array(id).max(64),
    generation: z.number().int().min(1),
    holder: z.literal('both'),
    arbiterStore: id.optional(),
  }),
  /**
   * Primary to secondary of a pair in sync: does your arbiter have this store of records as well? Then claim nothing in another one
   * from now on. / It has, durably. / It has not.
   */
  z.strictObject({ type: z.literal('store-change'), store: id }),
  z.strictObject({ type: z.literal('store-changed'), store: id }),
  z.strictObject({ type: z.literal('store-change-refused'), because: z.string() }),
  z.strictObject({ type: z.literal('in-sync-persisted'), generation: z.number().int() }),
  /** Primary to secondary: I serve nothing any more, both are flushed; you are primary. */
  z.strictObject({ type: z.literal('handover') }),
  z.strictObject({ type: z.literal('handover-accepted') }),
  /** May I leave? / You may. / I persisted that my copy is outdated. */
  z.strictObject({ type: z.literal('leave-request') }),
  z.strictObject({ type: z.literal('leave-granted') }),
  z.strictObject({ type: z.literal('leave-refused'), because: z.string() }),
  z.strictObject({ type: z.literal('outdated'), because: z.string() }),
  /** My disk does not work, no VM runs here, I acknowledge nothing: may my copy be outdated? / It may. / It must not. */
  z.strictObject({ type: z.literal('give-up'), because: z.string() }),
  z.strictObject({ type: z.literal('give-up-granted') }),
  z.strictObject({ type: z.literal('give-up-refused'), because: z.string() }),
  /** Target to source, for display only: progress is the source's to know. */
  z.strictObject({
    type: z.literal('progress'),
    totalBytes: z.number(),
    examinedBytes: z.number(),
    sentBytes: z.number(),
  }),
  /** Both copies went on alone: what the sender wrote since, for people. */
  z.strictObject({
    type: z.literal('split-report'),
    since: z.string().max(40).optional(),
    volumes: z
      .array(
        z.strictObject({
          name: z.string().max(64),
          writtenBytes: z.number().int().min(0),
          ranges: z
            .array(
              z.strictObject({ offsetBytes: z.number().int().min(0), lengthBytes: z.number().int().min(1) }),
            )
            .max(64),
          rangesOmitted: z.number().int().min(0),
        }),
      )
      .max(16),
  }),
  /**
   * Split brain: give your copy up, the operator keeps mine. / I am about to: can you go on with yours? / I can. / Not so. / I have, durably.
   */
  z.strictObject({ type: z.literal('resolve'), loseSince: z.string().max(100).optional() }),
  z.strictObject({ type: z.literal('resolve-begin') }),
  z.strictObject({ type: z.literal('resolve-ready') }),
  z.strictObject({
    type: z.literal('resolve-refused'),
    wanted: z.string(),
    found: z.string(),
    next: z.string(),
  }),
  z.strictObject({ type: z.literal('given-up') }),
  /** What do you hold now? / This. For display only, in every phase: nothing is decided by it. */
  z.strictObject({ type: z.literal('facts-request') }),
  z.strictObject({ type: z.literal('facts'), facts: copyFacts, coveredBytes: z.number().int().min(0) }),
  /**
   * Whether the VM runs at the sender, which of its cold starts that is, and why the sender's host could not run it if it had to; again with each
   * change. For people and for the order of starts: nothing about who may write is decided by it.
   */
  z.strictObject({
    type: z.literal('vm-report'),
    runs: z.boolean(),
    start: z.string().max(64).optional(),
    problem: z.string().max(500).optional(),
  }),
  /**
   * What the checks of the sender found about its own host, and what both nodes count together. Ages and remaining times, never a time
   * of day: clocks may differ. Since protocol 2.
   */
  z.strictObject({
    type: z.literal('checks'),
    /** Names. One in neither list has not answered yet. */
    well: z.array(checkName).max(64),
    /** Those that lead to more than a word. */
    failing: z.array(checkName).max(64),
    restarts: z.strictObject({ epoch: count, agesMs: z.array(count).max(100) }),
    maintenance: z.strictObject({ sequence: count, leftMs: count }),
    /** Since a rule moved the VM; absent: not lately. */
    swapAgeMs: count.optional(),
  }),
  /** Why the sender closes the connection for good; shown to the operator on both sides. */
  z.strictObject({ type: z.literal('refuse'), because: z.string() }),
]);
export type ControlMessage = z.infer<typeof message>;
export type VmReport = Extract<ControlMessage, { type: 'vm-report' }>;

/** A control message is small; a bigger one is not ours. */
export const controlBytesMax = 64 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export function encodeControl(control: ControlMessage): Uint8Array {
  return encoder.encode(JSON.stringify(control));
}

/** Parses foreign bytes; a string is the sentence that says what is wrong with them. */
export function parseControl(bytes: Uint8Array): ControlMessage | string {
  if (bytes.length > controlBytesMax) return `a control message of ${bytes.length} bytes`;
  try {
    const parsed = message.safeParse(JSON.parse(decoder.decode(bytes)));
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0];
    return `a control message with a wrong shape at ${issue?.path.join('.') || 'its root'}: ${issue?.message ?? ''}`;
  } catch {
    return 'a control message that is not JSON';
  }
}
