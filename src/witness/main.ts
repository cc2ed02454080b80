/** `node dist/src/witness/main.js --config witness.yaml`: the witness as a program; program.ts says how it behaves. */
import { Command } from 'commander';
import { runWitness } from './program.ts';

const command = new Command('witness')
  .description('keeps one record per protected VM, so that two nodes never go on alone both')
  .requiredOption('--config <file>', 'configuration of the witness, YAML')
  .action(({ config }: { config: string }) => runWitness(config));
await command.parseAsync();
