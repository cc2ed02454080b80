/**
 * What repeated runs of one measurement say: median, 90th percentile and maximum. The 99th percentile of up to a hundred runs is
 * their maximum, and is called so. Pure.
 */
import { type Figure, showNumber } from '../../bench/figures.ts';
import type { Section } from '../../bench/report.ts';

/** One thing that is measured in every run of a measurement. */
export interface Measure {
  /** Kebab-case; stays the same from run to run. */
  readonly id: string;
  readonly what: string;
  /** The maximum may be this, ms. */
  readonly goalMs?: number;
}

export interface Measurement {
  readonly title: string;
  /** How it was measured, in sentences. */
  readonly how: string;
  readonly measures: readonly Measure[];
  /** A row for each run: the values of `measures` in their order, ms; NaN for what was not seen. */
  readonly runs: readonly (readonly number[])[];
}

/** The smallest value that `share` of the values do not exceed; NaN of nothing. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/** A value that was not seen makes the maximum NaN: its goal is missed. */
function maximum(values: readonly number[]): number {
  return values.some(Number.isNaN) || values.length === 0 ? Number.NaN : Math.max(...values);
}

export function sectionOf({ title, how, measures, runs }: Measurement): Section {
  const columns = measures.map((_measure, index) => runs.map((run) => run[index] ?? Number.NaN));
  const figures = measures.map(({ id, what, goalMs }, index): Figure => {
    const value = maximum(columns[index] ?? []);
    const goal = goalMs === undefined ? {} : { goal: { bound: 'at most', value: goalMs } as const };
    return { id, what: `${what}, maximum of ${runs.length}`, value, unit: 'ms', ...goal };
  });
  return {
    title,
    how,
    table: {
      columns: ['ms', 'runs', 'median', '90th percentile', 'maximum'],
      rows: measures.map(({ what }, index) => {
        const values = columns[index] ?? [];
        const shown = [quantile(values, 0.5), quantile(values, 0.9), maximum(values)];
        return [what, String(runs.length), ...shown.map(showNumber)];
      }),
    },
    figures,
  };
}
