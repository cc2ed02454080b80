/** When a process was started, by the clock of the day. Linux (`/proc`), to 10 ms. */
import { readFileSync } from 'node:fs';
import { readProcessIdentity } from '../src/platform/process-identity.ts';

const msPerTick = 10;

/** Milliseconds since 1970. Throws when the process is gone. */
export function processStartMs(pid: number): number {
  const identity = readProcessIdentity(pid);
  if (identity === undefined) throw new Error(`wanted the start of process ${pid}, which is gone`);
  const uptimeMs = Number(readFileSync('/proc/uptime', 'ascii').split(' ')[0]) * 1000;
  return Date.now() - uptimeMs + Number(identity.startTicks) * msPerTick;
}
