/**
 * What agents tell each other of their nodes. Statuses are passed on as the modules gave them; of what the other agent
 * sends, the frame is checked and the rest is shown, never acted on.
 */
import { z } from 'zod';
import type { ModuleStatus } from '../../base/status.ts';
import { jobSchema } from '../jobs/job.ts';

/** Of a module, as sent: the fields that the view reads, and everything else that the module tells. */
export const moduleStatusSchema = z
  .looseObject({
    module: z.string(),
    node: z.string(),
    peer: z.string(),
    pid: z.int(),
    instance: z.string(),
    state: z.enum(['STOP', 'WAIT', 'ALONE', 'PRIM', 'SECOND']),
    readiness: z.enum(['not-ready', 'transient', 'ready']),
    because: z.string(),
    axes: z.looseObject({
      role: z.enum(['primary', 'secondary']),
      data: z.string(),
      link: z.string(),
      vm: z.string(),
      run: z.enum(['started', 'stopped']),
    }),
    generation: z.int(),
    volumes: z.array(z.looseObject({ name: z.string(), sizeBytes: z.number(), dirtyBytes: z.number() })),
    networks: z.array(z.looseObject({ network: z.int(), state: z.string() })),
    counters: z.record(z.string(), z.number()),
    resync: z
      .looseObject({ examinedBytes: z.number(), totalBytes: z.number(), etaMs: z.number().optional() })
      .optional(),
    decisions: z.array(z.looseObject({ at: z.string(), rule: z.string(), because: z.string() })),
  })
  .describe('What a module tells of itself');

/** The process of a module, as its supervisor tells. */
export const processSchema = z.object({
  module: z.string(),
  file: z.string().optional(),
  state: z.string(),
  because: z.string(),
  pid: z.int().optional(),
  restarts: z.int(),
  control: z.string().optional(),
});

export const arbiterReportSchema = z.object({
  verdict: z.string(),
  because: z.string(),
  askedAgoMs: z.number(),
});

export const moduleReportSchema = z.object({
  module: z.string(),
  process: processSchema.optional(),
  status: moduleStatusSchema.optional(),
  /** Since the status was given. */
  heardAgoMs: z.number().optional(),
  /** Why it does not answer now. */
  problem: z.string().optional(),
  /** What the arbiter said when the module was asked for it last. */
  arbiter: arbiterReportSchema.optional(),
});

export const nodeReportSchema = z.object({
  node: z.string(),
  version: z.string(),
  agent: z.object({ pid: z.int(), instance: z.string(), startedAt: z.string() }),
  supervisor: z.object({ answers: z.boolean(), because: z.string() }),
  modules: z.array(moduleReportSchema),
  jobs: z.array(jobSchema),
});

/** The schema is looser than what this version sends. */
export type ModuleReport = Omit<z.infer<typeof moduleReportSchema>, 'status'> & {
  readonly status?: ModuleStatus | undefined;
};
export type NodeReport = Omit<z.infer<typeof nodeReportSchema>, 'modules'> & {
  readonly modules: readonly ModuleReport[];
};

/** Decisions of each module that the other agent is sent; who wants more asks the node. */
const decisionsReported = 5;

/** A report as it is sent every second: short. */
export function briefReport(report: NodeReport): NodeReport {
  return {
    ...report,
    modules: report.modules.map((module) =>
      module.status === undefined
        ? module
        : {
            ...module,
            status: { ...module.status, decisions: module.status.decisions.slice(0, decisionsReported) },
          },
    ),
  };
}

/** A report of the other agent. `undefined`: something else. */
export function parseNodeReport(value: unknown): NodeReport | undefined {
  const parsed = nodeReportSchema.safeParse(value);
  // The frame is checked; what a newer version adds or changes inside is shown as it is.
  return parsed.success ? (parsed.data as unknown as NodeReport) : undefined;
}
