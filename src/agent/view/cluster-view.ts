/**
 * The cluster as one picture: both nodes, each module with what both sides tell of it, and how old that is. Pure: made from
 * the reports that are in memory, so that it is there at once, whoever is dead.
 */
import { z } from 'zod';
import {
  arbiterReportSchema,
  type ModuleReport,
  moduleStatusSchema,
  type NodeReport,
  processSchema,
} from './reports.ts';
import { decidePairState, type NodeSide } from './pair-state.ts';

/** A status that is older says nothing of now, ms. */
export const currentForMs = 6000;

const nodeViewSchema = z.object({
  node: z.string(),
  /** The node of the agent that answers. */
  self: z.boolean(),
  /** Whether its agent answers now. */
  answers: z.boolean(),
  heardAgoMs: z.number().optional(),
  because: z.string(),
  version: z.string().optional(),
  supervisor: z.object({ answers: z.boolean(), because: z.string() }).optional(),
});
export type NodeView = z.infer<typeof nodeViewSchema>;

const sideViewSchema = z.object({
  node: z.string(),
  /** Whether the status is of now. */
  current: z.boolean(),
  heardAgoMs: z.number().optional(),
  because: z.string(),
  process: processSchema.optional(),
  arbiter: arbiterReportSchema.optional(),
  status: moduleStatusSchema.optional(),
});

export const moduleViewSchema = z.object({
  module: z.string(),
  health: z.enum(['ok', 'warning', 'critical', 'stopped', 'unknown']),
  rule: z.string(),
  sentence: z.string(),
  primary: z.string().optional(),
  nodes: z.array(sideViewSchema),
});
export type SideView = Omit<z.infer<typeof sideViewSchema>, 'status'> & Pick<ModuleReport, 'status'>;
export type ModuleView = Omit<z.infer<typeof moduleViewSchema>, 'nodes'> & {
  readonly nodes: readonly SideView[];
};

export const clusterViewSchema = z.object({
  clusterId: z.string(),
  node: z.string(),
  at: z.string(),
  nodes: z.array(nodeViewSchema),
  modules: z.array(moduleViewSchema),
});
export type ClusterView = Omit<z.infer<typeof clusterViewSchema>, 'modules'> & {
  readonly modules: readonly ModuleView[];
};

/** The other node, as its agent told last. */
export interface PeerFacts {
  readonly node: string;
  readonly answers: boolean;
  readonly heardAgoMs: number | undefined;
  readonly because: string;
  readonly report: NodeReport | undefined;
}

export interface ClusterFacts {
  readonly clusterId: string;
  readonly at: string;
  readonly own: NodeReport;
  /** `undefined`: no module names another node. */
  readonly peer: PeerFacts | undefined;
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}

function peerSentence({ answers, heardAgoMs, because }: PeerFacts): string {
  if (answers) return 'its agent answers';
  if (heardAgoMs === undefined) return `its agent was never heard: ${because}`;
  return `its agent was last heard ${seconds(heardAgoMs)} ago: ${because}`;
}

/** One side of a module. `agoMs`: the age of the report itself. */
function sideOf(
  node: string,
  module: ModuleReport | undefined,
  agoMs: number,
  because: string | undefined,
): SideView {
  if (module === undefined) {
    return { node, current: false, because: because ?? 'no module of this name runs on this node' };
  }
  const { process, arbiter, status, problem, heardAgoMs } = module;
  const ageMs = heardAgoMs === undefined ? undefined : heardAgoMs + agoMs;
  const current =
    because === undefined && problem === undefined && ageMs !== undefined && ageMs <= currentForMs;
  const why = because ?? (current ? undefined : (problem ?? 'it has not answered for some time'));
  return {
    node,
    current,
    because: why ?? status?.because ?? '',
    ...(ageMs === undefined ? {} : { heardAgoMs: ageMs }),
    ...(process === undefined ? {} : { process }),
    ...(arbiter === undefined ? {} : { arbiter: { ...arbiter, askedAgoMs: arbiter.askedAgoMs + agoMs } }),
    ...(status === undefined ? {} : { status }),
  };
}

function pairSide({ node, current, because, status }: SideView): NodeSide {
  return { node, status, isCurrent: current, problem: because };
}

export function clusterView({ clusterId, at, own, peer }: ClusterFacts): ClusterView {
  const nodes: NodeView[] = [
    {
      node: own.node,
      self: true,
      answers: true,
      heardAgoMs: 0,
      because: 'its agent answers',
      version: own.version,
      supervisor: own.supervisor,
    },
  ];
  if (peer !== undefined) {
    const { report, heardAgoMs, answers, node } = peer;
    nodes.push({
      node,
      self: false,
      answers,
      because: peerSentence(peer),
      ...(heardAgoMs === undefined ? {} : { heardAgoMs }),
      ...(report === undefined ? {} : { version: report.version, supervisor: report.supervisor }),
    });
  }
  const theirs = peer?.report?.modules ?? [];
  const names = [...new Set([...own.modules, ...theirs].map(({ module }) => module))].sort();
  const modules = names.map((module): ModuleView => {
    const find = (reports: readonly ModuleReport[]) => reports.find((each) => each.module === module);
    const sides = [sideOf(own.node, find(own.modules), 0, undefined)];
    if (peer !== undefined) {
      const away = peer.answers ? undefined : peerSentence(peer);
      sides.push(sideOf(peer.node, find(theirs), peer.heardAgoMs ?? 0, away));
    }
    const { primary, ...pair } = decidePairState(sides.map(pairSide));
    return { module, ...pair, ...(primary === undefined ? {} : { primary }), nodes: sides };
  });
  return { clusterId, node: own.node, at, nodes, modules };
}

/** Whether a node serves the VM and is ready, for health checks from outside. */
export function servesModule(report: ModuleReport | undefined): {
  readonly serves: boolean;
  readonly because: string;
} {
  if (report?.status === undefined) {
    return { serves: false, because: report?.problem ?? 'no module of this name runs on this node' };
  }
  const { status, problem, heardAgoMs } = report;
  const isOld = heardAgoMs === undefined || heardAgoMs > currentForMs;
  if (problem !== undefined || isOld)
    return { serves: false, because: problem ?? 'the module does not answer' };
  const serves = status.axes.role === 'primary' && status.readiness === 'ready';
  return { serves, because: `${status.state} ${status.readiness}: ${status.because}` };
}
