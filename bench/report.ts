/** What a run of the bench found, as text: tables for the terminal and the page with the results. Pure. */
import { type Figure, showNumber, verdictOf } from './figures.ts';

export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** What one part of the bench found. */
export interface Section {
  readonly title: string;
  /** How it was measured, in sentences. */
  readonly how: string;
  readonly table: Table;
  readonly figures: readonly Figure[];
}

export interface MachineFacts {
  readonly cpus: number;
  readonly model: string;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly tools: readonly string[];
  readonly version: string;
  readonly commit: string;
  readonly date: string;
  /** Processes that wanted to run before the bench began, mean of a minute: what else the machine was doing. */
  readonly loadBefore: number;
}

export interface RunFacts {
  readonly rounds: number;
  readonly seconds: number;
}

/** Markdown, columns padded to the same width. */
export function renderTable({ columns, rows }: Table): string {
  const widths = columns.map((column, index) =>
    Math.max(3, column.length, ...rows.map((row) => (row[index] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, index) => (cells[index] ?? '').padEnd(width)).join(' | ')} |`;
  return [line(columns), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

/** Goal, measured, met or missed; figures without a goal stay in the tables of their sections. */
export function goalsTable(sections: readonly Section[]): Table {
  const figures = sections.flatMap(({ figures: all }) => all).filter(({ goal }) => goal !== undefined);
  return {
    columns: ['figure', 'goal', 'measured', 'verdict'],
    rows: figures.map((figure) => [
      figure.what,
      `${figure.goal?.bound} ${figure.goal?.value} ${figure.unit}`,
      `${showNumber(figure.value)} ${figure.unit}`,
      verdictOf(figure),
    ]),
  };
}

export function describeMachine(machine: MachineFacts): string {
  const { cpus, model, memoryGiB, kernel, node, tools } = machine;
  return [`${cpus} x ${model}`, `${memoryGiB} GiB`, `Linux ${kernel}`, `Node ${node}`, ...tools].join(', ');
}

/** Everything for the terminal. */
export function renderSummary(sections: readonly Section[]): string {
  const goals = goalsTable(sections);
  const blocks = sections.map(({ title, table }) => `\n${title}\n\n${renderTable(table)}`);
  if (goals.rows.length > 0) blocks.push(`\nGoals\n\n${renderTable(goals)}`);
  return blocks.join('\n');
}

/** The page `bench/RESULTS.md`. */
export function renderPage(machine: MachineFacts, run: RunFacts, sections: readonly Section[]): string {
  const parts = sections.map(({ title, how, table }) => `## ${title}\n\n${how}\n\n${renderTable(table)}`);
  return `${[
    '# Results of the bench',
    'Written by `npm run bench -- --write`; nothing here is typed by hand.',
    [
      `- Version ${machine.version}, commit ${machine.commit}, ${machine.date}`,
      `- ${describeMachine(machine)}`,
      `- Load of the machine before the run (mean of one minute): ${machine.loadBefore.toFixed(1)}`,
      `- Medians of ${run.rounds} interleaved rounds, ${run.seconds} s of load each; a ratio is the median of the ratios of the rounds.`,
      '- Both nodes, the witness and the load share this machine; its figures are examples of what such a machine shows.',
    ].join('\n'),
    `## Goals\n\n${renderTable(goalsTable(sections))}`,
    ...parts,
  ].join('\n\n')}\n`;
}
