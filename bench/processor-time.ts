/**
 * Processor time that processes used, user and system, from proc_pid_stat(5). Per operation it is steadier than operations
 * per second on a machine that others use as well. Work of the kernel on nobody's behalf (write-back) is not in it.
 */
import { readFileSync } from 'node:fs';

/** Clock ticks a second in `/proc`, the same on every Linux that Node runs on. */
const ticksPerSecond = 100;

/** Seconds that one process and its children that ended and were waited for have used; 0 when it is gone. */
function processorSecondsOf(pid: number): number {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return 0;
  }
  // Fields 14 to 17: utime, stime, cutime, cstime. The name in field 2 may hold blanks.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / ticksPerSecond;
}

export function processorSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + processorSecondsOf(pid), 0);
}

/** Running children of a process, at any depth. */
export function descendants(pid: number): number[] {
  let children: number[];
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1');
    children = text
      .split(' ')
      .filter((entry) => entry !== '')
      .map(Number);
  } catch {
    return [];
  }
  return children.flatMap((child) => [child, ...descendants(child)]);
}
