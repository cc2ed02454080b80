/**
 * A small JSON file beside the metadata that is read at the start of a process and replaced as a whole. When several contents wait to be
 * written, only the newest is. Trouble with it is logged and never keeps a module from working.
 */
import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import type { Log } from '../../src/base/log.ts';
import { replaceFile } from '../../src/platform/durable-file.ts';

export class SmallFile {
  readonly #file: string;
  readonly #log: Log;
  /** What the log calls it: `NAME-unreadable`, `NAME-not-kept`. */
  readonly #name: string;
  #next: { readonly text: string; readonly waiting: readonly (() => void)[] } | undefined;
  #writing = false;

  constructor(file: string, name: string, log: Log) {
    this.#file = file;
    this.#name = name;
    this.#log = log;
  }

  /** `undefined`: there is none that can be used. */
  read<Schema extends z.ZodType>(schema: Schema): z.infer<Schema> | undefined {
    let text: string;
    try {
      text = readFileSync(this.#file, 'utf8');
    } catch {
      return undefined;
    }
    try {
      return schema.parse(JSON.parse(text));
    } catch (error) {
      this.#log.warn(`${this.#name}-unreadable`, { file: this.#file, because: String(error) });
      return undefined;
    }
  }

  /** `then` when this, or something newer, is durable, or cannot be made so. */
  write(content: object, then: () => void = () => {}): void {
    this.#next = { text: `${JSON.stringify(content)}\n`, waiting: [...(this.#next?.waiting ?? []), then] };
    this.#writeNext();
  }

  #writeNext(): void {
    if (this.#next === undefined || this.#writing) return;
    const { text, waiting } = this.#next;
    this.#next = undefined;
    this.#writing = true;
    void replaceFile(this.#file, text, 0o600)
      .catch((error: unknown) =>
        this.#log.warn(`${this.#name}-not-kept`, { file: this.#file, because: String(error) }),
      )
      .finally(() => {
        this.#writing = false;
        for (const then of waiting) then();
        this.#writeNext();
      });
  }
}
