/** What the commands of the witness print for people. */
import type { AcceptedStore } from '../witness/accept-restored.ts';
import type { WitnessCheck } from '../witness/check.ts';
import type { InitializedWitness } from '../witness/init.ts';
import type { ModuleRecord, RefusedRecord, WitnessStatus } from '../witness/status.ts';
import type { ReloadReport } from '../witness/witness.ts';

interface RecordList {
  readonly store: string | null;
  readonly modules: readonly ModuleRecord[];
  readonly refused: readonly RefusedRecord[];
}

function list(heading: string, items: readonly string[]): string[] {
  return items.map((item) => `${heading}: ${item}`);
}

function moduleLine({ moduleId, record, changed }: ModuleRecord): string {
  const { generation, holder } = record;
  return `  ${moduleId}  generation ${generation}  holder ${holder}  changed ${changed.at} by ${changed.by}`;
}

function refusedLine({ file, code, found, next }: RefusedRecord): string {
  return `${code}: ${file}\n  found: ${found}\n  next:  ${next}`;
}

export function statusText({
  listening,
  store,
  dataDir,
  health,
  clusters,
  modules,
  refusedRecords,
}: WitnessStatus): string {
  return [
    `${health.status}: listens on ${listening.host}:${listening.port}, store ${store} in ${dataDir}`,
    ...list('problem', health.problems),
    ...list('warning', health.warnings),
    ...clusters.flatMap(({ clusterId, witness, connections, certificateUntil }) => [
      `cluster ${clusterId}: ${connections} connections, known as ${witness}, certificates until ${certificateUntil}`,
      ...modules.filter((module) => module.clusterId === clusterId).map(moduleLine),
    ]),
    ...strayModules(modules, new Set(clusters.map(({ clusterId }) => clusterId))),
    ...refusedRecords.map(refusedLine),
  ].join('\n');
}

/** Records of clusters that are not served now are kept. */
function strayModules(modules: readonly ModuleRecord[], served: ReadonlySet<string>): string[] {
  const strays = modules.filter(({ clusterId }) => !served.has(clusterId));
  return strays.map((module) => `cluster ${module.clusterId}, not served now:${moduleLine(module)}`);
}

export function recordsText({ store, modules, refused }: RecordList): string {
  if (store === null) return 'no store yet: the witness has not run here';
  return [
    `store ${store}: ${modules.length} records, ${refused.length} refused`,
    ...modules.map((module) => `cluster ${module.clusterId}${moduleLine(module)}`),
    ...refused.map(refusedLine),
  ].join('\n');
}

export function reloadText({ added, renewed, withdrawn, refused, needsRestart }: ReloadReport): string {
  const lines = [
    ...list('added', added),
    ...list('renewed', renewed),
    ...list('withdrawn', withdrawn),
    ...refused.map(
      ({ name, because, keptBefore }) =>
        `refused: ${name}: ${because}${keptBefore ? ' (what was read before stays in force)' : ''}`,
    ),
    ...list('counts from the next start only', needsRestart),
  ];
  return lines.length === 0 ? 'nothing has changed' : lines.join('\n');
}

export function checkText({ clusters, problems, warnings }: WitnessCheck): string {
  return [
    ...clusters.map(({ clusterId, certificateUntil }) => `cluster ${clusterId}: until ${certificateUntil}`),
    ...list('warning', warnings),
    ...list('problem', problems),
    problems.length === 0 ? 'the witness can run' : 'not as it should be',
  ].join('\n');
}

export function acceptedText({ store, dropped }: AcceptedStore): string {
  return [
    ...list('dropped', dropped),
    `new store ${store}; start the witness, then run \`vmpair arbiter recreate VM\` for each VM, ` +
      'on the node that holds the good copy. Until then no node goes on alone.',
  ].join('\n');
}

export function initText({ configFile, clustersDir, dataDir, listen }: InitializedWitness): string {
  return [
    `written: ${configFile}`,
    `next:    1. copy the directory "witness" that \`vmpair certificates\` made to ${clustersDir}/NAME`,
    `            (ca.pem, witness.pem, witness.key.pem; NAME is yours), one for each cluster`,
    `         2. let the user of the witness read both; ${dataDir} is made at the first start`,
    `         3. vmpair witness check --config ${configFile}`,
    `         4. start it: templates/systemd/vmpair-witness.service, or vmpair witness run --config ${configFile}`,
    `         5. in each module.yaml: arbiter: { kind: witness, host: ADDRESS, port: ${listen.port} }`,
  ].join('\n');
}
