/**
 * What a run leaves on the machine while it runs, and how it goes away: one directory, one network namespace, limits of
 * memory, and processes that carry a mark. All are named after the process of the run, so that runs side by side do not meet, and so that the next
 * run finds what a killed one left.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findMarkedProcesses, killMarkedProcesses } from '../src/platform/marked-processes.ts';
import { systemClock } from '../src/platform/system-clock.ts';
import { memoryLimitsNamed, removeMemoryLimit } from './memory-limit.ts';

const prefix = 'vmpair-bench-';
/** Environment variable that every process of a run inherits. */
const markName = 'VMPAIR_BENCH';

export class Scratch {
  readonly directory: string;
  readonly namespace = `${prefix}${process.pid}`;

  /** Removes what killed runs left, and marks this process's children from now on. */
  static async create(): Promise<Scratch> {
    await removeLeftovers();
    return new Scratch();
  }

  private constructor() {
    this.directory = mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
    process.env[markName] = String(process.pid);
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** The ends of all logs, to be read when a measurement failed: they go with the directory. */
  logEnds(): string {
    const names = readdirSync(this.directory, { recursive: true, encoding: 'utf8' });
    const logs = names.filter((name) => name.endsWith('.log'));
    return logs.map((name) => `${name}:\n${logEnd(this.path(name))}\n`).join('\n');
  }

  /** Ends whatever still runs and removes everything. Idempotent. */
  async remove(): Promise<void> {
    await removeRun(process.pid);
    delete process.env[markName];
  }
}

const logEndBytes = 6000;

function logEnd(file: string): string {
  return readFileSync(file, 'utf8').slice(-logEndBytes);
}

/** Pids of runs, alive or not, that something on this machine is named after. */
function runsWithTraces(): number[] {
  const names = [...readdirSync(tmpdir()), ...namespaces(), ...memoryLimitsNamed(prefix)].filter((name) =>
    name.startsWith(prefix),
  );
  const pids = names.map((name) => Number.parseInt(name.slice(prefix.length), 10));
  return [...new Set(pids)].filter((pid) => Number.isInteger(pid));
}

async function removeLeftovers(): Promise<void> {
  for (const pid of runsWithTraces()) if (!existsSync(`/proc/${pid}`)) await removeRun(pid);
}

async function removeRun(pid: number): Promise<void> {
  const mark = `${markName}=${pid}`;
  if (findMarkedProcesses(mark).length > 0) await killMarkedProcesses(mark, [], systemClock);
  for (const name of namespaces()) {
    if (name === `${prefix}${pid}`) execFileSync('ip', ['netns', 'delete', name]);
  }
  for (const name of memoryLimitsNamed(`${prefix}${pid}-`)) removeMemoryLimit(name);
  for (const name of readdirSync(tmpdir())) {
    if (name.startsWith(`${prefix}${pid}-`)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

/** Where ip-netns(8) keeps a file for each network namespace. */
const namespaceDirectory = '/run/netns';

function namespaces(): string[] {
  return existsSync(namespaceDirectory) ? readdirSync(namespaceDirectory) : [];
}
