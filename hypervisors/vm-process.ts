/**
 * The process that is a VM: started so that it outlives module and supervisor, recognised again by a mark in its
 * arguments, and never confused with another process that got its pid.
 *
 * A record file (pid, start time, boot) saves the search through `/proc`; it is no more than a hint. The mark is what
 * counts: it is unique per module and run-time directory, and a process that carries it is found without any record.
 * Linux.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { WorldError } from '../src/base/errors.ts';
import {
  isAlive,
  parseProcessIdentity,
  type ProcessIdentity,
  readProcessIdentity,
} from '../src/platform/process-identity.ts';

/** Hex digits of the run-time directory's hash in a mark. */
const markDigits = 16;
/** Bytes of output that an error message quotes. */
const logTailBytes = 600;

/** The mark of the VM of `module`, whose run-time files are in `runtimeDirectory`. Letters, digits, `-` and `_` only. */
export function vmMark(module: string, runtimeDirectory: string): string {
  const digest = createHash('sha256').update(resolve(runtimeDirectory)).digest('hex');
  return `vmpair-${module.replace(/[^A-Za-z0-9_-]/g, '_')}-${digest.slice(0, markDigits)}`;
}

/** Whether the arguments of the process name `mark` as a word of their own. */
function carriesMark(pid: number, mark: string): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split(/[\0,=]/);
    return words.includes(mark);
  } catch {
    return false;
  }
}

function searchByMark(mark: string): ProcessIdentity | undefined {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || !carriesMark(Number(entry), mark)) continue;
    const identity = readProcessIdentity(Number(entry));
    if (identity !== undefined) return identity;
  }
  return undefined;
}

export interface VmProcessFiles {
  readonly mark: string;
  readonly recordFile: string;
  readonly logFile: string;
}

/** The running process of the VM, or `undefined`. */
export function findVmProcess({ mark, recordFile }: VmProcessFiles): ProcessIdentity | undefined {
  let recorded: ProcessIdentity | undefined;
  try {
    recorded = parseProcessIdentity(JSON.parse(readFileSync(recordFile, 'utf8')));
  } catch {
    // No record, or a damaged one: the search answers.
  }
  // A process that is about to be gone has no arguments any more, but may still write.
  if (recorded !== undefined && isAlive(recorded)) return recorded;
  return searchByMark(mark);
}

/**
 * Starts `program` in a session of its own, output to the log file, and records it. The caller sees to it that `mark` is
 * among the arguments. Errors: `vm-start-failed`.
 */
export async function spawnVmProcess(
  files: VmProcessFiles,
  program: string,
  programArguments: readonly string[],
): Promise<{ identity: ProcessIdentity; child: ChildProcess }> {
  const log = openSync(files.logFile, 'w', 0o600);
  try {
    const child = spawn(program, programArguments, { detached: true, stdio: ['ignore', log, log] });
    child.unref();
    await new Promise<void>((started, failed) => {
      child.once('spawn', started);
      child.once('error', failed);
    });
    const identity = child.pid === undefined ? undefined : readProcessIdentity(child.pid);
    if (identity === undefined) throw new Error(quoteLog(files.logFile));
    writeFileSync(`${files.recordFile}.new`, JSON.stringify(identity), { mode: 0o600 });
    renameSync(`${files.recordFile}.new`, files.recordFile);
    return { identity, child };
  } catch (error) {
    throw new WorldError(
      'vm-start-failed',
      {
        wanted: `to start the process of the VM with ${program}`,
        found: error instanceof Error ? error.message : String(error),
        next: `Check that ${program} is installed, then start again.`,
      },
      error,
    );
  } finally {
    closeSync(log);
  }
}

export function removeVmRecord({ recordFile }: VmProcessFiles): void {
  rmSync(recordFile, { force: true });
}

/** The end of the log file as one line, for messages. */
export function quoteLog(logFile: string): string {
  try {
    const text = readFileSync(logFile, 'utf8').trim().replace(/\s+/g, ' ');
    return text === '' ? 'the process ended without a word' : text.slice(-logTailBytes);
  } catch {
    return 'the process ended and left no log';
  }
}
