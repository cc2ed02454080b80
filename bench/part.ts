/** What every part of the bench gets and gives. */
import type { BenchOptions } from './options.ts';
import type { Section } from './report.ts';
import type { Scratch } from './scratch.ts';

export interface Bench {
  readonly options: BenchOptions;
  readonly scratch: Scratch;
  /** A line for the person who waits; not part of the results. */
  progress(line: string): void;
}

export type Part = (bench: Bench) => Promise<Section>;
