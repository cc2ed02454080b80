/** What QEMU says of a VM (`RunState` in qapi/run-state.json) in the words of the port. */
import type { PauseReason, VmState } from '../port.ts';

export interface RunStatus {
  readonly state: VmState;
  readonly pauseReason: PauseReason | undefined;
}

/** The `status` of a `query-status` reply; `undefined` when the reply has none. */
export function statusOf(reply: unknown): string | undefined {
  const status: unknown = typeof reply === 'object' && reply !== null && Reflect.get(reply, 'status');
  return typeof status === 'string' ? status : undefined;
}

/** In these states virtual CPUs may run; `suspended` is the guest's own sleep, out of which it wakes by itself. */
export function runsGuestCode(status: string): boolean {
  return status === 'running' || status === 'suspended';
}

export function decideRunStatus(status: string | undefined): RunStatus {
  if (status === undefined) return { state: 'unknown', pauseReason: undefined };
  if (runsGuestCode(status)) return { state: 'running', pauseReason: undefined };
  if (status === 'shutdown') return { state: 'stopping', pauseReason: undefined };
  if (status === 'io-error') return { state: 'paused', pauseReason: 'io-error' };
  if (status === 'guest-panicked') return { state: 'paused', pauseReason: 'guest-panicked' };
  return { state: 'paused', pauseReason: 'elsewhere' };
}
