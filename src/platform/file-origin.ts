/**
 * Which file this is, on the file system that holds it: inode number and birth time. Both stay when a file is renamed or the
 * file system is mounted again; a copy, a restored backup and a file that was moved to another file system have others. So a
 * file that carries its own origin in its content tells whether it still is the file that was written.
 *
 * Not told apart: whatever puts back the file system as a whole (a snapshot of a machine or of a volume), and a further name
 * (hard link) of the same file.
 */
import type { BigIntStats } from 'node:fs';

/** `INODE/BIRTH`, the birth time in nanoseconds; 0 where the file system keeps none. */
export type FileOrigin = string;

export const fileOriginPattern = /^\d{1,20}\/\d{1,20}$/;

export function originOf({ ino, birthtimeNs }: Pick<BigIntStats, 'ino' | 'birthtimeNs'>): FileOrigin {
  return `${ino}/${birthtimeNs}`;
}

/** Without a birth time a new file that reuses an inode number cannot be told from the one before. */
export function hasBirthTime(origin: FileOrigin): boolean {
  return !origin.endsWith('/0');
}
