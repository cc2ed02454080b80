import type { StartNotice } from '../../src/starts/start-notice.ts';

/** What a module says whose VM is off and not to start, but for what the test names. */
export function notice(module: string, changes: Partial<StartNotice> = {}): StartNotice {
  return {
    version: 1,
    module,
    priority: 50,
    after: [],
    phase: 'idle',
    sinceMs: 0,
    expectedByMs: 0,
    failedTurns: 0,
    vm: 'off',
    wouldRun: true,
    ...changes,
  };
}
