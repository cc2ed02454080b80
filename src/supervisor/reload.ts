/**
 * `reload`: which modules the node configuration names now, beside those that are supervised. New ones are taken; one that is
 * gone is let go only if it is stopped; a changed file is noted and touches nothing that runs.
 */
import { WorldError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { KeyChange } from '../config/module-change.ts';
import type { ModuleConfig } from '../config/module-config.ts';
import { moduleFilesOf, type NodeConfig } from '../config/node-config.ts';
import { moduleIsAtRest } from '../platform/module-at-rest.ts';
import type { SupervisedModule } from './supervised-module.ts';

/** A module whose file could not be used. */
export interface UnusableModule {
  readonly file: string;
  readonly name: string;
  readonly problem: WorldError;
}

export interface ReloadReport {
  /** Modules that are supervised from now on. */
  readonly taken: readonly string[];
  /** Modules that are not supervised any more; their processes have ended. */
  readonly removed: readonly string[];
  /** Modules that are no longer configured and run: they are supervised as before. */
  readonly kept: readonly { readonly module: string; readonly because: string; readonly next: string }[];
  /** Modules whose file says something else than what runs. */
  readonly changed: readonly { readonly module: string; readonly changes: readonly KeyChange[] }[];
  readonly unusable: readonly { readonly module: string; readonly because: string }[];
  /** Keys of the node configuration that differ and count from the next start of the supervisor. */
  readonly nodeChanged: readonly string[];
}

export interface ReloadParts {
  readonly modules: Map<string, SupervisedModule>;
  readonly unusable: Map<string, UnusableModule>;
  readonly read: (file: string) => ModuleConfig;
  readonly take: (file: string) => Promise<void>;
  readonly stopDeadlineMs: number;
  readonly log: Log;
}

/** `before` is what the supervisor was started with, `node` what the file says now. */
export async function reloadModules(
  before: NodeConfig,
  node: NodeConfig,
  parts: ReloadParts,
): Promise<ReloadReport> {
  const { modules, unusable, log } = parts;
  const files = new Set(moduleFilesOf(node));
  const supervised = new Set([...modules.values()].map((module) => module.status().file));
  const added = [...files].filter((file) => !supervised.has(file));
  const gone = [...modules.values()].filter((module) => !files.has(module.status().file));
  for (const file of unusable.keys()) if (!files.has(file)) unusable.delete(file);

  const removed: string[] = [];
  const kept: { module: string; because: string; next: string }[] = [];
  for (const module of gone) {
    const moved = added.find((file) => nameIn(file, parts) === module.name);
    if (moved !== undefined) {
      module.moveTo(moved);
      added.splice(added.indexOf(moved), 1);
      continue;
    }
    const hindrance = await hindranceOf(module);
    if (hindrance === undefined) {
      await module.stop(parts.stopDeadlineMs);
      module.close();
      modules.delete(module.name);
      removed.push(module.name);
      continue;
    }
    const next = `Run \`${hindrance.command}\` and \`vmpair supervisor reload\`, or configure it again.`;
    kept.push({ module: module.name, because: hindrance.because, next });
  }
  const staying = [...modules.values()].filter(({ name }) => !kept.some(({ module }) => module === name));
  const changed = staying
    .map((module) => ({ module: module.name, changes: module.compareFile() }))
    .filter(({ changes }) => changes.length > 0);
  for (const { module, because, next } of kept)
    modules.get(module)?.setNote(`no longer configured, but ${because}. ${next}`);

  const known = new Set(modules.keys());
  for (const file of added) await parts.take(file);
  const report: ReloadReport = {
    taken: [...modules.keys()].filter((name) => !known.has(name)),
    removed,
    kept,
    changed,
    unusable: [...unusable.values()].map(({ name, problem }) => ({ module: name, because: problem.message })),
    nodeChanged: changedKeys(before, node),
  };
  log.info('modules-reloaded', {
    taken: report.taken,
    removed,
    kept: kept.map(({ module }) => module),
    changed: changed.map(({ module }) => module),
    unusable: report.unusable.map(({ module }) => module),
  });
  return report;
}

/** Name of the module in a file; `undefined`: it cannot be used. */
function nameIn(file: string, { read }: ReloadParts): string | undefined {
  try {
    return read(file).name;
  } catch (error) {
    if (error instanceof WorldError) return undefined;
    throw error;
  }
}

interface Hindrance {
  readonly because: string;
  /** Command that ends it. */
  readonly command: string;
}

/** Why a module cannot be let go; `undefined`: it has no process that was not told to end, or its module and VM are stopped. */
async function hindranceOf(module: SupervisedModule): Promise<Hindrance | undefined> {
  const { state, control } = module.status();
  if (state === 'stopped') return undefined;
  const stopProcess = `vmpair supervisor stop ${module.name}`;
  if (state === 'failed' || control === undefined)
    return { because: 'its process failed, and nobody can say whether its VM runs', command: stopProcess };
  try {
    if (await moduleIsAtRest(control)) return undefined;
  } catch (error) {
    if (!(error instanceof WorldError)) throw error;
    return { because: `it does not say whether it is stopped: ${error.found}`, command: stopProcess };
  }
  return { because: 'it is started', command: `vmpair stop ${module.name}` };
}

/** Keys beside those of the modules: they are read once. */
function changedKeys(before: NodeConfig, now: NodeConfig): readonly string[] {
  const keys = Object.keys({ ...before, ...now }) as (keyof NodeConfig)[];
  return keys.filter(
    (key) =>
      key !== 'modules' && key !== 'modulesDir' && JSON.stringify(before[key]) !== JSON.stringify(now[key]),
  );
}
