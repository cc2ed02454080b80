/** `start` of `module.yaml` and `starts` of `node.yaml`: the order in which the VMs of a node start, and what the node has for them. */
import { z } from 'zod';
import { type CapacityLimits } from '../starts/decide-capacity.ts';
import { priorityMax, startDefaults, type StartSettings } from '../starts/start-settings.ts';
import { parseSize } from './size.ts';

/** Names in `start.after`. */
const afterMax = 16;
/** Longest delay and deadline: an hour, ms. */
const startTimeMaxMs = 3_600_000;
/** VMs that start at the same time: a node runs 64 modules at most. */
const concurrentMax = 64;
const concurrentDefault = 4;
const cpuOvercommitDefault = 4;
const cpuOvercommitMax = 100;
const memoryReserveDefault = '512MiB';

const milliseconds = (what: string) => {
  const wanted = `${what} in milliseconds, a whole number from 0 to ${startTimeMaxMs}`;
  return z.int(wanted).min(0, wanted).max(startTimeMaxMs, wanted);
};

const priorityWanted = `a priority, a whole number from 0 to ${priorityMax}; higher starts first`;

export function startSchema(moduleName: z.ZodType<string>) {
  const after = z
    .union(
      [
        moduleName.transform((module) => ({ module, required: false })),
        z.strictObject({ module: moduleName, required: z.boolean().default(false) }),
      ],
      'the name of a module, or { module, required }',
    )
    .array()
    .max(afterMax, `at most ${afterMax} modules`)
    .refine((list) => new Set(list.map(({ module }) => module)).size === list.length, 'each module once');
  return z.strictObject({
    priority: z
      .int(priorityWanted)
      .min(0, priorityWanted)
      .max(priorityMax, priorityWanted)
      .default(startDefaults.priority),
    after: after.default([]),
    restartWith: z.boolean().default(startDefaults.restartWith),
    delayMs: milliseconds('a delay').default(startDefaults.delayMs),
    deadlineMs: milliseconds('a deadline').default(startDefaults.deadlineMs),
  });
}

/** What no single key shows. */
export function resolveStart(
  start: StartSettings,
  module: string,
  complain: (path: PropertyKey[], wanted: string) => void,
): StartSettings {
  const self = start.after.findIndex((each) => each.module === module);
  if (self >= 0) complain(['start', 'after', self], 'another module than this one');
  if (start.after.length > 0) return start;
  if (start.restartWith) complain(['start', 'restartWith'], 'a module in start.after to be restarted with');
  if (start.delayMs > 0) complain(['start', 'delayMs'], 'a module in start.after to be delayed after');
  return start;
}

export interface StartsConfig extends CapacityLimits {
  /** How many VMs of this node may start at the same time. */
  readonly concurrent: number;
}

const concurrentWanted = `how many VMs may start at the same time, a whole number from 1 to ${concurrentMax}`;
const overcommitWanted = `virtual CPUs per CPU, a number from 1 to ${cpuOvercommitMax}`;
const reserveWanted = 'a size in bytes, KiB, MiB, GiB or TiB (for example 2GiB)';

export const startsSchema = z
  .strictObject({
    concurrent: z
      .int(concurrentWanted)
      .min(1, concurrentWanted)
      .max(concurrentMax, concurrentWanted)
      .default(concurrentDefault),
    cpuOvercommit: z
      .number(overcommitWanted)
      .min(1, overcommitWanted)
      .max(cpuOvercommitMax, overcommitWanted)
      .default(cpuOvercommitDefault),
    memoryReserve: z
      .union([z.string(), z.number()], reserveWanted)
      .default(memoryReserveDefault)
      .transform((value, context): number => {
        const bytes = parseSize(String(value));
        if (bytes !== undefined) return bytes;
        context.issues.push({ code: 'custom', message: reserveWanted, input: value });
        return z.NEVER;
      }),
  })
  .transform(({ memoryReserve, ...rest }): StartsConfig => ({ ...rest, memoryReserveBytes: memoryReserve }));
