/**
 * Fault injection for the lab: while a marker file exists, the link of this process behaves like a cut cable.
 * The file is looked for every `pollIntervalMs`, so a cut begins and heals that much late. It never deletes
 * or creates the file.
 */
import { existsSync } from 'node:fs';

/** Also how long after the file appeared bytes may still pass. */
const pollIntervalMs = 50;

export interface CutWatch {
  isCut(): boolean;
  stop(): void;
}

/** Watches `file` and calls `changed` after each change; without a file the cable is never cut. */
export function watchCutMarker(file: string | undefined, changed: () => void): CutWatch {
  if (file === undefined) return { isCut: () => false, stop: () => undefined };
  let cut = existsSync(file);
  const timer = setInterval(() => {
    const now = existsSync(file);
    if (now === cut) return;
    cut = now;
    changed();
  }, pollIntervalMs);
  return { isCut: () => cut, stop: () => clearInterval(timer) };
}
