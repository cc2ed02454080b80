/**
 * How a command ends: what it prints and its exit code. Exit codes are stable; scripts rely on them:
 * 0 done, 1 failed, 2 wrong command line (nothing was changed), 3 the process that should answer does not,
 * 4 it answered and refused.
 */
import type { ErrorCode } from '../base/error-catalogue.ts';
import { WorldError } from '../base/errors.ts';
import { ReplaceError } from '../platform/durable-file.ts';
import { describeError } from '../platform/program-exit.ts';

export const exitCodes = { done: 0, failed: 1, usage: 2, unreachable: 3, refused: 4 } as const;

const codeExits: Partial<Record<ErrorCode, number>> = {
  'usage-wrong': exitCodes.usage,
  'control-unreachable': exitCodes.unreachable,
  'control-refused': exitCodes.refused,
  'agent-unreachable': exitCodes.unreachable,
  'not-authenticated': exitCodes.refused,
  'not-allowed': exitCodes.refused,
  'request-invalid': exitCodes.refused,
};

export function exitCodeFor(error: WorldError): number {
  return codeExits[error.code] ?? exitCodes.failed;
}

/** For people three lines, wanted, found and next; for programs one JSON line. */
export function renderError(error: WorldError, json: boolean): string {
  const { code, wanted, found, next } = error;
  if (json) return `${JSON.stringify({ error: { code, wanted, found, next } })}\n`;
  return describeError(error);
}

/** A result: one JSON line, or a text for people. */
export function printResult(json: boolean, value: unknown, text: () => string): void {
  process.stdout.write(json ? `${JSON.stringify(value ?? null)}\n` : `${text().trimEnd()}\n`);
}

/** What the operating system refused and nobody has said more precisely; `undefined` for anything else. */
export function systemError(error: unknown): WorldError | undefined {
  if (error instanceof ReplaceError) return systemError(error.cause);
  if (!(error instanceof Error) || !('syscall' in error)) return undefined;
  return new WorldError(
    'file-io',
    {
      wanted: 'the operating system to do what this command needs',
      found: error.message,
      next: 'Check the path, its rights and the space of its file system.',
    },
    error,
  );
}

export function usageError(found: string): WorldError {
  return new WorldError('usage-wrong', {
    wanted: 'a command line as "vmpair --help" describes it',
    found,
    next: 'See "vmpair --help" or "vmpair COMMAND --help"; nothing was changed.',
  });
}
