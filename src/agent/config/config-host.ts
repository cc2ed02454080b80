/**
 * What the cluster's configuration means on this host: checks a new one against what is here, and makes it count: files, then
 * the supervisor's `reload`, then `reconfigure` of every module. It restarts nothing: what only counts from a restart is
 * noted by supervisor and modules, and left to the operator or a job.
 */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { z } from 'zod';
import { WorldError } from '../../base/errors.ts';
import type { NodeName } from '../../base/identity.ts';
import type { Log } from '../../base/log.ts';
import {
  type Documents,
  moduleDocument,
  parseDocuments,
  readableModules,
} from '../../config/configuration-set.ts';
import { moduleChanges } from '../../config/module-change.ts';
import type { ModuleConfig } from '../../config/module-config.ts';
import { type AppliedFiles, driftError } from './applied-files.ts';
import type { ConfigHost } from './config-agreement.ts';
import type { Revision } from './revision.ts';

/** The processes of this host. */
export interface HostProcesses {
  /** Whether the module runs or may run here: its process, or what the operator wants of it. */
  moduleRuns(name: string): Promise<boolean>;
  /** The supervisor's verb of this name. */
  reload(): Promise<void>;
  /** The module's verb of this name, with its file; a module without a process needs none. */
  reconfigure(name: string, file: string): Promise<void>;
}

export interface LocalHostOptions {
  readonly node: NodeName;
  /** Of all kinds of VM. */
  readonly vm: z.ZodType;
  readonly files: AppliedFiles;
  readonly processes: HostProcesses;
  readonly log: Log;
}

export class LocalHost implements ConfigHost {
  readonly #options: LocalHostOptions;

  constructor(options: LocalHostOptions) {
    this.#options = options;
  }

  /**
   * Throws `config-invalid`: documents that do not fit each other or this host; a change that is refused while the module has data
   * here; a file in a directory that is not here; a module that is taken away while it runs here. `config-drifted`: a file that it
   * would overwrite was changed by hand.
   */
  async validate(documents: Documents, before: Documents): Promise<void> {
    const { node, vm, files, processes } = this.#options;
    const set = parseDocuments(documents, vm);
    if (set.cluster.nodes[node] === undefined)
      throw refused(
        'cluster.yaml: nodes',
        `this node, ${node}`,
        Object.keys(set.cluster.nodes).join(' and '),
      );
    const drifted = (await files.states(documents)).filter(({ state }) => state === 'drifted');
    if (drifted.length > 0) throw driftError(drifted);
    const old = readableModules(before, vm);
    for (const module of set.modules) {
      const same = old.find(({ name, moduleId }) => name === module.name || moduleId === module.moduleId);
      if (same === undefined) this.#checkFiles(module);
      else this.#checkChange(same, module);
    }
    for (const { name } of old) {
      if (documents[moduleDocument(name)] !== undefined || !(await processes.moduleRuns(name))) continue;
      throw new WorldError('config-invalid', {
        wanted: `module ${name} to be stopped on ${node} before it is removed`,
        found: 'it runs',
        next: `Run \`vmpair stop ${name}\` on both nodes; nothing was changed.`,
      });
    }
  }

  async apply(revision: Revision): Promise<void> {
    const { vm, files, processes, log } = this.#options;
    await files.write(revision);
    await processes.reload();
    for (const { name } of parseDocuments(revision.documents, vm).modules)
      await processes.reconfigure(name, files.pathOf(moduleDocument(name)));
    log.info('config-applied', { revision: revision.number, id: revision.id });
  }

  #checkChange(before: ModuleConfig, after: ModuleConfig): void {
    const { node } = this.#options;
    const metadata = before.metadata[node];
    if (metadata === undefined || !existsSync(metadata)) return this.#checkFiles(after);
    const change = moduleChanges(before, after).find((each) => each.class === 'refused');
    if (change === undefined) return;
    throw refused(
      `${moduleDocument(before.name)}: ${change.key}`,
      'no change while the module has data here',
      `another value; ${change.because}`,
    );
  }

  /** The files themselves may come later; a directory that is not there is a slip, or a file system that is not mounted. */
  #checkFiles({ name, volumes, metadata }: ModuleConfig): void {
    const { node } = this.#options;
    const files = [...volumes.map(({ file }) => file[node]), metadata[node]];
    const missing = files.find((file) => file !== undefined && !existsSync(dirname(file)));
    if (missing === undefined) return;
    throw refused(`${moduleDocument(name)}: ${missing}`, `a directory that exists on ${node}`, 'none');
  }
}

function refused(where: string, wanted: string, found: string): WorldError {
  return new WorldError('config-invalid', {
    wanted: `${where}: ${wanted}`,
    found,
    next: 'Correct the configuration; nothing was changed.',
  });
}
