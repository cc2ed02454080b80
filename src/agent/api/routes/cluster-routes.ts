/** The picture of the cluster: both nodes, all modules, and what the agents tell each other. */
import { z } from 'zod';
import { seesVm } from '../../access/permissions.ts';
import { clusterViewSchema } from '../../view/cluster-view.ts';
import { briefReport, nodeReportSchema } from '../../view/reports.ts';
import type { ApiContext } from '../context.ts';
import { route, type Route } from '../route.ts';

export function clusterRoutes({ view, report }: Pick<ApiContext, 'view' | 'report'>): Route[] {
  return [
    route({
      id: 'cluster',
      method: 'GET',
      path: '/api/v1/cluster',
      summary: 'Both nodes and all modules, as this agent knows them, with the age of what it knows.',
      response: clusterViewSchema,
      handle: ({ principal }) => {
        const seen = view();
        return { ...seen, modules: seen.modules.filter(({ module }) => seesVm(principal, module)) };
      },
    }),
    route({
      id: 'nodes',
      method: 'GET',
      path: '/api/v1/nodes',
      summary: 'Both nodes: whether their agents and supervisors answer.',
      response: z.object({ nodes: clusterViewSchema.shape.nodes }),
      handle: () => ({ nodes: view().nodes }),
    }),
    route({
      id: 'node',
      method: 'GET',
      path: '/api/v1/node',
      summary: 'What this agent tells the other one of its node.',
      response: nodeReportSchema,
      handle: () => briefReport(report()),
    }),
  ];
}
