/**
 * Whether the operator wants this module to run on this node: a small file beside the metadata, so that a process that is
 * started again goes on as it was. Written durably before the answer to the operator; unreadable counts as stopped.
 */
import { readFileSync } from 'node:fs';
import { replaceFile } from '../../src/platform/durable-file.ts';

export type RunWish = 'started' | 'stopped';

export function runWishFile(metadataFile: string): string {
  return `${metadataFile}.run`;
}

export function readRunWish(file: string): RunWish {
  try {
    return readFileSync(file, 'utf8').trim() === 'started' ? 'started' : 'stopped';
  } catch {
    return 'stopped';
  }
}

export function writeRunWish(file: string, wish: RunWish): Promise<void> {
  return replaceFile(file, `${wish}\n`, 0o600);
}
