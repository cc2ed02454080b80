/**
 * Program: the mirror module of one VM on one node. `main.js --config MODULE.yaml --node NODE.yaml`; the process contract is
 * modules/README.md. It wires the pure core to sockets, files and the hypervisor, and decides nothing itself.
 */
import { parseArgs } from 'node:util';
import { vmSchema } from '../../hypervisors/vm-schema.ts';
import { WorldError } from '../../src/base/errors.ts';
import { readModuleConfig } from '../../src/config/module-config.ts';
import { readNodeConfig } from '../../src/config/node-config.ts';
import { createJsonLog } from '../../src/platform/json-log.ts';
import { endWithError } from '../../src/platform/program-exit.ts';
import { MirrorModule } from './mirror-module.ts';

function readArguments(): { config: string; node: string } {
  try {
    const { values } = parseArgs({ options: { config: { type: 'string' }, node: { type: 'string' } } });
    if (values.config !== undefined && values.node !== undefined) {
      return { config: values.config, node: values.node };
    }
  } catch {
    // An option that is none: said below.
  }
  throw new WorldError('usage-wrong', {
    wanted: 'mirror --config MODULE.yaml --node NODE.yaml',
    found: process.argv.slice(2).join(' ') || 'no arguments',
    next: 'the supervisor starts modules; see modules/README.md',
  });
}

// For this process alone: a VM that it starts keeps the C library's own rule (src/supervisor/module-process.ts).
delete process.env['MALLOC_ARENA_MAX'];

try {
  const files = readArguments();
  const node = readNodeConfig(files.node);
  const config = readModuleConfig(files.config, vmSchema);
  const log = createJsonLog({ base: { program: 'module', module: config.name, node: node.node } });
  const module = await MirrorModule.open(config, node, log, files.config);
  process.once('SIGTERM', () => void module.exit());
  await module.run();
} catch (error) {
  endWithError(error);
  process.exit();
}
