/**
 * Processes that carry a mark in their environment, which every process they start inherits: how a lab finds all that
 * belongs to one of its machines, also what a killed parent left behind. Linux (`/proc/PID/environ`), own user only.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import { killVerified, type ProcessIdentity, readProcessIdentity } from './process-identity.ts';
import { waitUntil } from './wait-until.ts';

/** How long killed processes may take to be gone, ms. */
const goneDeadlineMs = 5000;

/** Every running process with `NAME=VALUE` (given as one text) in the environment that it was started with. */
export function findMarkedProcesses(mark: string): ProcessIdentity[] {
  const found: ProcessIdentity[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const identity = readProcessIdentity(Number(entry));
    if (identity === undefined) continue;
    try {
      const environment = readFileSync(`/proc/${entry}/environ`, 'latin1');
      if (environment.split('\0').includes(Buffer.from(mark).toString('latin1'))) found.push(identity);
    } catch {
      // Another user's process, or one that has just ended.
    }
  }
  return found;
}

/** Kills `first` and then all that carry the mark, until none is left. Returns whether that came about in time. */
export async function killMarkedProcesses(
  mark: string,
  first: readonly ProcessIdentity[],
  clock: Clock,
): Promise<boolean> {
  for (const identity of first) killVerified(identity, 'SIGKILL');
  const gone = await waitUntil(clock, goneDeadlineMs, () => {
    const left = findMarkedProcesses(mark);
    for (const identity of left) killVerified(identity, 'SIGKILL');
    return left.length === 0 ? true : undefined;
  });
  return gone === true;
}
