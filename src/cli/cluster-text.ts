/** The picture of a cluster as text for people. */
import type { ClusterView, ModuleView, NodeView, SideView } from '../agent/view/cluster-view.ts';

function nodeText({ node, because, supervisor }: NodeView): string {
  const silent =
    supervisor?.answers === false ? `; its supervisor does not answer (${supervisor.because})` : '';
  return `node ${node}: ${because}${silent}`;
}

function sideText({ node, current, heardAgoMs, because, status }: SideView): string {
  const known = status === undefined ? '' : `${status.state} ${status.readiness}`;
  if (current) return `  ${node}: ${known}: ${because}`;
  const age = heardAgoMs === undefined ? '' : `, ${Math.round(heardAgoMs / 1000)} s ago`;
  return `  ${node}: ${known === '' ? 'not known' : `not known now; last ${known}${age}`}: ${because}`;
}

function moduleText({ module, health, sentence, nodes }: ModuleView): string {
  return [`${module}: ${health}: ${sentence}`, ...nodes.map(sideText)].join('\n');
}

export function clusterText({ nodes, modules }: ClusterView): string {
  const none = modules.length === 0 ? ['no modules are configured'] : [];
  return [...nodes.map(nodeText), ...none, ...modules.map(moduleText)].join('\n');
}
