/**
 * Which fault fell in which phase: counted over many seeds, printed as a table, and asked to have no empty cell but those that
 * cannot be by definition.
 */
import { type FaultName, faultNames, faultTable } from './faults.ts';
import { type Phase, phases, phasesOf } from './phases.ts';
import type { SimulatedHost } from './simulated-host.ts';
import type { World } from './world.ts';

export type Cell = `${FaultName} in ${Phase}`;
export type Coverage = Map<string, number>;

const noProcess = 'there is no process to be struck, or to hear a command';

/** Cells that cannot be, with the reason. */
const impossible: ReadonlyMap<Cell, string> = new Map<Cell, string>([
  ['kill in no-process', noProcess],
  ['freeze-process in no-process', noProcess],
  ['swap in no-process', noProcess],
  ['prim in no-process', noProcess],
  ['second in no-process', noProcess],
  ['swap in starting', 'the control socket does not exist yet'],
  ['prim in starting', 'the control socket does not exist yet'],
  ['second in starting', 'the control socket does not exist yet'],
]);

/** Every cell that can be, in a fixed order. */
export const possibleCells: readonly { readonly fault: FaultName; readonly phase: Phase }[] =
  faultNames.flatMap((fault) =>
    phases.filter((phase) => !impossible.has(`${fault} in ${phase}`)).map((phase) => ({ fault, phase })),
  );

export function countFault(coverage: Coverage, world: World, fault: FaultName, host: SimulatedHost): void {
  const struck = faultTable[fault].scope === 'world' ? world.hosts : [host];
  for (const phase of new Set(struck.flatMap(phasesOf))) {
    const cell = `${fault} in ${phase}`;
    coverage.set(cell, (coverage.get(cell) ?? 0) + 1);
  }
}

export function addCoverage(sum: Coverage, more: ReadonlyMap<string, number>): void {
  for (const [cell, count] of more) sum.set(cell, (sum.get(cell) ?? 0) + count);
}

export function emptyCells(coverage: Coverage): readonly string[] {
  return possibleCells
    .map(({ fault, phase }) => `${fault} in ${phase}`)
    .filter((cell) => !coverage.has(cell));
}

/** Faults down, phases across (numbered, with a legend), `-` where nothing can be. */
export function coverageTable(coverage: Coverage): string {
  const width = Math.max(...faultNames.map(({ length }) => length));
  const cellOf = (fault: FaultName, phase: Phase): string => {
    const cell = `${fault} in ${phase}` as const;
    const count = coverage.get(cell) ?? 0;
    return (count === 0 && impossible.has(cell) ? '-' : String(count)).padStart(5);
  };
  const legend = phases.map((phase, index) => `${index + 1} ${phase}`).join(', ');
  const head = `${''.padEnd(width)}${phases.map((_phase, index) => String(index + 1).padStart(5)).join('')}`;
  const rows = faultNames.map(
    (fault) => `${fault.padEnd(width)}${phases.map((phase) => cellOf(fault, phase)).join('')}`,
  );
  return ['faults by the phase in which they fell:', legend, head, ...rows].join('\n');
}
