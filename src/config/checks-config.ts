/** The keys `checks`, `rules` and `loopLimit` of `module.yaml`: what is looked at all the time, and what it leads to. */
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import type { NodeName } from '../base/identity.ts';
import type {
  CheckAction,
  CheckKind,
  CheckSettings,
  ChecksSettings,
  RuleSettings,
} from '../checks/settings.ts';
import { endpoint } from './link-config.ts';
import { type Complain, perNode } from './per-node.ts';
import { parseSize } from './size.ts';

const checksMax = 32;
const rulesMax = 32;
const resultsMax = 100;
const intervalMsMin = 1000;
const timeoutMsMin = 100;
const dayMs = 86_400_000;
const argumentsMax = 64;
const defaultIntervalMs = 10_000;
/** Starting a hypervisor's program costs more than a question over the network. */
const hypervisorIntervalMs = 60_000;
const defaultTimeoutMs = 5000;
const defaultGraceMs = 120_000;
const defaultFails = { fails: 3, of: 3 };
const defaultRecovers = 2;
export const defaultLoopLimit = 3;
const loopLimitMax = 100;

const nameWanted = 'a name of 1 to 31 letters, digits, "-" or "_", with a letter or digit first';
const name = z.string(nameWanted).regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,30}$/, nameWanted);
const actionWanted = 'one of restart, swap, stop, wait, notify';
const action = z.enum(['restart', 'swap', 'stop', 'wait', 'notify'], actionWanted);

const milliseconds = (least: number) => {
  const wanted = `milliseconds, a whole number from ${least} to ${dayMs}`;
  return z.int(wanted).min(least, wanted).max(dayMs, wanted);
};

const failsWanted = `how many of the last results failed, for example "3 of 5", at most ${resultsMax}`;
const fails = z
  .union([z.string(), z.int()], failsWanted)
  .transform((value, context): { fails: number; of: number } => {
    const match = /^(\d{1,3})(?: of (\d{1,3}))?$/.exec(String(value));
    const count = Number(match?.[1] ?? 0);
    const of = Number(match?.[2] ?? count);
    if (count >= 1 && count <= of && of <= resultsMax) return { fails: count, of };
    context.issues.push({ code: 'custom', message: failsWanted, input: value });
    return z.NEVER;
  });

const recoversWanted = `how many results in a row must be well, 1 to ${resultsMax}`;

/** Keys of every check. */
const common = {
  name,
  intervalMs: milliseconds(intervalMsMin).optional(),
  timeoutMs: milliseconds(timeoutMsMin).optional(),
  fails: fails.optional(),
  recovers: z.int(recoversWanted).min(1, recoversWanted).max(resultsMax, recoversWanted).optional(),
  action: action.optional(),
};
/** Of checks that may be about the host or about the VM. */
const side = { on: z.enum(['host', 'vm'], 'host or vm').optional() };
/** Of checks that may be about the VM. */
const grace = { graceMs: milliseconds(0).optional() };

const pathWanted = 'an absolute path, or one per node';
const absolutePath = z.string(pathWanted).refine(isAbsolute, pathWanted);
const interfaceWanted = 'the name of a network interface, or one per node';
const interfaceName = z.string(interfaceWanted).regex(/^[^\s/]{1,15}$/, interfaceWanted);
const minFreeWanted = 'a size, for example 10GiB';
const minFree = z.union([z.string(), z.number()], minFreeWanted).transform((value, context): number => {
  const bytes = parseSize(String(value));
  if (bytes !== undefined && bytes > 0) return bytes;
  context.issues.push({ code: 'custom', message: minFreeWanted, input: value });
  return z.NEVER;
});
const programWanted = 'a program and its arguments, as a list, the absolute path of the program first';
const program = z
  .array(z.string(programWanted).max(4096, programWanted), programWanted)
  .min(1, programWanted)
  .max(argumentsMax, `at most ${argumentsMax} arguments`)
  .refine(([first]) => first === undefined || isAbsolute(first), programWanted);

