/** The flags of the bench. A wrong one is a sentence, and nothing is started. */
import { parseArgs } from 'node:util';
import { workloads } from './fio.ts';

/** The parts of the bench in the order in which they run. */
export const partNames = [
  'writes',
  'cold-writes',
  'resync',
  'memory',
  'open',
  'activity-log',
  'heartbeats',
] as const;
export type PartName = (typeof partNames)[number];

/** What can be measured in the part `writes`. `clear` is the pair with an unencrypted link, `baseline` that of another build. */
export const systemNames = ['vmpair', 'clear', 'baseline', 'mirror', 'qemu-nbd'] as const;
export type SystemName = (typeof systemNames)[number];

const encryptions = ['on', 'off'] as const;
export type Encryption = (typeof encryptions)[number];

export interface BenchOptions {
  readonly parts: readonly PartName[];
  readonly workloads: readonly string[];
  readonly systems: readonly SystemName[];
  /** Directory of a checkout whose built programs are measured as `baseline`. */
  readonly baseline: string | undefined;
  /** Of the links of all pairs but `clear`. */
  readonly encryption: Encryption;
  readonly rounds: number;
  /** Load of one measurement, s; one more warms up. */
  readonly seconds: number;
  /** Size of each preallocated volume. */
  readonly sizeMib: number;
  /** Data of a first copy. */
  readonly resyncMib: number;
  /** From the end of the load to the look at an idle module, s. */
  readonly idleSeconds: number;
  readonly json: boolean;
  /** Write the page with the results. */
  readonly write: boolean;
}

export const usage = `npm run bench -- [flags]
  --only LIST         parts, of: ${partNames.join(', ')}
  --workload LIST     of the part writes, of: ${workloads.map(({ id }) => id).join(', ')}
  --systems LIST      of the part writes, of: ${systemNames.join(', ')}
  --baseline DIR      another checkout, built: its programs are measured as well
  --encryption on|off of the link of the pairs (on)
  --rounds N          interleaved rounds (3)
  --seconds N         load of each measurement, s (4)
  --size-mib N        size of the volumes (1000)
  --resync-mib N      data of a first copy (1000)
  --idle-seconds N    from the end of the load to the look at an idle module (60)
  --json              one JSON object instead of tables
  --write             write bench/RESULTS.md; wants all parts`;

/** Throws an error whose message is for the person who typed. */
export function parseOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string' },
      workload: { type: 'string' },
      systems: { type: 'string' },
      baseline: { type: 'string' },
      encryption: { type: 'string', default: 'on' },
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '4' },
      'size-mib': { type: 'string', default: '1000' },
      'resync-mib': { type: 'string', default: '1000' },
      'idle-seconds': { type: 'string', default: '60' },
      json: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  });
  const ids = workloads.map(({ id }) => id);
  const parts = chosen('--only', values.only, partNames);
  const systems = chosen('--systems', values.systems, systemNames);
  const options: BenchOptions = {
    parts,
    workloads: chosen('--workload', values.workload, ids),
    systems: systems.filter((name) => name !== 'baseline' || values.baseline !== undefined),
    baseline: values.baseline,
    encryption: chosen('--encryption', values.encryption, encryptions)[0] ?? 'on',
    rounds: wholeNumber('--rounds', values.rounds, 1, 100),
    seconds: wholeNumber('--seconds', values.seconds, 1, 600),
    sizeMib: wholeNumber('--size-mib', values['size-mib'], 16, 100_000),
    resyncMib: wholeNumber('--resync-mib', values['resync-mib'], 1, 100_000),
    idleSeconds: wholeNumber('--idle-seconds', values['idle-seconds'], 0, 3600),
    json: values.json,
    write: values.write,
  };
  const everything =
    [values.only, values.workload, values.systems].every((list) => list === undefined) &&
    values.encryption === 'on';
  if (options.write && !everything) {
    throw new Error(
      'wanted a whole run for --write, found a selection: leave out --only, --workload, --systems, --encryption',
    );
  }
  return options;
}

/** Names of a flag that takes a list, in the order of `all`; without the flag all of them. */
export function chosen<Name extends string>(
  flag: string,
  list: string | undefined,
  all: readonly Name[],
): Name[] {
  if (list === undefined) return [...all];
  const names = list.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !all.some((known) => known === name));
  if (unknown !== undefined) throw new Error(`wanted ${flag} of ${all.join(', ')}, found "${unknown}"`);
  return all.filter((name) => names.includes(name));
}

/** The number of a flag. Throws a sentence for the person who typed. */
export function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new Error(`wanted a whole number of ${least} to ${most} for ${flag}, found "${text}"`);
}
