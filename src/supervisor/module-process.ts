/**
 * The process of one module as seen by the supervisor: its listening sockets, how it is started, found again, asked for a
 * sign of life and ended. It decides nothing (module-watch.ts does).
 *
 * Invariants: the listening sockets stay open here from before the first start until `close`, so that a client that
 * connects while the module restarts waits in the backlog. Signals go only to the verified process.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { type ModulePaths, modulePaths } from '../config/runtime-paths.ts';
import { ControlClient } from '../platform/control-client.ts';
import { boundPath, fetchDescriptor, listenOnUnixSocket } from '../platform/listening-socket.ts';
import {
  isAlive,
  killVerified,
  parseProcessIdentity,
  type ProcessIdentity,
  readProcessIdentity,
  waitUntilGone,
} from '../platform/process-identity.ts';
import { poolThreads } from '../platform/thread-share.ts';
import type { ProcessEnd } from './module-watch.ts';

/** Log size at which the next start begins a new file and keeps the old one as `.1`, bytes. */
export const logRotateBytes = 16 * 1024 * 1024;
/** Bytes of standard error that are kept as the reason of an end. */
const lastWordsBytesMax = 1000;
/** First inherited descriptor: after standard input, output and error. */
export const firstListenFd = 3;
/** How long a process whose control connection broke may take to be gone, ms; else it is only its socket that broke. */
const goneDeadlineMs = 2000;
/** Deadline of the question who runs, put to a process without a record, ms. */
const adoptCallDeadlineMs = 1000;

/**
 * Heaps of the C library in a module process; by its own rule glibc gives nearly each of the first threads one. Those of the pool and of
 * V8 allocate seldom, and what lies scattered over their heaps was measured to keep 5 MB.
 */
const heapsMax = 2;

export interface ModuleProcessOptions {
  readonly name: string;
  readonly volumes: readonly string[];
  readonly runtimeDir: string;
  readonly command: string;
  /** Asked at every start. */
  readonly args: () => readonly string[];
  /** Asked with every ping. */
  readonly pingDeadlineMs: () => number;
  readonly clock: Clock;
  readonly log: Log;
  readonly ended: (end: ProcessEnd) => void;
}

export class ModuleProcess {
  readonly paths: ModulePaths;
  readonly #options: ModuleProcessOptions;
  readonly #client: ControlClient;
  readonly #sockets = new Map<string, number>();
  #identity: ProcessIdentity | undefined;
  #child: ChildProcess | undefined;
  #pinging = false;

