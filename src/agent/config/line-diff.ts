/** The lines that differ between two texts, with some around them, as `diff -u` shows them. Pure. */

/** Equal lines that are shown before and after a difference. */
const contextLines = 3;
/** Above this many lines that differ at both ends, the texts are shown as replaced: the comparison takes their product. */
const comparedLinesMax = 2000;

interface Step {
  readonly kind: ' ' | '-' | '+';
  readonly line: string;
}

function linesOf(text: string): readonly string[] {
  if (text === '') return [];
  return (text.endsWith('\n') ? text.slice(0, -1) : text).split('\n');
}

/** Longest common subsequence of the middle parts, as steps. */
function middleSteps(before: readonly string[], after: readonly string[]): Step[] {
  const replaced = (): Step[] => [
    ...before.map((line): Step => ({ kind: '-', line })),
    ...after.map((line): Step => ({ kind: '+', line })),
  ];
  if (before.length > comparedLinesMax || after.length > comparedLinesMax) return replaced();
  const width = after.length + 1;
  const lengths = new Uint16Array((before.length + 1) * width);
  const at = (row: number, column: number): number => lengths[row * width + column] ?? 0;
  for (let row = before.length - 1; row >= 0; row -= 1) {
    for (let column = after.length - 1; column >= 0; column -= 1) {
      lengths[row * width + column] =
        before[row] === after[column]
          ? at(row + 1, column + 1) + 1
          : Math.max(at(row + 1, column), at(row, column + 1));
    }
  }
  const steps: Step[] = [];
  let [row, column] = [0, 0];
  while (row < before.length || column < after.length) {
    if (row < before.length && column < after.length && before[row] === after[column]) {
      steps.push({ kind: ' ', line: before[row] as string });
      row += 1;
      column += 1;
    } else if (
      column === after.length ||
      (row < before.length && at(row + 1, column) >= at(row, column + 1))
    ) {
      steps.push({ kind: '-', line: before[row] as string });
      row += 1;
    } else {
      steps.push({ kind: '+', line: after[column] as string });
      column += 1;
    }
  }
  return steps;
}

function stepsBetween(before: readonly string[], after: readonly string[]): Step[] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  const rest = Math.min(before.length, after.length) - start;
  while (end < rest && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  const equal = (line: string): Step => ({ kind: ' ', line });
  return [
    ...before.slice(0, start).map(equal),
    ...middleSteps(before.slice(start, before.length - end), after.slice(start, after.length - end)),
    ...before.slice(before.length - end).map(equal),
  ];
}

/** Lines that begin with ` `, `-` or `+`, in hunks that begin with `@@ -LINE +LINE @@`; empty: the texts have the same lines. */
export function lineDiff(before: string, after: string): readonly string[] {
  const steps = stepsBetween(linesOf(before), linesOf(after));
  const shown = new Set<number>();
  steps.forEach(({ kind }, index) => {
    if (kind === ' ') return;
    for (let near = index - contextLines; near <= index + contextLines; near += 1) shown.add(near);
  });
  const lines: string[] = [];
  let [oldLine, newLine] = [1, 1];
  steps.forEach(({ kind, line }, index) => {
    if (shown.has(index)) {
      if (!shown.has(index - 1) || index === 0) lines.push(`@@ -${oldLine} +${newLine} @@`);
      lines.push(`${kind}${line}`);
    }
    if (kind !== '+') oldLine += 1;
    if (kind !== '-') newLine += 1;
  });
  return lines;
}
