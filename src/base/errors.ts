/**
 * What the world does wrong (peer, disk, hypervisor, input) is data: a `WorldError` with a stable code that says what was
 * wanted, what was found and what to do next. Our own bugs are `InvariantError` (assert.ts), never this.
 */
import type { ErrorCode } from './error-catalogue.ts';

export interface WorldProblem {
  /** What the program wanted to do or to see. */
  readonly wanted: string;
  /** What it found instead. */
  readonly found: string;
  /** The next step for the administrator. */
  readonly next: string;
}

export class WorldError extends Error {
  override readonly name = 'WorldError';
  readonly code: ErrorCode;
  readonly wanted: string;
  readonly found: string;
  readonly next: string;

  constructor(code: ErrorCode, problem: WorldProblem, cause?: unknown) {
    super(`${code}: wanted ${problem.wanted}; found ${problem.found}. Next: ${problem.next}`, { cause });
    this.code = code;
    this.wanted = problem.wanted;
    this.found = problem.found;
    this.next = problem.next;
  }
}
