/** Supervisor and modules of this host as the configuration needs them: over their control sockets, each call with a deadline. */
import { z } from 'zod';
import { WorldError } from '../../base/errors.ts';
import { modulePaths } from '../../config/runtime-paths.ts';
import { callOnce } from '../../platform/control-client.ts';
import { moduleIsAtRest } from '../../platform/module-at-rest.ts';
import type { HostProcesses } from './config-host.ts';

/** The supervisor may wait for the end of a module process. */
const reloadDeadlineMs = 30_000;
const reconfigureDeadlineMs = 20_000;
const statusDeadlineMs = 2000;

const supervisedSchema = z.object({ state: z.string() });

export interface HostSockets {
  readonly runtimeDir: string;
  readonly supervisorSocket: string;
}

/** Asks whether a module may be let go as the supervisor does: one that does not answer, but has a process, runs. */
export function controlledProcesses({ runtimeDir, supervisorSocket }: HostSockets): HostProcesses {
  return {
    moduleRuns: async (name) => {
      const { state } = supervisedSchema.parse(
        await callOnce(supervisorSocket, 'status', { module: name }, statusDeadlineMs).catch(unlessUnknown),
      );
      if (state === 'stopped') return false;
      try {
        return !(await moduleIsAtRest(modulePaths(runtimeDir, name).control));
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

/** A module that the supervisor does not know has no process. */
function unlessUnknown(error: unknown): { readonly state: 'stopped' } {
  if (error instanceof WorldError && error.code === 'module-unknown') return { state: 'stopped' };
  throw error;
}
