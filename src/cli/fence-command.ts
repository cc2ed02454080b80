/** `vmpair fence`: whether the fence of the other node answers, and the word of the administrator in its place. */
import type { Command } from 'commander';
import type { FenceTest } from '../arbiter/fence.ts';
import { callOnce } from '../platform/control-client.ts';
import { type ControlOptions, controlOf, onModule } from './module-commands.ts';
import { exitCodes, printResult } from './outcome.ts';

/** Longer than the longest deadline of a fence, ms. */
const testDeadlineMs = 130_000;

interface ConfirmOptions extends ControlOptions {
  readonly peerIsOff?: string;
}

const words: Readonly<Record<FenceTest['kind'], string>> = {
  answers: 'the fence answers',
  'no-answer': 'the fence does not answer',
  'not-testable': 'the fence cannot be tested',
};

export function addFenceCommand(program: Command): void {
  const fence = program.command('fence').description('what switches the other node off');
  const test = 'ask the fence of the other node for its status; switches nothing';
  onModule(fence.command('test').description(test)).action(
    async (vm: string | undefined, options: ControlOptions) => {
      const result = (await callOnce(controlOf(vm, options), 'fence-test', {}, testDeadlineMs)) as FenceTest;
      printResult(options.json ?? false, result, () => `${words[result.kind]}: ${result.because}`);
      if (result.kind !== 'answers') process.exitCode = exitCodes.failed;
    },
  );
  const confirm = 'say that the other node is off and stays off, when its fence cannot prove it';
  onModule(fence.command('confirm').description(confirm))
    .option('--peer-is-off <node>', 'the other node, which you have made sure is off; if not, two VMs run')
    .action(async (vm: string | undefined, options: ConfirmOptions) => {
      const { peerIsOff } = options;
      const args = peerIsOff === undefined ? {} : { peerIsOff };
      const result = await callOnce(controlOf(vm, options), 'fence-confirm', args);
      printResult(options.json ?? false, result, () => 'confirmed');
    });
}
