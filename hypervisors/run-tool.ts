/** Runs a short-lived program of the host to its end, with a deadline and bounded output. */
import { execFile } from 'node:child_process';

const outputBytesMax = 64 * 1024 * 1024;
/** Where tools for file systems are, and where the `PATH` of ordinary users does not look. */
const administrationPath = '/usr/sbin:/sbin';

export interface ToolResult {
  /** Exit status; `undefined` when it could not be started, was ended by a signal, or ran into the deadline. */
  readonly status: number | undefined;
  readonly output: Buffer;
  /** For messages: what went wrong, one line. */
  readonly problem: string;
}

export function runTool(
  program: string,
  programArguments: readonly string[],
  timeoutMs: number,
): Promise<ToolResult> {
  return new Promise((resolve) => {
    const options = {
      timeout: Math.max(1, timeoutMs),
      killSignal: 'SIGKILL',
      maxBuffer: outputBytesMax,
      encoding: 'buffer',
      env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:${administrationPath}` },
    } as const;
    execFile(program, programArguments, options, (error, output, errorOutput) => {
      if (error === null) return resolve({ status: 0, output, problem: '' });
      const said = errorOutput.toString('utf8').trim().split('\n').at(-1) ?? '';
      const ended = error.killed === true ? `no end within ${Math.round(timeoutMs)} ms` : error.message;
      const problem = `${program}: ${said === '' ? ended : said}`.replace(/\s+/g, ' ');
      resolve({ status: typeof error.code === 'number' ? error.code : undefined, output, problem });
    });
  });
}
