/** `vmpair maintenance`: until when no rule acts on a VM, so that somebody may work on it. */
import type { Command } from 'commander';
import { callOnce } from '../platform/control-client.ts';
import { controlOf, type ControlOptions, onModule } from './module-commands.ts';
import { printResult, usageError } from './outcome.ts';

interface MaintenanceOptions extends ControlOptions {
  readonly for?: string;
  readonly off?: boolean;
}

const unitMs: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 };

/** Milliseconds of a length of time like `2h`, `1h30m` or `45m`; `undefined`: it is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d{1,6}[dhms])+$/.test(text)) return undefined;
  let sumMs = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)([dhms])/g))
    sumMs += Number(count) * (unitMs[unit ?? ''] ?? 0);
  return sumMs > 0 ? sumMs : undefined;
}

/** Arguments of the verb. Throws `usage-wrong`. */
export function maintenanceArguments(options: Pick<MaintenanceOptions, 'for' | 'off'>): object {
  const { for: length, off } = options;
  if ((length === undefined) === (off !== true)) throw usageError('not exactly one of --for and --off');
  if (length === undefined) return { off: true };
  const forMs = parseDuration(length);
  if (forMs === undefined) throw usageError(`a length of time that is none: ${JSON.stringify(length)}`);
  return { forMs };
}

export function addMaintenanceCommand(program: Command): void {
  onModule(
    program
      .command('maintenance')
      .description(
        'let no check act on the VM for a while, on both nodes; a failover when a node dies still happens',
      ),
  )
    .option('--for <time>', 'from now on for so long, for example 2h or 1h30m; it ends by itself')
    .option('--off', 'end it now')
    .action(async (vm: string | undefined, options: MaintenanceOptions) => {
      const args = maintenanceArguments(options);
      const answer = await callOnce(controlOf(vm, options), 'maintenance', args);
      const { until } = answer as { readonly until?: string };
      printResult(options.json ?? false, answer, () =>
        until === undefined
          ? 'maintenance: over, the checks act again'
          : `maintenance: no check acts until ${until}`,
      );
    });
}
