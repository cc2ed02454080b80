/**
 * The configuration of a cluster as one set: `cluster.yaml` and the `module.yaml` of every module. Each file is checked by its
 * schema, then what shows only beside the others: names, identifiers, files and ports that two may not share.
 * Works on texts in memory and touches no files; whether a host has what they name is not checked here.
 */
import { normalize } from 'node:path';
import type { z } from 'zod';
import type { NodeName } from '../base/identity.ts';
import type { ClusterConfig } from './cluster-config.ts';
import { fullClusterSchema } from './cluster-sections.ts';
import { type ModuleConfig, moduleConfigSchema } from './module-config.ts';
import { type CheckedYaml, checkYaml, configError, type ConfigProblem } from './yaml-document.ts';

/** Path of a document in the set -> its text. */
export type Documents = Readonly<Record<string, string>>;

export const clusterDocument = 'cluster.yaml';
const modulesFolder = 'modules/';

/** Documents of one set: every module that a cluster may have, and more than anybody wants. */
const documentsMax = 200;
/** All texts together, bytes. */
const setBytesMax = 8 * 1024 * 1024;

/** Path of the document of a module in the set. */
export function moduleDocument(name: string): string {
  return `${modulesFolder}${name}.yaml`;
}

export interface SetFile {
  /** As messages name it. */
  readonly file: string;
  readonly kind: 'cluster' | 'module';
  readonly text: string;
}

export interface ConfigurationSet {
  /** `undefined`: the set has no `cluster.yaml`. */
  readonly cluster: ClusterConfig | undefined;
  readonly modules: readonly ModuleConfig[];
}

interface CheckedModule {
  readonly config: ModuleConfig;
  readonly at: CheckedYaml<ModuleConfig>['problemAt'];
  readonly file: string;
}

/** Who has taken something already, to be named when another one wants it. */
class Taken {
  readonly #owners = new Map<string, string>();

  /** The earlier owner; `undefined`: it was free, and is `owner`'s now. */
  take(what: string, owner: string): string | undefined {
    const before = this.#owners.get(what);
    if (before === undefined) this.#owners.set(what, owner);
    return before;
  }
}

/** Addresses that mean every address of the host. */
const anyHost = new Set(['0.0.0.0', '::', '*']);

/** What two modules may not share, whatever `cluster.yaml` says. */
function problemsBetween(
  modules: readonly CheckedModule[],
  cluster: ClusterConfig | undefined,
): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const names = new Taken();
  const ids = new Taken();
  for (const { config, at, file } of modules) {
    const other = names.take(config.name, file);
    if (other !== undefined)
      problems.push(
        at(['module', 'name'], 'a name that no other module has', `${config.name}, as in ${other}`),
      );
    const same = ids.take(config.moduleId, file);
    if (same !== undefined)
      problems.push(
        at(['module', 'id'], 'an identifier that no other module has', `${config.moduleId}, as in ${same}`),
      );
  }
  const nodes = new Set(modules.flatMap(({ config }) => config.nodes));
  for (const node of nodes) problems.push(...problemsOnNode(node, modules, cluster));
  return problems;
}

function problemsOnNode(
  node: NodeName,
  modules: readonly CheckedModule[],
  cluster: ClusterConfig | undefined,
): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const files = new Taken();
  const listeners: { readonly host: string; readonly port: number; readonly owner: string }[] = (
    cluster?.nodes[node]?.addresses ?? []
  ).map((address) => ({ ...address, owner: `the agent of node ${node}` }));
  for (const { config, at } of modules) {
    const owner = `module ${config.name}`;
    const claim = (path: PropertyKey[], file: string | undefined): void => {
      const other = file === undefined ? undefined : files.take(normalize(file), owner);
      if (other !== undefined && other !== owner)
        problems.push(
          at(path, `a file that nothing else of node ${node} uses`, `${file}, which ${other} uses`),
        );
    };
    config.volumes.forEach(({ file }, index) => claim(['volumes', index, 'file'], file[node]));
    claim(['metadata'], config.metadata[node]);
    const own = config.links[node] ?? [];
    for (const { host, port } of own) {
      const other = listeners.find(
        (each) => each.port === port && (each.host === host || anyHost.has(each.host) || anyHost.has(host)),
      );
      if (other !== undefined)
        problems.push(
          at(
            ['nodes', node],
            `an address and port that nothing else of node ${node} listens on`,
            `${host} port ${port}, which ${other.owner} uses`,
          ),
        );
    }
    listeners.push(...own.map((address) => ({ ...address, owner })));
  }
  return problems;
}

