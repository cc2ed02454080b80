/** `vmpair config check`: whether configuration files can be used, each alone and all together. It reads only, and asks no process. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { parse } from 'yaml';
import { vmSchema } from '../../hypervisors/vm-schema.ts';
import { WorldError } from '../base/errors.ts';
import { clusterDocument, checkSet, type SetFile } from '../config/configuration-set.ts';
import { nodeConfigSchema } from '../config/node-config.ts';
import { checkYaml, configError, type ConfigProblem } from '../config/yaml-document.ts';
import { readConfigText } from '../config/yaml-file.ts';
import { printResult } from './outcome.ts';

interface CheckResult {
  readonly files: readonly string[];
  readonly modules: readonly string[];
}

/** The files that a path names: itself, or of a directory those that vmpair would read there. Throws `file-missing`. */
function filesAt(path: string): readonly string[] {
  if (!existsSync(path))
    throw new WorldError('file-missing', {
      wanted: `a file or directory ${path}`,
      found: 'nothing there',
      next: 'Name files, or a directory with cluster.yaml, node.yaml or modules/*.yaml.',
    });
  if (!statSync(path).isDirectory()) return [path];
  const yamlIn = (folder: string): readonly string[] =>
    existsSync(folder) && statSync(folder).isDirectory()
      ? readdirSync(folder)
          .filter((name) => name.endsWith('.yaml') && !name.startsWith('.'))
          .sort()
          .map((name) => join(folder, name))
      : [];
  const files = [...yamlIn(path), ...yamlIn(join(path, 'modules'))];
  if (files.length > 0) return files;
  throw new WorldError('file-missing', {
    wanted: `configuration files in ${path}`,
    found: 'neither *.yaml nor modules/*.yaml',
    next: 'Name the directory that holds cluster.yaml, node.yaml or modules/.',
  });
}

/** What a file is, by its name, else by the keys that only one kind has; a file that is none of them counts as a module. */
function kindOf(file: string, text: string): SetFile['kind'] | 'node' {
  if (basename(file) === clusterDocument) return 'cluster';
  if (basename(file) === 'node.yaml') return 'node';
  let value: unknown;
  try {
    value = parse(text);
  } catch {
    return 'module';
  }
  if (typeof value !== 'object' || value === null || 'module' in value) return 'module';
  if ('node' in value) return 'node';
  return 'name' in value && 'nodes' in value ? 'cluster' : 'module';
}

/** Checks the files at these paths together. Throws `file-missing` or `config-invalid` with every problem. */
export function checkPaths(paths: readonly string[]): CheckResult {
  const files = [...new Set(paths.flatMap(filesAt))];
  const set: SetFile[] = [];
  const problems: ConfigProblem[] = [];
  for (const file of files) {
    const text = readConfigText(file);
    const kind = kindOf(file, text);
    if (kind === 'node') problems.push(...checkYaml(file, text, nodeConfigSchema).problems);
    else set.push({ file, kind, text });
  }
  const checked = checkSet(set, vmSchema);
  problems.push(...checked.problems);
  if (problems.length > 0) throw configError(problems);
  return { files, modules: checked.set.modules.map(({ name }) => name) };
}

export function addConfigCommand(program: Command): void {
  const config = program.command('config').description('the configuration of the cluster');
  config
    .command('check <path...>')
    .description('check configuration files, each alone and all together; changes nothing')
    .option('--json', 'print one JSON line')
    .action((paths: readonly string[], { json }: { readonly json?: boolean }) => {
      const result = checkPaths(paths);
      const modules = result.modules.length === 0 ? '' : `; modules: ${result.modules.join(', ')}`;
      printResult(json ?? false, result, () => `${result.files.length} files can be used${modules}`);
    });
}