const checkSchema = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({ kind: z.literal('vm'), name, action: action.optional() }),
    z.strictObject({ kind: z.literal('guest'), ...common, ...grace }),
    z.strictObject({ kind: z.literal('hypervisor'), ...common }),
    z.strictObject({ kind: z.literal('tcp'), ...endpoint, ...common, ...side, ...grace }),
    z.strictObject({ kind: z.literal('ping'), host: endpoint.host, ...common, ...side, ...grace }),
    z.strictObject({
      kind: z.literal('disk-space'),
      path: z.union([absolutePath, z.record(z.string(), absolutePath)], pathWanted),
      minFree,
      ...common,
    }),
    z.strictObject({
      kind: z.literal('network-link'),
      interface: z.union([interfaceName, z.record(z.string(), interfaceName)], interfaceWanted),
      ...common,
    }),
    z.strictObject({ kind: z.literal('command'), command: program, ...common, ...side, ...grace }),
  ],
  'one of the kinds vm, guest, tcp, ping, disk-space, network-link, hypervisor, command',
);

const whenWanted = 'either `all` or `any`, with names of checks';
const names = z.array(name, whenWanted).min(1, whenWanted).max(checksMax, whenWanted);
const ruleSchema = z.strictObject({
  name,
  when: z
    .strictObject({ all: names.optional(), any: names.optional() })
    .refine(({ all, any }) => (all === undefined) !== (any === undefined), whenWanted),
  action,
});

/** The three keys, for the schema of the whole file. */
export const checksKeys = {
  checks: z.array(checkSchema, 'a list of checks').max(checksMax, `at most ${checksMax} checks`).default([]),
  rules: z.array(ruleSchema, 'a list of rules').max(rulesMax, `at most ${rulesMax} rules`).default([]),
  loopLimit: z
    .int(`automatic restarts in 24 hours, 0 to ${loopLimitMax}`)
    .min(0, `automatic restarts in 24 hours, 0 to ${loopLimitMax}`)
    .max(loopLimitMax, `automatic restarts in 24 hours, 0 to ${loopLimitMax}`)
    .default(defaultLoopLimit),
};

type CheckDocument = z.infer<typeof checkSchema>;
interface ChecksDocument {
  readonly checks: readonly CheckDocument[];
  readonly rules: readonly z.infer<typeof ruleSchema>[];
  readonly loopLimit: number;
}

/** The check that every module with a VM has, unless the file names one of its kind. */
const implicitVmCheck: CheckDocument = { kind: 'vm', name: 'vm' };

/**
 * All settings, with their defaults. Complains about names that stand twice or for nothing, paths without a node, and actions that are
 * none for such a check.
 */
export function resolveChecks(
  document: ChecksDocument,
  nodes: readonly NodeName[],
  hasVm: boolean,
  complain: Complain,
): ChecksSettings {
  const hasVmCheck = document.checks.some(({ kind }) => kind === 'vm');
  const listed = [...document.checks, ...(hasVm && !hasVmCheck ? [implicitVmCheck] : [])];
  const checks = listed.map((each, index) => resolveCheck(each, nodes, ['checks', index], complain));
  const rules = document.rules.map(({ name: ruleName, when, action: asked }): RuleSettings => {
    const kind = when.all === undefined ? 'any' : 'all';
    return { name: ruleName, when: { kind, checks: when.all ?? when.any ?? [] }, action: asked };
  });
  const kinds = document.checks.map(({ kind }) => kind);
  if (kinds.indexOf('vm') !== kinds.lastIndexOf('vm'))
    complain(['checks', kinds.lastIndexOf('vm'), 'kind'], 'one check of the kind vm');
  complainAboutNames(checks, rules, complain);
  checks.forEach((check, index) =>
    complainAboutAction(check, check.action, hasVm, ['checks', index], complain),
  );
  rules.forEach(({ when, action: asked }, index) => {
    for (const check of checks.filter((each) => when.checks.includes(each.name)))
      complainAboutAction(check, asked, hasVm, ['rules', index], complain);
  });
  return { checks, rules, restartsMax: document.loopLimit };
}

