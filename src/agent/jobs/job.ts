/** Long work that somebody asked for, and how one sees from a module's status how far it is. Pure. */
import { z } from 'zod';
import type { ModuleStatus } from '../../base/status.ts';

/** `interrupted`: the agent was restarted and cannot tell what became of it; the module goes on by itself. */
export const jobStates = ['running', 'done', 'failed', 'interrupted'] as const;

export const jobSchema = z.object({
  /** `NODE.HEX`: the node that knows it is in it. */
  id: z.string(),
  node: z.string(),
  module: z.string(),
  action: z.string(),
  by: z.string(),
  state: z.enum(jobStates),
  because: z.string(),
  startedAt: z.string(),
  endedAt: z.string().optional(),
  /** 0 to 100, where it can be told. */
  percent: z.number().optional(),
  etaMs: z.number().optional(),
  /** What the module answered. */
  result: z.unknown().optional(),
  error: z.object({ code: z.string(), wanted: z.string(), found: z.string(), next: z.string() }).optional(),
});
export type Job = z.infer<typeof jobSchema>;

/** What a status says of work that was asked for. */
export type JobSight =
  | { readonly kind: 'goes-on'; readonly because: string; readonly percent?: number; readonly etaMs?: number }
  | { readonly kind: 'done'; readonly because: string }
  | { readonly kind: 'failed'; readonly because: string };

type Look = (status: ModuleStatus) => JobSight;

function percentOf(examinedBytes: number, totalBytes: number): number {
  return totalBytes === 0 ? 100 : Math.min(100, Math.floor((100 * examinedBytes) / totalBytes));
}

function lookAtVerify({ verify }: ModuleStatus): JobSight {
  if (verify === undefined) return { kind: 'failed', because: 'the module knows of no verify' };
  const { outcome, because, examinedBytes, totalBytes, etaMs } = verify;
  if (outcome === 'complete') return { kind: 'done', because };
  if (outcome === 'stopped' || outcome === 'interrupted') return { kind: 'failed', because };
  const percent = percentOf(examinedBytes, totalBytes);
  return { kind: 'goes-on', because, percent, ...(etaMs === undefined ? {} : { etaMs }) };
}

const goesOn = ({ because }: ModuleStatus): JobSight => ({ kind: 'goes-on', because });

/** Actions whose end a status shows, on the node that was asked. */
const looks: Readonly<Record<string, Look>> = {
  verify: lookAtVerify,
  swap: (status) =>
    status.axes.role === 'secondary' && status.state === 'SECOND'
      ? { kind: 'done', because: status.because }
      : goesOn(status),
  stop: (status) =>
    status.axes.run === 'stopped' ? { kind: 'done', because: status.because } : goesOn(status),
  start: (status) =>
    status.axes.run === 'started' ? { kind: 'done', because: status.because } : goesOn(status),
  resolve: (status) =>
    status.split === undefined ? { kind: 'done', because: status.because } : goesOn(status),
};

/** `undefined`: the status does not show what becomes of this action. */
export function lookAtJob(action: string, status: ModuleStatus): JobSight | undefined {
  return Object.hasOwn(looks, action) ? looks[action]?.(status) : undefined;
}

/** Actions that go on after the module has answered. */
export const outlastsItsAnswer = (action: string): boolean => action === 'verify';
