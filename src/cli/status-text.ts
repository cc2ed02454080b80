/** Statuses as text for people: one headline with the reason, then the particulars. */
import type { Reconfigured } from '../../modules/mirror/reconfigure.ts';
import { sizeText } from '../base/size-text.ts';
import type {
  ChecksStatus,
  FenceStatus,
  ModuleStatus,
  NetworkStatus,
  ResyncProgress,
  SplitSide,
  VerifyReport,
} from '../base/status.ts';
import type { LabFacts, LabNodeStatus, LabStatus } from '../lab/pair.ts';
import type { ReloadReport } from '../supervisor/reload.ts';
import type { SupervisedStatus } from '../supervisor/supervised-module.ts';

function resyncText(resync: ResyncProgress): string {
  const { examinedBytes, totalBytes, sentBytes, etaMs, elapsedMs, bytesPerSecond, direction, rule, because } =
    resync;
  // Blocks that became dirty again are examined again.
  const percent = totalBytes === 0 ? 100 : Math.min(100, Math.floor((examinedBytes / totalBytes) * 100));
  const eta = etaMs === undefined ? '' : `, about ${Math.ceil(etaMs / 1000)} s left`;
  const amounts = `${sizeText(examinedBytes)} of ${sizeText(totalBytes)} examined, ${sizeText(sentBytes)} sent`;
  const pace = `${sizeText(bytesPerSecond)}/s for ${Math.round(elapsedMs / 1000)} s`;
  return `resync as ${direction}: ${percent} %, ${amounts}, ${pace}${eta} (${rule}: ${because})`;
}

/** Ranges that are shown; `--json` has all that are kept. */
const rangesShown = 20;

/** One line how far a verify is or how it ended, then the ranges that differed. */
export function verifyText(report: VerifyReport): string[] {
  const { outcome, because, examinedBytes, totalBytes, elapsedMs, etaMs, ranges, rangesOmitted } = report;
  const percent = totalBytes === 0 ? 100 : Math.floor((examinedBytes / totalBytes) * 100);
  const eta = etaMs === undefined ? '' : `, about ${Math.ceil(etaMs / 1000)} s left`;
  const when = report.endedAt === undefined ? `since ${report.startedAt}` : `at ${report.endedAt}`;
  const amount = `${percent} %, ${sizeText(examinedBytes)} of ${sizeText(totalBytes)} in ${Math.ceil(elapsedMs / 1000)} s`;
  const count = ranges.length + rangesOmitted;
  const found = outcome === 'complete' ? '' : `, ${count} different so far`;
  const lines = [`verify ${outcome} ${when}: ${amount}${found}${eta}: ${because}`];
  for (const { volume, offsetBytes, lengthBytes, repaired } of ranges.slice(0, rangesShown)) {
    lines.push(
      `  ${volume} at ${offsetBytes}, ${sizeText(lengthBytes)}: ${repaired ? 'repaired' : 'not repaired yet'}`,
    );
  }
  if (count > rangesShown) lines.push(`  and ${count - Math.min(count, rangesShown)} more`);
  return lines;
}

/** How the fence is set up, what it said when it was tested, and what became of the last attempt. */
function fenceText({ kind, required, lastTest, lastResult }: FenceStatus): string {
  const test =
    lastTest === undefined ? 'not tested yet' : `${lastTest.kind} at ${lastTest.at} (${lastTest.because})`;
  const result =
    lastResult === undefined
      ? ''
      : `; last attempt at ${lastResult.at}: ${lastResult.kind} (${lastResult.because})`;
  return `fence ${kind}, ${required ? 'required' : 'not required'}: ${test}${result}`;
}

function networkText({ network, own, peer, state, forMs, heardMs, because }: NetworkStatus): string {
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  const why = because === '' ? '' : `: ${because}`;
  return `  network ${network}, ${own} to ${peer}: ${state} for ${seconds(forMs)}, heard ${seconds(heardMs)} ago${why}`;
}

/** What does not need to be looked at is counted only. */
function checksText({ checks, restarts, restartsMax, maintenanceUntil }: ChecksStatus): string[] {
  const noticed = checks.filter(({ state }) => state === 'failing' || state === 'unknown');
  const count = (wanted: string): number => checks.filter(({ state }) => state === wanted).length;
  const idle = count('idle') === 0 ? '' : `, ${count('idle')} not asked now`;
  return [
    ...(maintenanceUntil === undefined ? [] : [`maintenance until ${maintenanceUntil}: no check acts`]),
    ...(checks.length === 0 ? [] : [`checks: ${count('well')} well, ${count('failing')} failing${idle}`]),
    ...noticed.map(
      ({ name, kind, state, action, because }) => `  ${name} (${kind}, ${action}): ${state}: ${because}`,
    ),
    ...(restarts === 0 ? [] : [`${restarts} of at most ${restartsMax} automatic restarts in 24 hours`]),
  ];
}