function complainAboutNames(
  checks: readonly CheckSettings[],
  rules: readonly RuleSettings[],
  complain: Complain,
): void {
  const seen = new Set<string>();
  const see = (path: PropertyKey[], each: string): void => {
    if (seen.has(each)) complain(path, 'a name that no other check and no rule has');
    seen.add(each);
  };
  checks.forEach((check, index) => see(['checks', index, 'name'], check.name));
  rules.forEach(({ name: ruleName }, index) => see(['rules', index, 'name'], ruleName));
  const known = checks.map((check) => check.name);
  rules.forEach(({ when }, index) =>
    when.checks.forEach((each, place) => {
      if (!known.includes(each))
        complain(['rules', index, 'when', when.kind, place], `one of the checks ${known.join(', ')}`);
    }),
  );
}

/** Whether this action makes sense for what the check is about. */
function complainAboutAction(
  { kind, on }: CheckSettings,
  asked: CheckAction,
  hasVm: boolean,
  path: PropertyKey[],
  complain: Complain,
): void {
  if (!hasVm && on === 'vm') return complain(path, 'checks about the host only: this module has no VM');
  if (!hasVm && asked === 'restart')
    return complain([...path, 'action'], 'another action than restart: this module has no VM');
  // Where the VM does not run it is never well again.
  if (asked === 'wait' && on === 'vm')
    complain([...path, 'action'], `another action than wait: a check of the kind ${kind} is about the VM`);
}

function resolveCheck(
  document: CheckDocument,
  nodes: readonly NodeName[],
  path: PropertyKey[],
  complain: Complain,
): CheckSettings {
  const { kind } = document;
  const given = kind === 'vm' ? undefined : document;
  const on = sideOf(document);
  const intervalMs = given?.intervalMs ?? (kind === 'hypervisor' ? hypervisorIntervalMs : defaultIntervalMs);
  const timeoutMs = given?.timeoutMs ?? Math.min(defaultTimeoutMs, intervalMs);
  if (timeoutMs > intervalMs) complain([...path, 'timeoutMs'], `at most intervalMs, which is ${intervalMs}`);
  const graceMs = given !== undefined && 'graceMs' in given ? given.graceMs : undefined;
  if (on === 'host' && graceMs !== undefined)
    complain([...path, 'graceMs'], 'no grace after the start of the VM for a check about the host');
  const shared = {
    name: document.name,
    on,
    intervalMs,
    timeoutMs,
    graceMs: on === 'host' ? 0 : (graceMs ?? defaultGraceMs),
    // The end of a VM is certain.
    hysteresis:
      given === undefined
        ? { fails: 1, of: 1, recovers: 1 }
        : { ...(given.fails ?? defaultFails), recovers: given.recovers ?? defaultRecovers },
    action: document.action ?? (kind === 'vm' ? 'restart' : 'notify'),
  };
  switch (document.kind) {
    case 'tcp':
      return { ...shared, kind: 'tcp', host: document.host, port: document.port };
    case 'ping':
      return { ...shared, kind: 'ping', host: document.host };
    case 'disk-space': {
      const at = perNode(document.path, nodes, [...path, 'path'], complain);
      return { ...shared, kind: 'disk-space', path: at, minFreeBytes: document.minFree };
    }
    case 'network-link': {
      const at = perNode(document.interface, nodes, [...path, 'interface'], complain, 'an interface');
      return { ...shared, kind: 'network-link', interface: at };
    }
    case 'command':
      return { ...shared, kind: 'command', command: document.command };
    case 'vm':
    case 'guest':
    case 'hypervisor':
      return { ...shared, kind: document.kind };
  }
}

const fixedSides: Readonly<Partial<Record<CheckKind, 'host' | 'vm'>>> = {
  vm: 'vm',
  guest: 'vm',
  'disk-space': 'host',
  'network-link': 'host',
  hypervisor: 'host',
};

function sideOf(document: CheckDocument): 'host' | 'vm' {
  const asked = 'on' in document ? document.on : undefined;
  return fixedSides[document.kind] ?? asked ?? (document.kind === 'command' ? 'vm' : 'host');
}
