/** Supervisor and modules of this host as the configuration needs them: over their control sockets, each call with a deadline. */
import { WorldError } from '../../base/errors.ts';
import { modulePaths } from '../../config/runtime-paths.ts';
import { callOnce } from '../../platform/control-client.ts';
import type { HostProcesses } from './config-host.ts';

/** The supervisor may wait for the end of a module process. */
const reloadDeadlineMs = 30_000;
const reconfigureDeadlineMs = 20_000;
const statusDeadlineMs = 2000;

export interface HostSockets {
  readonly runtimeDir: string;
  readonly supervisorSocket: string;
}

/** Asks whether a module may be let go as the supervisor does: one that does not answer, but has a process, runs. */
export function controlledProcesses({ runtimeDir, supervisorSocket }: HostSockets): HostProcesses {
  return {
    moduleRuns: async (name) => {
      const processes = await callOnce(supervisorSocket, 'list', {}, statusDeadlineMs);
      const found = Array.isArray(processes)
        ? processes.find((each: unknown) => fieldOf(each, 'module') === name)
        : undefined;
      if (found === undefined || fieldOf(found, 'state') === 'stopped') return false;
      try {
        const status = await callOnce(modulePaths(runtimeDir, name).control, 'status', {}, statusDeadlineMs);
        const axes = fieldOf(status, 'axes');
        const vm = fieldOf(axes, 'vm');
        return fieldOf(axes, 'run') !== 'stopped' || (vm !== 'none' && vm !== 'stopped');
      } catch (error) {
        if (error instanceof WorldError) return true;
        throw error;
      }
    },
    reload: async () => {
      await callOnce(supervisorSocket, 'reload', {}, reloadDeadlineMs);
    },
    reconfigure: async (name, file) => {
      try {
        await callOnce(modulePaths(runtimeDir, name).control, 'reconfigure', { file }, reconfigureDeadlineMs);
      } catch (error) {
        // Its next process reads the file.
        if (error instanceof WorldError && error.code === 'control-unreachable') return;
        throw error;
      }
    },
  };
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}
