/**
 * Runs a program of the administrator's choice, which may hang, flood its output, or leave children behind: it runs in a process
 * group of its own that is killed as a whole at the deadline, the end of its output is kept, and the answer comes at the deadline
 * at the latest, also when the killed process cannot die (it waits for a disk). A child that leaves the group is not found.
 */
import { type ChildProcess, spawn } from 'node:child_process';

/** The end of what it printed, bytes. */
const outputBytesMax = 2048;
/** Of an answer, characters that a sentence shows. */
const shownCharactersMax = 300;
/** How long output is waited for after the end of the program: a child may keep it open for ever. */
const outputGraceMs = 200;

export interface ProgramOutcome {
  /** Exit code; `undefined`: it could not be started, was ended by a signal, or did not end in time. */
  readonly code: number | undefined;
  /** How it ended, in words: `exit code 3: no route to host`. */
  readonly because: string;
  /** The end of its standard output and error, as it came. */
  readonly output: string;
}

export interface RunningProgram {
  /** Kills it and its children; the outcome follows. Idempotent. */
  abandon(because: string): void;
}

/** Starts it at once; `ended` exactly once, within `deadlineMs`, and not from inside the call. */
export function runBounded(
  program: string,
  programArguments: readonly string[],
  options: { readonly deadlineMs: number; readonly env?: Readonly<Record<string, string>> },
  ended: (outcome: ProgramOutcome) => void,
): RunningProgram {
  let child: ChildProcess;
  try {
    const env = { ...process.env, ...options.env };
    // A group of its own.
    child = spawn(program, programArguments, { detached: true, stdio: ['ignore', 'pipe', 'pipe'], env });
  } catch (error) {
    const because = `it could not be started: ${error instanceof Error ? error.message : String(error)}`;
    setImmediate(() => ended({ code: undefined, because, output: '' }));
    return { abandon: () => {} };
  }
  let output = Buffer.alloc(0);
  let settled = false;
  const settle = (code: number | undefined, how: string): void => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    child.stdout?.destroy();
    child.stderr?.destroy();
    child.unref();
    const text = output.toString('utf8').trim();
    const said = text.replaceAll(/\s+/g, ' ').slice(-shownCharactersMax);
    ended({ code, because: said === '' ? how : `${how}: ${said}`, output: text });
  };
  const kill = (how: string): void => {
    if (settled) return;
    killGroup(child);
    setImmediate(() => settle(undefined, how));
  };
  const timer = setTimeout(
    () => kill(`no end within ${(options.deadlineMs / 1000).toFixed(1)} s`),
    options.deadlineMs,
  );
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      output = Buffer.concat([output, chunk]).subarray(-outputBytesMax);
    });
    stream?.on('error', () => {});
  }
  child.on('error', (error) => settle(undefined, `it could not be started: ${error.message}`));
  child.on('exit', (code, signal) => {
    const how = code === null ? `ended by ${signal}` : `exit code ${code}`;
    const done = (): void => settle(code ?? undefined, how);
    child.on('close', done);
    setTimeout(done, outputGraceMs).unref();
  });
  return { abandon: kill };
}

/** Only as long as its leader has not been waited for: until then nobody else can have its number. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}
