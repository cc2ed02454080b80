/** The bench runs and cleans up. What it does not show: that its figures are right; a second of load shows nothing of that. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { Scratch } from '../../bench/scratch.ts';
import { findMarkedProcesses } from '../../src/platform/marked-processes.ts';
import { buildPrograms } from '../lab/real-pair.ts';
import { until } from '../until.ts';

const program = fileURLToPath(new URL('../../bench/main.ts', import.meta.url));
const quick = ['--only', 'writes', '--systems', 'vmpair', '--workload', 'randwrite-qd16', '--size-mib', '16'];
const runDeadlineMs = 60_000;

interface Run {
  readonly child: ChildProcess;
  readonly pid: number;
  output: string;
  complaint: string;
}

function startBench(...args: readonly string[]): Run {
  const child = spawn(process.execPath, ['--import', 'tsx', program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: runDeadlineMs,
  });
  const run: Run = { child, pid: child.pid as number, output: '', complaint: '' };
  child.stdout?.on('data', (text) => (run.output += String(text)));
  child.stderr?.on('data', (text) => (run.complaint += String(text)));
  return run;
}

/** Files and processes of a run of the bench. */
function tracesOf(pid: number): string[] {
  const files = readdirSync(tmpdir()).filter((name) => name.startsWith(`vmpair-bench-${pid}-`));
  return [...files, ...findMarkedProcesses(`VMPAIR_BENCH=${pid}`).map((found) => `process ${found.pid}`)];
}

describe('the bench', () => {
  before(buildPrograms);

  it('measures a selection, says it as JSON and leaves nothing behind', async () => {
    const run = startBench(...quick, '--rounds', '1', '--seconds', '1', '--json');
    const [code] = (await once(run.child, 'close')) as [number | null];
    expect(code, run.complaint).to.equal(0);
    const { sections, machine } = JSON.parse(run.output);
    expect(machine.cpus).to.be.above(0);
    expect(sections).to.have.length(1);
    const [, system, ...numbers] = sections[0].table.rows[0];
    expect(system).to.equal('vmpair');
    for (const number of numbers.slice(0, 4)) expect(Number(number), run.output).to.be.above(0);
    expect(tracesOf(run.pid)).to.deep.equal([]);
  });

  it('a run is killed: the next one ends its processes and removes its files', async () => {
    const run = startBench(...quick, '--rounds', '100');
    await until('the first round', () => run.complaint.includes('round 1 of 100'), runDeadlineMs);
    const ended = once(run.child, 'close');
    run.child.kill('SIGKILL');
    expect(tracesOf(run.pid)).to.have.length.above(3);
    await until('the killed process to be gone', () => run.child.signalCode !== null);
    const next = await Scratch.create();
    expect(tracesOf(run.pid)).to.deep.equal([]);
    await next.remove();
    await ended;
  });
});
