/**
 * `vmpair verify VM`: compares both copies in the background, on the node that is primary, and follows it to its end. Ending
 * this command (Ctrl-C) leaves the verify running; `--stop` ends it. Exit code 1 when a range differed, or not everything
 * was compared.
 */
import type { Command } from 'commander';
import { WorldError } from '../base/errors.ts';
import type { ModuleStatus, VerifyReport } from '../base/status.ts';
import { parseSize } from '../config/size.ts';
import { callOnce } from '../platform/control-client.ts';
import { systemClock } from '../platform/system-clock.ts';
import { controlOf, type ControlOptions, onModule } from './module-commands.ts';
import { exitCodes, printResult, usageError } from './outcome.ts';
import { verifyText } from './status-text.ts';

/** From one look at the progress to the next, ms. */
const followIntervalMs = 1000;

interface VerifyOptions extends ControlOptions {
  readonly volume?: string;
  readonly rate?: string;
  readonly stop?: boolean;
  readonly background?: boolean;
}

/** `50MiB` a second. Throws `usage-wrong`. */
export function parseRate(text: string): number {
  const rate = parseSize(text.replace(/\/s$/, ''));
  if (rate === undefined || rate < 1)
    throw usageError(`--rate ${text}; wanted an amount a second, such as 50MiB`);
  return rate;
}

export function addVerifyCommand(program: Command): void {
  onModule(
    program.command('verify').description("compare both copies while the VM runs, and repair the peer's"),
  )
    .option('--volume <name>', 'only this volume')
    .option(
      '--rate <amount>',
      'at most so much a second, such as 50MiB; otherwise as fast as the guest leaves room',
    )
    .option('--background', 'do not wait for the end; `vmpair status VM` shows it')
    .option('--stop', 'end the verify that runs')
    .action(async (vm: string | undefined, options: VerifyOptions) => {
      const control = controlOf(vm, options);
      const json = options.json ?? false;
      if (options.stop === true) {
        await callOnce(control, 'verify-stop');
        return finish(json, await follow(control, json));
      }
      const rateBytesPerSecond = options.rate === undefined ? undefined : parseRate(options.rate);
      await callOnce(control, 'verify', {
        ...(options.volume === undefined ? {} : { volume: options.volume }),
        ...(rateBytesPerSecond === undefined ? {} : { rateBytesPerSecond }),
      });
      if (options.background === true) return printResult(json, { done: true }, () => 'verify: started');
      finish(json, await follow(control, json));
    });
}

/** Resolves to the report when the verify has ended; shows on standard error how far it is. */
async function follow(control: string, json: boolean): Promise<VerifyReport> {
  for (;;) {
    const { verify } = (await callOnce(control, 'status')) as ModuleStatus;
    if (verify === undefined) {
      const next = 'run "vmpair status VM", and the verify again';
      const problem = { wanted: 'the report of the verify', found: 'that this module has none', next };
      throw new WorldError('control-refused', problem);
    }
    if (verify.outcome !== 'running' && verify.outcome !== 'waiting') return verify;
    if (!json) process.stderr.write(`${verifyText(verify)[0]}\n`);
    await new Promise<void>((resolve) => void systemClock.after(followIntervalMs, resolve));
  }
}

function finish(json: boolean, report: VerifyReport): void {
  printResult(json, report, () => verifyText(report).join('\n'));
  const allEqual = report.outcome === 'complete' && report.ranges.length === 0;
  if (!allEqual) process.exitCode = exitCodes.failed;
}