  constructor(options: ModuleProcessOptions) {
    this.#options = options;
    this.paths = modulePaths(options.runtimeDir, options.name);
    this.#client = new ControlClient({
      path: this.paths.control,
      disconnected: () => this.#lookForEnd(goneDeadlineMs),
    });
  }

  get pid(): number | undefined {
    return this.#identity?.pid;
  }

  /** Finds the process that an earlier supervisor started, and takes its listening sockets back. */
  async adopt(): Promise<boolean> {
    const identity = this.#recorded() ?? (await this.#answering());
    if (identity === undefined) return false;
    this.#identity = identity;
    this.#options.volumes.forEach((volume, index) => {
      const fd = fetchDescriptor(identity.pid, firstListenFd + index);
      if (fd === undefined)
        return this.#notFetched(volume, 'the process or the right to trace it is missing');
      if (boundPath(fd) === this.paths.nbd(volume)) return void this.#sockets.set(volume, fd);
      closeSync(fd);
      return this.#notFetched(volume, 'the descriptor is another one');
    });
    this.#record();
    return true;
  }

  /** Starts the process in a session of its own; its end, or that it could not be started, is reported. */
  launch(): void {
    const { name, volumes, command, args, log } = this.#options;
    const opened: number[] = [];
    try {
      const listening = volumes.map((volume) => this.#socket(volume));
      this.#rotateLog();
      const output = openSync(this.paths.log, 'a', 0o600);
      opened.push(output);
      const errors = openSync(this.paths.errorLog, 'w', 0o600);
      opened.push(errors);
      const fds = volumes.map((volume, index) => `${volume}=${firstListenFd + index}`).join(',');
      const child = spawn(command, args(), {
        detached: true,
        stdio: ['ignore', output, errors, ...listening],
        env: {
          ...process.env,
          UV_THREADPOOL_SIZE: String(poolThreads),
          MALLOC_ARENA_MAX: String(heapsMax),
          VMPAIR_LISTEN_FDS: fds,
        },
      });
      this.#follow(child);
      log.info('module-launched', { module: name, childPid: child.pid });
    } catch (error) {
      const lastWords = error instanceof Error ? error.message : String(error);
      setImmediate(() => this.#options.ended({ code: undefined, signal: undefined, lastWords }));
    } finally {
      for (const fd of opened) closeSync(fd);
    }
  }

  /**
   * Asks for a sign of life; while one question is open no other is asked. `pauseByMs`: when the guest is to be paused unless
   * the module says more, by the clock of this process; counted from the question, since an answer may have waited to be read.
   */
  ping(answered: (pauseByMs: number | undefined) => void): void {
    if (this.#pinging) return;
    this.#pinging = true;
    const askedMs = this.#options.clock.nowMs();
    this.#client.call('ping', {}, this.#options.pingDeadlineMs()).then(
      (answer) => {
        this.#pinging = false;
        const limitMs = pauseWithinMs(answer);
        answered(limitMs === undefined ? undefined : askedMs + limitMs);
      },
      () => {
        this.#pinging = false;
        this.#lookForEnd(0);
      },
    );
  }

  kill(): void {
    this.#signal('SIGKILL');
  }

  askToExit(): void {
    this.#signal('SIGTERM');
  }

  /** Lets go: closes the listening sockets held here; the process stays as it is. */
  close(): void {
    this.#client.close();
    this.#child?.removeAllListeners();
    this.#child = undefined;
    this.#identity = undefined;
    for (const fd of this.#sockets.values()) closeSync(fd);
    this.#sockets.clear();
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#identity === undefined) return;
    const sent = killVerified(this.#identity, signal);
    this.#options.log.info('module-signalled', { module: this.#options.name, signal, sent });
    this.#lookForEnd(goneDeadlineMs);
  }

  #follow(child: ChildProcess): void {
    this.#child = child;
    this.#identity = child.pid === undefined ? undefined : readProcessIdentity(child.pid);
    if (this.#identity !== undefined) this.#record();
    child.once('error', (error) =>
      this.#ended({ code: undefined, signal: undefined, lastWords: error.message }),
    );
    child.once('exit', (code, signal) =>
      this.#ended({ code: code ?? undefined, signal: signal ?? undefined, lastWords: this.#lastWords() }),
    );
  }

  #ended(end: ProcessEnd): void {
    this.#child = undefined;
    this.#identity = undefined;
    // The next ping must not go to a connection of the process that ended.
    this.#client.close();
    rmSync(this.paths.processRecord, { force: true });
    this.#options.ended(end);
  }

  /** An adopted process is nobody's child here; a broken connection or an unanswered ping makes us look. */
  #lookForEnd(deadlineMs: number): void {
    const identity = this.#identity;
    if (identity === undefined || this.#child !== undefined) return;
    void waitUntilGone(identity, deadlineMs, this.#options.clock).then((gone) => {
      if (!gone || this.#identity !== identity) return;
      this.#ended({ code: undefined, signal: undefined, lastWords: this.#lastWords() });
    });
  }

  #socket(volume: string): number {
    const held = this.#sockets.get(volume);
    if (held !== undefined) return held;
    const fd = listenOnUnixSocket(this.paths.nbd(volume));
    this.#sockets.set(volume, fd);
    return fd;
  }

  #notFetched(volume: string, because: string): void {
    this.#options.log.warn('listening-socket-not-fetched', { module: this.#options.name, volume, because });
  }

  #recorded(): ProcessIdentity | undefined {
    let value: unknown;
    try {
      value = JSON.parse(readFileSync(this.paths.processRecord, 'utf8'));
    } catch {
      return undefined;
    }
    const identity = parseProcessIdentity(value);
    return identity !== undefined && isAlive(identity) ? identity : undefined;
  }

  /** A process that runs but has no record: the supervisor died between starting and recording it. */
  async #answering(): Promise<ProcessIdentity | undefined> {
    try {
      const answer = await this.#client.call('ping', {}, adoptCallDeadlineMs);
      const pid = typeof answer === 'object' && answer !== null && 'pid' in answer ? answer.pid : undefined;
      return typeof pid === 'number' ? readProcessIdentity(pid) : undefined;
    } catch {
      return undefined;
    }
  }

  #record(): void {
    const text = `${JSON.stringify({ ...this.#identity, module: this.#options.name })}\n`;
    writeFileSync(`${this.paths.processRecord}.new`, text, { mode: 0o600 });
    renameSync(`${this.paths.processRecord}.new`, this.paths.processRecord);
  }

  #rotateLog(): void {
    const found = statSync(this.paths.log, { throwIfNoEntry: false });
    if (found !== undefined && found.size > logRotateBytes) renameSync(this.paths.log, `${this.paths.log}.1`);
  }

  #lastWords(): string {
    try {
      return readFileSync(this.paths.errorLog, 'utf8').trim().slice(-lastWordsBytesMax);
    } catch {
      return '';
    }
  }
}

/** What the answer to a ping says about its VM; a module of another version may say nothing. */
function pauseWithinMs(answer: unknown): number | undefined {
  const said =
    typeof answer === 'object' && answer !== null && 'pauseWithinMs' in answer
      ? answer.pauseWithinMs
      : undefined;
  return typeof said === 'number' && said >= 0 ? said : undefined;
}