/** Whether the modules belong to the cluster. */
function problemsWithCluster(modules: readonly CheckedModule[], cluster: ClusterConfig): ConfigProblem[] {
  const nodes = Object.keys(cluster.nodes);
  return modules.flatMap(({ config, at }) => {
    const problems: ConfigProblem[] = [];
    if (config.clusterId !== cluster.clusterId)
      problems.push(
        at(['cluster'], `the cluster ${cluster.clusterId}, as in cluster.yaml`, config.clusterId),
      );
    if (config.nodes.some((node) => !nodes.includes(node)))
      problems.push(
        at(['nodes'], `the nodes ${nodes.join(' and ')}, as in cluster.yaml`, config.nodes.join(' and ')),
      );
    return problems;
  });
}

export interface CheckedSet {
  /** What could be read, also when there are problems. */
  readonly set: ConfigurationSet;
  readonly problems: readonly ConfigProblem[];
}

/** Checks files together; does not throw for what is wrong in them. `vm` checks the adapters' part of the modules. */
export function checkSet(files: readonly SetFile[], vm?: z.ZodType): CheckedSet {
  const problems: ConfigProblem[] = [];
  const modules: CheckedModule[] = [];
  const moduleSchema = moduleConfigSchema(vm);
  let cluster: CheckedYaml<ClusterConfig> | undefined;
  let clusterFile: string | undefined;
  for (const { file, kind, text } of files) {
    if (kind === 'module') {
      const checked = checkYaml(file, text, moduleSchema);
      problems.push(...checked.problems);
      if (checked.value !== undefined) modules.push({ config: checked.value, at: checked.problemAt, file });
      continue;
    }
    const checked = checkYaml(file, text, fullClusterSchema);
    problems.push(...checked.problems);
    if (clusterFile !== undefined)
      problems.push(checked.problemAt([], 'one cluster.yaml', `another one beside ${clusterFile}`));
    cluster = checked;
    clusterFile = file;
  }
  problems.push(...problemsBetween(modules, cluster?.value));
  if (cluster?.value !== undefined) {
    problems.push(...problemsWithCluster(modules, cluster.value));
    const count = files.filter(({ kind }) => kind === 'module').length;
    const { modules: limit } = cluster.value.limits;
    if (count > limit)
      problems.push(
        cluster.problemAt(
          ['limits', 'modules'],
          `at most ${limit} modules; raise limits.modules`,
          `${count} modules`,
        ),
      );
  }
  return { set: { cluster: cluster?.value, modules: modules.map(({ config }) => config) }, problems };
}

/** Kind of the document at a path of the set; `undefined`: no document may be there. */
function kindOf(path: string): SetFile['kind'] | undefined {
  if (path === clusterDocument) return 'cluster';
  return /^modules\/[A-Za-z0-9][A-Za-z0-9_-]{0,30}\.yaml$/.test(path) ? 'module' : undefined;
}

/**
 * Checks the documents of a whole configuration: `cluster.yaml`, which must be there, and `modules/NAME.yaml`, each named after
 * its module. Throws `config-invalid` with every problem.
 */
export function parseDocuments(
  documents: Documents,
  vm?: z.ZodType,
): ConfigurationSet & { readonly cluster: ClusterConfig } {
  const at = (file: string, wanted: string, found: string): ConfigProblem => ({
    file,
    line: 1,
    column: 1,
    path: '',
    wanted,
    found,
  });
  const paths = Object.keys(documents).sort();
  const bytes = Object.values(documents).reduce((sum, text) => sum + text.length, 0);
  if (paths.length > documentsMax)
    throw configError([at(clusterDocument, `at most ${documentsMax} documents`, `${paths.length}`)]);
  if (bytes > setBytesMax)
    throw configError([at(clusterDocument, `at most ${setBytesMax} bytes in all documents`, `${bytes}`)]);
  const strange = paths.find((path) => kindOf(path) === undefined);
  if (strange !== undefined)
    throw configError([at(strange, 'the documents cluster.yaml and modules/NAME.yaml', 'another one')]);
  if (documents[clusterDocument] === undefined)
    throw configError([at(clusterDocument, 'the document cluster.yaml', 'none')]);
  const files = paths.map(
    (file): SetFile => ({ file, kind: kindOf(file) as SetFile['kind'], text: documents[file] as string }),
  );
  const { set, problems } = checkSet(files, vm);
  const misnamed = set.modules
    .filter(({ name }) => documents[moduleDocument(name)] === undefined)
    .map(({ name }) =>
      at(moduleDocument(name), `the module ${name} in a document of its name`, 'another name'),
    );
  const all = [...problems, ...misnamed];
  if (all.length > 0) throw configError(all);
  return { ...set, cluster: set.cluster as ClusterConfig };
}

/** The modules among documents that were accepted before, by this version of the program or another; those it cannot read are left out. */
export function readableModules(documents: Documents, vm?: z.ZodType): readonly ModuleConfig[] {
  const files = Object.entries(documents)
    .filter(([path]) => kindOf(path) === 'module')
    .map(([file, text]): SetFile => ({ file, kind: 'module', text }));
  return checkSet(files, vm).set.modules;
}
