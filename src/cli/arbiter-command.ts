/**
 * `vmpair arbiter status VM` and `vmpair arbiter recreate VM`. Exit code 1 of `status`: the record is not what this copy knows, or there
 * is no answer; then neither node could go on alone.
 */
import type { Command } from 'commander';
import { WorldError } from '../base/errors.ts';
import type { RecordStatus } from '../base/status.ts';
import { callOnce } from '../platform/control-client.ts';
import { systemClock } from '../platform/system-clock.ts';
import { controlOf, type ControlOptions, onModule } from './module-commands.ts';
import { exitCodes, printResult } from './outcome.ts';

/** The peer's arbiter and this node's are asked, one after the other, ms. */
const recreateDeadlineMs = 20_000;
/** From one look at the record to the next, ms. */
const followIntervalMs = 250;

interface RecreateOptions extends ControlOptions {
  readonly peerIsOff?: string;
}

const recordOf = async (control: string): Promise<RecordStatus> =>
  (await callOnce(control, 'arbiter')) as RecordStatus;

function recordText({ verdict, because, store }: RecordStatus): string {
  return `arbiter: ${verdict}: ${because}${store === undefined ? '' : ` (store ${store})`}`;
}

export function addArbiterCommand(program: Command): void {
  const arbiter = program.command('arbiter').description('the record that says who may go on alone');
  onModule(arbiter.command('status').description('ask the arbiter for the record of a module')).action(
    async (vm: string | undefined, options: ControlOptions) => {
      const status = await recordOf(controlOf(vm, options));
      printResult(options.json ?? false, status, () => recordText(status));
      if (status.verdict !== 'ok') process.exitCode = exitCodes.failed;
    },
  );
  onModule(
    arbiter
      .command('recreate')
      .description('make the record anew in the arbiter that is configured now: after its loss, or a change'),
  )
    .option(
      '--peer-is-off <node>',
      'without a pair: the other node is off, and what it may have written alone is given up',
    )
    .action(async (vm: string | undefined, options: RecreateOptions) => {
      const control = controlOf(vm, options);
      const { peerIsOff } = options;
      await callOnce(
        control,
        'arbiter-recreate',
        peerIsOff === undefined ? {} : { peerIsOff },
        recreateDeadlineMs,
      );
      const status = await recordIsRight(control);
      printResult(options.json ?? false, status, () => recordText(status));
    });
}

/** Waits until the arbiter has what the copy knows. Throws `arbiter-unreachable`. */
async function recordIsRight(control: string): Promise<RecordStatus> {
  const deadlineMs = systemClock.nowMs() + recreateDeadlineMs;
  for (;;) {
    const status = await recordOf(control);
    if (status.verdict === 'ok') return status;
    if (systemClock.nowMs() > deadlineMs) {
      throw new WorldError('arbiter-unreachable', {
        wanted: `the new record within ${recreateDeadlineMs / 1000} s`,
        found: status.because,
        next: 'look at `vmpair arbiter status`: the module goes on asking as long as it runs',
      });
    }
    await new Promise((resolve) => setTimeout(resolve, followIntervalMs));
  }
}
