/** How a program ends when it cannot start: three lines on standard error that say what was wanted, found and next. */
import { WorldError } from '../base/errors.ts';

/** Exit code of a program that cannot use its configuration or files; restarting does not help (modules/README.md). */
export const exitCodeUnusable = 78;
/** Exit code of a wrong command line. */
export const exitCodeUsage = 2;

export function describeError(error: WorldError): string {
  return `wanted: ${error.wanted}\nfound:  ${error.found}\nnext:   ${error.next}\n`;
}

/** Prints a `WorldError` and sets the exit code; anything else is a bug and is thrown on. */
export function endWithError(error: unknown, exitCode: number = exitCodeUnusable): void {
  if (!(error instanceof WorldError)) throw error;
  process.stderr.write(`${error.code}\n${describeError(error)}`);
  process.exitCode = exitCode;
}
