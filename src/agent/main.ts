/** Program: the agent of one node. `main.js --node NODE.yaml`; program.ts says how it behaves. */
import { parseArgs } from 'node:util';
import { WorldError } from '../base/errors.ts';
import { endWithError, exitCodeUsage } from '../platform/program-exit.ts';
import { runAgent } from './program.ts';

function readArguments(): string {
  let found = 'no --node';
  try {
    const { values } = parseArgs({ options: { node: { type: 'string' } } });
    if (values.node !== undefined) return values.node;
  } catch (error) {
    found = error instanceof Error ? error.message : String(error);
  }
  throw new WorldError('usage-wrong', {
    wanted: 'agent --node NODE.yaml',
    found,
    next: 'Start it with the path of the node configuration.',
  });
}

try {
  await runAgent(readArguments());
} catch (error) {
  endWithError(
    error,
    error instanceof WorldError && error.code === 'usage-wrong' ? exitCodeUsage : undefined,
  );
  process.exit();
}
