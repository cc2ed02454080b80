/**
 * What people can ask of a module: one row an action, with the verb of the module's control socket, who may, which node is
 * asked when none is named, and how long it may take. The module decides whether it does it.
 */
import { z } from 'zod';
import type { Role } from './access/permissions.ts';

const named = z.string().max(100).optional();
const nothing = z.strictObject({});
const peerIsOff = z.strictObject({
  peerIsOff: named.describe('the other node, which is off and stays off'),
});

export interface ModuleAction {
  readonly summary: string;
  readonly role: Role;
  /** Node that is asked when the call names none. */
  readonly asks: 'this-node' | 'primary';
  /** Answered at once; else it becomes a job. */
  readonly quick: boolean;
  readonly deadlineMs: number;
  readonly args: z.ZodObject;
}

const quickMs = 15_000;
/** Longer than a guest may take to shut down. */
const commandMs = 120_000;
/** Everything that one node wrote is copied first. */
const resolveMs = 6 * 3_600_000;
/** A fence that is slow has its own deadline in the module. */
const fenceMs = 180_000;

export const moduleActions = {
  start: {
    summary: 'Let the module start: it joins its peer, and runs the VM if it is to be primary.',
    role: 'operator',
    asks: 'this-node',
    quick: false,
    deadlineMs: commandMs,
    args: nothing,
  },
  stop: {
    summary: 'Shut the VM down if it runs on the node, and leave the pair; a peer in sync starts it.',
    role: 'operator',
    asks: 'this-node',
    quick: false,
    deadlineMs: commandMs,
    args: nothing,
  },
  swap: {
    summary: 'Move the VM to the other node.',
    role: 'operator',
    asks: 'primary',
    quick: false,
    deadlineMs: commandMs,
    args: nothing,
  },
  prim: {
    summary: 'Start as primary; what would lose data has to be named.',
    role: 'admin',
    asks: 'this-node',
    quick: false,
    deadlineMs: commandMs,
    args: z.strictObject({
      force: z.enum(['kept-image', 'outdated', 'inconsistent', 'without-arbiter']).optional(),
      loseSince: named,
      peerIsOff: named,
    }),
  },
  second: {
    summary: 'Start as secondary; `full` gives the copy of the node up.',
    role: 'admin',
    asks: 'this-node',
    quick: false,
    deadlineMs: commandMs,
    args: z.strictObject({ full: z.boolean().optional(), giveUp: named }),
  },
  resolve: {
    summary: 'End a split brain: keep the copy of one node, and give the other one up.',
    role: 'admin',
    asks: 'this-node',
    quick: false,
    deadlineMs: resolveMs,
    args: z.strictObject({ keep: z.string().max(100), loseSince: named }),
  },
  'accept-disk': {
    summary: 'Use a disk in doubt as it is, after it was checked.',
    role: 'admin',
    asks: 'this-node',
    quick: false,
    deadlineMs: commandMs,
    args: nothing,
  },
  verify: {
    summary: 'Compare both copies in the background, and repair what differs.',
    role: 'operator',
    asks: 'primary',
    quick: false,
    deadlineMs: commandMs,
    args: z.strictObject({ volume: named, rateBytesPerSecond: z.number().min(1).optional() }),
  },
  'verify-stop': {
    summary: 'End the comparison that runs.',
    role: 'operator',
    asks: 'primary',
    quick: true,
    deadlineMs: quickMs,
    args: nothing,
  },
  maintenance: {
    summary: 'Begin or end maintenance of the VM: its checks start nothing meanwhile.',
    role: 'operator',
    asks: 'primary',
    quick: true,
    deadlineMs: quickMs,
    args: z.strictObject({
      untilMs: z.int().optional().describe('its end, ms since 1970'),
      forMs: z.int().min(1).optional().describe('its length, ms'),
      off: z.literal(true).optional().describe('end it now'),
    }),
  },
  'fence-test': {
    summary: 'Ask the fence of the peer whether it answers; nothing is switched.',
    role: 'operator',
    asks: 'this-node',
    quick: false,
    deadlineMs: fenceMs,
    args: nothing,
  },
  'fence-confirm': {
    summary: 'Confirm that the other node is off, in the place of a fence that does not answer.',
    role: 'admin',
    asks: 'this-node',
    quick: false,
    deadlineMs: commandMs,
    args: peerIsOff,
  },
  arbiter: {
    summary: 'What the arbiter says of this module.',
    role: 'viewer',
    asks: 'this-node',
    quick: true,
    deadlineMs: quickMs,
    args: nothing,
  },
  'arbiter-recreate': {
    summary: "Make the arbiter's record anew, on the node with the good copy.",
    role: 'admin',
    asks: 'this-node',
    quick: false,
    deadlineMs: commandMs,
    args: peerIsOff,
  },
  explain: {
    summary: 'What a handshake would decide now, and the last decisions.',
    role: 'viewer',
    asks: 'this-node',
    quick: true,
    deadlineMs: quickMs,
    args: nothing,
  },
} as const satisfies Record<string, ModuleAction>;

export type ActionName = keyof typeof moduleActions;
export const actionNames = Object.keys(moduleActions) as [ActionName, ...ActionName[]];
