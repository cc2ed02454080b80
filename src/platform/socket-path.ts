/** The length limit of unix socket paths (unix(7): `sun_path` holds 108 bytes with its terminating zero). */
import { WorldError } from '../base/errors.ts';

export const socketPathBytesMax = 107;

/** Throws `socket-path-too-long`; the kernel's own message would not say what is wrong. */
export function checkSocketPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= socketPathBytesMax) return;
  throw new WorldError('socket-path-too-long', {
    wanted: `a unix socket path of at most ${socketPathBytesMax} bytes`,
    found: `${bytes} bytes: ${path}`,
    next: 'Choose a directory with a shorter path for the run-time files.',
  });
}
