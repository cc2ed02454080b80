/**
 * Fault injection for the lab: while a marker file exists, a network of this process behaves like a cut cable.
 * The files are looked for every `pollIntervalMs`, so a cut begins and heals that much late. It never deletes
 * or creates one.
 */
import { existsSync } from 'node:fs';

/** Also how long after the file appeared bytes may still pass. */
const pollIntervalMs = 50;

export interface CutWatch {
  isCut(): boolean;
  stop(): void;
}

/** The marker of one network, beside that of the link as a whole; `network` counts from 1. */
export function networkCutMarker(file: string, network: number): string {
  return `${file}-${network}`;
}

/** The cable is cut while any of `files` exists; calls `changed` after each change. */
export function watchCutMarkers(files: readonly string[], changed: () => void): CutWatch {
  if (files.length === 0) return { isCut: () => false, stop: () => undefined };
  const isCut = (): boolean => files.some((file) => existsSync(file));
  let cut = isCut();
  const timer = setInterval(() => {
    const now = isCut();
    if (now === cut) return;
    cut = now;
    changed();
  }, pollIntervalMs);
  return { isCut: () => cut, stop: () => clearInterval(timer) };
}
