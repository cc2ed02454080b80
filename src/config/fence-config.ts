/** The keys `fence` and `ping` of `module.yaml`: how each node is switched off, and what a node must reach to take over. */
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import type { NodeName } from '../base/identity.ts';
import type { NodeFenceConfig } from '../platform/fence/fence-choice.ts';

export interface FenceConfig {
  /** How each node is switched off. */
  readonly nodes: Readonly<Record<NodeName, NodeFenceConfig>>;
  /** No VM starts without proof that the peer is off. */
  readonly required: boolean;
  /** Longest time of one attempt, ms. */
  readonly deadlineMs: number;
  /** How often the fence is asked whether it answers, ms; `undefined`: never by itself. */
  readonly checkIntervalMs: number | undefined;
}

/** Longer than a controller needs to switch off and to say so. */
const defaultDeadlineMs = 20_000;
const deadlineMsMin = 1000;
const deadlineMsMax = 120_000;
const hourMs = 3_600_000;
const ipmiPort = 623;
const sshPort = 22;
const addressesMax = 8;
/** Arguments of a program of the administrator. */
const argumentsMax = 64;

const text = (what: string, lengthMax = 255) => z.string(what).min(1, what).max(lengthMax, what);
const host = text('a host name or address');
const port = z.int('a port, 1 to 65535').min(1, 'a port, 1 to 65535').max(65535, 'a port, 1 to 65535');
const absolutePath = z.string('an absolute path').refine(isAbsolute, 'an absolute path');
const program = z
  .array(text('text', 4096), 'a program and its arguments, as a list')
  .min(1, 'a program and its arguments, as a list')
  .max(argumentsMax, `at most ${argumentsMax} arguments`)
  .refine(([first]) => first === undefined || isAbsolute(first), 'the absolute path of the program first');
const fingerprint = z
  .string('the fingerprint of the host key, as `ssh-keygen -lf` prints it: SHA256:...')
  .regex(
    /^SHA256:[A-Za-z0-9+/]{43}=?$/,
    'the fingerprint of the host key, as `ssh-keygen -lf` prints it: SHA256:...',
  );

const nodeSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('command'), off: program, test: program.optional() }),
  z.strictObject({
    kind: z.literal('ipmi'),
    host,
    port: port.default(ipmiPort),
    user: text('the name of a user of the controller', 16),
    passwordFile: absolutePath,
    cipherSuite: z.int('a cipher suite, 0 to 17').min(0).max(17).optional(),
    program: absolutePath.default('/usr/bin/ipmitool'),
  }),
  z.strictObject({
    kind: z.literal('ssh'),
    host,
    port: port.default(sshPort),
    user: text('the name of a user'),
    keyFile: absolutePath,
    hostKey: fingerprint,
    off: text('a command whose exit code 0 proves that the node is off', 4096),
    test: text('a command that switches nothing', 4096).optional(),
  }),
]);

export const fenceSchema = z.strictObject({
  nodes: z.record(z.string(), nodeSchema),
  required: z.enum(['on', 'off']).default('on'),
  deadlineMs: z
    .int('a whole number of milliseconds')
    .min(deadlineMsMin, `at least ${deadlineMsMin} ms`)
    .max(deadlineMsMax, `at most ${deadlineMsMax} ms`)
    .default(defaultDeadlineMs),
  check: z.enum(['hourly', 'off']).default('hourly'),
});

export const pingSchema = z.strictObject({
  addresses: z
    .array(z.strictObject({ host, port: port.optional() }))
    .min(1, `1 to ${addressesMax} addresses`)
    .max(addressesMax, `1 to ${addressesMax} addresses`),
});

type Complain = (path: PropertyKey[], wanted: string) => void;

/** The whole of `fence`; complains of nodes that are none or are missing, and of what would not be safe without a record. */
export function resolveFence(
  fence: z.infer<typeof fenceSchema>,
  nodes: readonly NodeName[],
  keepsRecord: boolean,
  complain: Complain,
): FenceConfig {
  const strange = Object.keys(fence.nodes).find((key) => !nodes.includes(key));
  if (strange !== undefined) complain(['fence', 'nodes', strange], `only the nodes ${nodes.join(' and ')}`);
  const missing = nodes.find((node) => fence.nodes[node] === undefined);
  if (missing !== undefined) complain(['fence', 'nodes'], `how node ${missing} is switched off`);
  if (fence.required === 'off' && !keepsRecord)
    complain(
      ['fence', 'required'],
      '`on`: without an arbiter that keeps a record nothing else holds a node back',
    );
  return {
    nodes: fence.nodes,
    required: fence.required === 'on',
    deadlineMs: fence.deadlineMs,
    checkIntervalMs: fence.check === 'hourly' ? hourMs : undefined,
  };
}
