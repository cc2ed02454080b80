/** A witness as a real process, from its compiled program, and the commands of `vmpair witness` beside it. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { stringify } from 'yaml';
import { programPath } from '../../src/platform/program-path.ts';
import type { SocketAddress } from '../../src/platform/tls-sockets.ts';

const startDeadlineMs = 90_000;
const commandDeadlineMs = 90_000;

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** `vmpair witness ARGS`. */
export function witnessCommand(...args: readonly string[]): Promise<CommandResult> {
  const command = [programPath('src/cli/main'), 'witness', ...args];
  return new Promise((resolve) => {
    const options = { timeout: commandDeadlineMs, killSignal: 'SIGKILL' } as const;
    const child = execFile(process.execPath, command, options, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    );
  });
}

export class RunningWitness {
  readonly child: ChildProcess;
  readonly address: SocketAddress;
  readonly metrics: SocketAddress | undefined;
  readonly #errors: () => string;

  private constructor(
    child: ChildProcess,
    listening: { readonly listening: SocketAddress; readonly metrics?: SocketAddress },
    errors: () => string,
  ) {
    this.child = child;
    this.address = listening.listening;
    this.metrics = listening.metrics;
    this.#errors = errors;
  }

  static write(configFile: string, config: object): void {
    writeFileSync(configFile, stringify(config));
  }

  /** `vmpair witness run`; answers when it listens, or the exit code and standard error of one that ended. */
  static async start(configFile: string): Promise<RunningWitness | CommandResult> {
    const command = [programPath('src/cli/main'), 'witness', 'run', '--config', configFile];
    const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'] });
    let errors = '';
    child.stderr.on('data', (bytes) => (errors += String(bytes)));
    const lines = createInterface({ input: child.stdout });
    const signal = AbortSignal.timeout(startDeadlineMs);
    try {
      const outcome = await Promise.race([
        once(lines, 'line', { signal }).then(([line]) => String(line)),
        once(child, 'close', { signal }).then(() => undefined),
      ]);
      if (outcome === undefined) return { code: child.exitCode ?? -1, stdout: '', stderr: errors };
      return new RunningWitness(child, JSON.parse(outcome), () => errors);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  /** One that must start. */
  static async started(configFile: string): Promise<RunningWitness> {
    const witness = await RunningWitness.start(configFile);
    if (witness instanceof RunningWitness) return witness;
    throw new Error(`the witness ended with ${witness.code}: ${witness.stderr}`);
  }

  get log(): string {
    return this.#errors();
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const closed = once(this.child, 'close');
      this.child.kill(signal);
      await closed;
    }
    return this.child.exitCode;
  }
}
