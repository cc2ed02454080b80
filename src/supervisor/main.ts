/**
 * Program: the supervisor of one node. `main.js --node NODE.yaml`. SIGTERM and SIGINT end it and leave the modules running.
 * `--module-program PATH` runs another program as the module process, for tests and for work on a module.
 */
import { parseArgs } from 'node:util';
import { pauseThroughMonitor } from '../../hypervisors/qemu/pause-through-monitor.ts';
import { WorldError } from '../base/errors.ts';
import { readNodeConfig } from '../config/node-config.ts';
import { createJsonLog } from '../platform/json-log.ts';
import { endWithError, exitCodeUsage } from '../platform/program-exit.ts';
import { programPath } from '../platform/program-path.ts';
import { systemClock } from '../platform/system-clock.ts';
import { guestPauserFor, type PauseGuest } from './guest-pauser.ts';
import { Supervisor } from './supervisor.ts';

function readArguments(): { nodeFile: string; moduleProgram: string | undefined } {
  const wanted = 'supervisor --node NODE.yaml [--module-program PATH]';
  const next = 'Start it with the path of the node configuration.';
  try {
    const { values } = parseArgs({
      options: { node: { type: 'string' }, 'module-program': { type: 'string' } },
    });
    if (values.node === undefined) throw new WorldError('usage-wrong', { wanted, found: 'no --node', next });
    return { nodeFile: values.node, moduleProgram: values['module-program'] };
  } catch (error) {
    if (error instanceof WorldError) throw error;
    const found = error instanceof Error ? error.message : String(error);
    throw new WorldError('usage-wrong', { wanted, found, next }, error);
  }
}

/** Both kinds answer QMP on the monitor that only the supervisor uses. */
const pauseVm: PauseGuest = (paths, deadlineMs) => pauseThroughMonitor(paths.supervisorMonitor, deadlineMs);

async function main(): Promise<void> {
  const { nodeFile, moduleProgram } = readArguments();
  const config = readNodeConfig(nodeFile);
  const log = createJsonLog({ base: { program: 'supervisor', node: config.node } });
  const supervisor = await Supervisor.start({
    config,
    nodeFile,
    moduleProgram: moduleProgram ?? programPath('modules/mirror/main'),
    pauser: guestPauserFor({ qemu: pauseVm, simulated: pauseVm }),
    clock: systemClock,
    log,
  });
  log.info('supervisor-ready', { control: config.supervisor.controlSocket });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => void supervisor.shutdown(false));
  }
  await supervisor.finished;
  // Started modules are still children of this process; it does not wait for them.
  process.exit(0);
}

try {
  await main();
} catch (error) {
  endWithError(
    error,
    error instanceof WorldError && error.code === 'usage-wrong' ? exitCodeUsage : undefined,
  );
}
