/** What the figures were measured on and with. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../src/platform/program-path.ts';
import type { MachineFacts } from './report.ts';

/** What the bench measures with and beside. */
const benchTools = ['fio', 'qemu-nbd', 'nbdcopy'];

export function machineFacts(tools: readonly string[] = benchTools): MachineFacts {
  const processors = cpus();
  return {
    cpus: processors.length,
    model: processors[0]?.model ?? 'unknown processor',
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    kernel: release(),
    node: process.version,
    tools: tools.map(versionOf),
    version: (JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string })
      .version,
    commit: commitOf(packageRoot),
    date: new Date().toISOString().slice(0, 10),
    loadBefore: loadavg()[0] ?? Number.NaN,
  };
}

/** A tool and the first version number that it prints of itself. */
function versionOf(tool: string): string {
  const said = execFileSync(tool, ['--version'], { encoding: 'utf8' });
  return `${tool} ${/\d+\.\d+(\.\d+)?/.exec(said)?.[0] ?? 'of unknown version'}`;
}

function commitOf(directory: string): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { cwd: directory, encoding: 'utf8' }).trim();
    const changed = git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' with changes';
    return `${git('rev-parse', '--short', 'HEAD')}${changed}`;
  } catch {
    return 'unknown';
  }
}
