/** The arithmetic of the bench: medians, ratios round by round, goals and whether they were met. Pure. */

/** What a figure is to be. */
export interface Goal {
  readonly bound: 'at least' | 'at most';
  readonly value: number;
}

/** One result that people compare with earlier runs, and its goal if there is one. */
export interface Figure {
  /** Kebab-case; stays the same from run to run. */
  readonly id: string;
  readonly what: string;
  readonly value: number;
  /** For example `x`, `ms`, `MiB`. */
  readonly unit: string;
  readonly goal?: Goal;
}

export type Verdict = 'met' | 'missed' | 'no goal';

/** The middle value, the mean of the two middle ones for an even count; NaN of nothing. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((one, other) => one - other);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? Number.NaN;
  return (lower + upper) / 2;
}

/**
 * The median of the ratios of each round. What disturbs the machine for longer than a round disturbs both sides of a
 * ratio, so this is steadier than the ratio of two medians.
 */
export function medianRatio(ours: readonly number[], theirs: readonly number[]): number {
  return median(ours.map((value, round) => value / (theirs[round] ?? Number.NaN)));
}

/** A figure that could not be measured (NaN) has missed its goal. */
export function verdictOf({ value, goal }: Pick<Figure, 'value' | 'goal'>): Verdict {
  if (goal === undefined) return 'no goal';
  const met = goal.bound === 'at least' ? value >= goal.value : value <= goal.value;
  return met ? 'met' : 'missed';
}

/** Three digits or more where it is large, two behind the point where it is small. */
export function showNumber(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

/** Turns the list so that another element is first in each round: no system always follows the same one. */
export function rotate<Item>(items: readonly Item[], by: number): Item[] {
  const at = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(at), ...items.slice(0, at)];
}
