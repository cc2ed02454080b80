/**
 * A process that can be recognised again: pid, start time and the host's boot. A recycled pid is never taken for the
 * process that had it before, neither for "it still runs" nor for a signal. Linux (`/proc`).
 */
import { readFileSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';

export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks between boot and the start of the process, as decimal digits: field 22 of proc_pid_stat(5). */
  readonly startTicks: string;
  /** Boot of the host under which `startTicks` counts. */
  readonly hostBoot: string;
}

/** How often a waiting caller looks whether a process is gone, ms. */
const goneCheckIntervalMs = 10;

const hostBoot = readFileSync('/proc/sys/kernel/random/boot_id', 'ascii').trim();

/** The identity of the process that has `pid` now; `undefined` when there is none or only its zombie is left. */
export function readProcessIdentity(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The second field is the program name in parentheses and may hold blanks and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const startTicks = fields[19];
  if (startTicks === undefined || state === 'X') return undefined;
  // A killed process shows as a zombie as soon as its first thread is gone; the other threads may still be in a system call.
  if (state === 'Z' && Number(fields[17]) <= 1) return undefined;
  return { pid, startTicks, hostBoot };
}

export function isAlive(identity: ProcessIdentity): boolean {
  const found = readProcessIdentity(identity.pid);
  return found?.startTicks === identity.startTicks && found.hostBoot === identity.hostBoot;
}

/** Sends `signal` if the process is still the same one. Returns whether it was sent. */
export function killVerified(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    return process.kill(identity.pid, signal);
  } catch {
    return false;
  }
}

/** Resolves to whether the process was gone within `deadlineMs`. */
export function waitUntilGone(identity: ProcessIdentity, deadlineMs: number, clock: Clock): Promise<boolean> {
  const endMs = clock.nowMs() + deadlineMs;
  return new Promise((resolve) => {
    const look = () => {
      if (!isAlive(identity)) return resolve(true);
      if (clock.nowMs() >= endMs) return resolve(false);
      clock.after(goneCheckIntervalMs, look);
    };
    look();
  });
}

/** Parses what `JSON.stringify` made of an identity; `undefined` for anything else. */
export function parseProcessIdentity(value: unknown): ProcessIdentity | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { pid, startTicks, hostBoot: boot } = value as Record<string, unknown>;
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 1) return undefined;
  if (typeof startTicks !== 'string' || typeof boot !== 'string') return undefined;
  return { pid, startTicks, hostBoot: boot };
}
