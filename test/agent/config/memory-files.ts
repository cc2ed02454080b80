/** A directory of revisions in memory, whose machine dies at a chosen write: before it, or after it became durable. */
import type { RevisionFiles } from '../../../src/agent/config/revision-files.ts';

/** The process is gone: nothing after the write happens. */
export class Crash extends Error {}

export class MemoryFiles implements RevisionFiles {
  readonly directory = '/revisions';
  readonly content = new Map<string, string>();
  /** Called before each write and removal; may throw `Crash` itself, or ask for one right after the write. */
  beforeWrite: (name: string) => 'go-on' | 'crash-after' = () => 'go-on';

  list(): Promise<readonly string[]> {
    return Promise.resolve([...this.content.keys()]);
  }
  read(name: string): Promise<string | undefined> {
    return Promise.resolve(this.content.get(name));
  }
  async replace(name: string, text: string): Promise<void> {
    const then = this.beforeWrite(name);
    this.content.set(name, text);
    if (then === 'crash-after') throw new Crash();
  }
  async remove(name: string): Promise<void> {
    const then = this.beforeWrite(name);
    this.content.delete(name);
    if (then === 'crash-after') throw new Crash();
  }
}
