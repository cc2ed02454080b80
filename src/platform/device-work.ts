/**
 * What the block device under a file has completed, from the kernel's counters in sysfs (Documentation/block/stat.rst): memory, so
 * that reading them does not wait for the device. A file system without one block device of its own (btrfs, NFS, tmpfs, overlay)
 * has no counters, and counters that are switched off stay what they are.
 */
import { readFileSync } from 'node:fs';
import type { DeviceWork, DeviceWorkPort } from '../engine/request-watch.ts';

/** Places in the line of counters: completed requests of each kind. The last two came with later kernels. */
const readsAt = 0;
const changesAt = [4, 11, 15] as const;

/** `dev` is that of stat(2), of the file. */
export function deviceWork(dev: number): DeviceWorkPort {
  const file = `/sys/dev/block/${deviceNumbers(dev)}/stat`;
  return () => {
    try {
      return parseDeviceWork(readFileSync(file, 'latin1'));
    } catch {
      return undefined;
    }
  };
}

/** `MAJOR:MINOR`, as the C library takes a device number apart. */
export function deviceNumbers(dev: number): string {
  const bits = BigInt(dev);
  const major = ((bits >> 8n) & 0xfffn) | ((bits >> 32n) & ~0xfffn);
  const minor = (bits & 0xffn) | ((bits >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

export function parseDeviceWork(stat: string): DeviceWork | undefined {
  const counters = stat.trim().split(/\s+/).map(Number);
  const reads = counters.length > changesAt[0] ? counters[readsAt] : undefined;
  const changes = changesAt.reduce((sum: number, at) => sum + (counters[at] ?? 0), 0);
  return reads === undefined || Number.isNaN(reads + changes) ? undefined : { reads, changes };
}
