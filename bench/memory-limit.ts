/**
 * A limit on the memory of some processes, page cache included, by a control group of version 1: past it the kernel lets a
 * write wait until dirty pages are on the disk, which is the throttling that a whole machine does at a larger amount.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = '/sys/fs/cgroup/memory';

export class MemoryLimit {
  readonly #directory: string;

  /** `undefined` where this machine lets us make none. The processes must have ended before `remove`. */
  static create(name: string, limitBytes: number, pids: readonly number[]): MemoryLimit | undefined {
    if (!existsSync(join(root, 'memory.limit_in_bytes'))) return undefined;
    const directory = join(root, name);
    try {
      mkdirSync(directory);
      writeFileSync(join(directory, 'memory.limit_in_bytes'), String(limitBytes));
      for (const pid of pids) writeFileSync(join(directory, 'cgroup.procs'), String(pid));
    } catch {
      removeGroup(directory);
      return undefined;
    }
    return new MemoryLimit(directory);
  }

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** How often the limit made a process wait for memory so far. */
  get reached(): number {
    return Number(readFileSync(join(this.#directory, 'memory.failcnt'), 'utf8'));
  }

  remove(): void {
    removeGroup(this.#directory);
  }
}

/** Names of groups that begin so. */
export function memoryLimitsNamed(prefix: string): string[] {
  return existsSync(root) ? readdirSync(root).filter((name) => name.startsWith(prefix)) : [];
}

/** Removes a group whose processes have ended. */
export function removeMemoryLimit(name: string): void {
  removeGroup(join(root, name));
}

function removeGroup(directory: string): void {
  if (existsSync(directory)) rmdirSync(directory);
}