/** What one node wrote to one volume since the split, and where. */
function splitText(
  node: string,
  since: string | undefined,
  { name, writtenBytes, ranges, rangesOmitted }: SplitSide['volumes'][number],
): string[] {
  const from = since === undefined ? '' : ` since ${since}`;
  const shown = ranges.slice(0, rangesShown);
  const more = ranges.length - shown.length + rangesOmitted;
  return [
    `  ${node} wrote ${sizeText(writtenBytes)} of ${name}${from}`,
    ...shown.map(({ offsetBytes, lengthBytes }) => `    at ${offsetBytes}, ${sizeText(lengthBytes)}`),
    ...(more > 0 ? [`    and ${more} more`] : []),
  ];
}

export function moduleText(status: ModuleStatus): string {
  const { axes } = status;
  const lines = [
    `${status.module} on ${status.node}: ${status.state} ${status.readiness}: ${status.because}`,
    `  role ${axes.role}, data ${axes.data}, link ${axes.link}, vm ${axes.vm}, ${axes.run}`,
  ];
  // One network is what `link` says already.
  if (status.networks.length > 1) lines.push(...status.networks.map(networkText));
  for (const volume of status.volumes) {
    lines.push(
      `  ${volume.name}: ${sizeText(volume.sizeBytes)}, ${sizeText(volume.dirtyBytes)} dirty, ${volume.nbd}`,
    );
  }
  for (const { node, since, volumes } of status.split?.sides ?? [])
    for (const volume of volumes) lines.push(...splitText(node, since, volume));
  for (const file of status.sideFiles ?? []) lines.push(`  blocks of a copy that was given up: ${file}`);
  if (status.checks !== undefined) lines.push(...checksText(status.checks).map((line) => `  ${line}`));
  if (status.fence !== undefined) lines.push(`  ${fenceText(status.fence)}`);
  if (status.keptImage !== undefined) lines.push(`  ${status.keptImage.because}`);
  if (status.resync !== undefined) lines.push(`  ${resyncText(status.resync)}`);
  if (status.verify !== undefined) lines.push(...verifyText(status.verify).map((line) => `  ${line}`));
  return lines.join('\n');
}

/** Newest first: when, what was decided, by which rule, and why. */
export function decisionsText(status: ModuleStatus): string {
  const lines = status.decisions.map(
    ({ at, action, rule, because }) => `${at}  ${action} (${rule}): ${because}`,
  );
  return lines.join('\n');
}

export function supervisedText(modules: readonly SupervisedStatus[]): string {
  if (modules.length === 0) return 'no modules are configured on this node';
  return modules
    .map(({ module, state, pid, restarts, because, note }) => {
      const processText = pid === undefined ? '' : `, pid ${pid}`;
      return `${module}: ${state}${processText}, ${restarts} ${restarts === 1 ? 'restart' : 'restarts'}: ${because}${note === undefined ? '' : `\n  ${note}`}`;
    })
    .join('\n');
}

/** What a reload of the supervisor found, a line each. */
export function reloadText(report: ReloadReport): string {
  const { taken, removed, kept, changed, unusable, nodeChanged } = report;
  const lines = [
    ...taken.map((module) => `${module}: taken`),
    ...removed.map((module) => `${module}: no longer supervised`),
    ...kept.map(({ module, because, next }) => `${module}: kept, because ${because}. ${next}`),
    ...changed.flatMap(({ module, changes }) =>
      changes.map((change) => `${module}: ${change.key} changed (${change.class}): ${change.because}`),
    ),
    ...unusable.map(({ module, because }) => `${module}: ${because}`),
    ...nodeChanged.map((key) => `node configuration: ${key} counts from the next start of the supervisor`),
  ];
  return lines.length === 0 ? 'nothing has changed' : lines.join('\n');
}

/** What a module took from its file, a line per key. */
export function reconfiguredText({ applied, waiting }: Reconfigured): string {
  const lines = [
    ...applied.map(({ key }) => `${key}: counts now`),
    ...waiting.map((change) => `${change.key}: ${change.class}: ${change.because}`),
  ];
  return lines.length === 0 ? 'the file says what counts already' : lines.join('\n');
}

export function labFactsText(facts: LabFacts): string {
  const lines = [`lab in ${facts.directory}`];
  for (const [node, { nbd, file, control, pids, agent }] of Object.entries(facts.nodes)) {
    lines.push(`node ${node}`, `  nbd      ${nbd}`, `  file     ${file}`, `  control  ${control}`);
    if (agent !== undefined) lines.push(`  agent    ${agent}`);
    lines.push(`  pids     ${pids.join(' ')}`);
  }
  lines.push(`witness on ${facts.witness.host}:${facts.witness.port}`);
  return lines.join('\n');
}

export function labStatusText(status: LabStatus): string {
  const nodeText = ([name, node]: [string, LabNodeStatus]) => {
    const power = node.powered ? 'on' : 'off';
    const networks = node.networksCut.map((network) => `, network ${network} cut`).join('');
    const cut = `${node.cut ? ', link cut' : ''}${networks}`;
    const module = node.module === undefined ? '  the module does not answer' : moduleText(node.module);
    return `node ${name}: ${power}${cut}\n${node.powered ? module : ''}`.trimEnd();
  };
  const nodes = Object.entries(status.nodes).map(nodeText);
  return [...nodes, `witness: ${status.witness.powered ? 'on' : 'off'}`].join('\n');
}
