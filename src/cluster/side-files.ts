/** Where the blocks of a copy that is given up are kept: a port, so that the rules that use it stay pure. */
import type { SplitRange } from '../base/status.ts';

export interface SideFileContent {
  /** Since when this copy went on alone, and when a split was seen; times of day. */
  readonly since: string | undefined;
  readonly seenAt: string | undefined;
  /** Node whose copy is kept in the place of this one. */
  readonly keep: string;
  /** In the order of the volumes. */
  readonly volumes: readonly { readonly name: string; readonly ranges: readonly SplitRange[] }[];
}

export interface SideFilePort {
  /** Whether there is room for so many bytes; a string says why not. Nothing is changed. */
  checkRoom(neededBytes: number, done: (problem: string | undefined) => void): void;
  /**
   * Copies the ranges of all volumes, which nobody writes to meanwhile. Answers the names of the files when all are complete and
   * durable; or a sentence, and then there is none of them.
   */
  write(content: SideFileContent, done: (result: readonly string[] | string) => void): void;
}
