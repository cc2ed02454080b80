/** For programs that watch: health, metrics, and the description of the API itself. */
import { z } from 'zod';
import { servesModule } from '../../view/cluster-view.ts';
import type { ApiContext } from '../context.ts';
import { openApiDocument } from '../openapi.ts';
import { Answer, route, type Route, vmParams } from '../route.ts';

type Context = Pick<ApiContext, 'node' | 'version' | 'report' | 'metrics'>;

/** `routes`: all, for the description. */
export function monitoringRoutes(
  { node, version, report, metrics }: Context,
  routes: () => readonly Route[],
): Route[] {
  let description: object | undefined;
  return [
    route({
      id: 'health',
      method: 'GET',
      path: '/api/v1/health',
      summary: 'The agent lives.',
      response: z.object({ status: z.literal('ok'), node: z.string(), version: z.string() }),
      handle: () => ({ status: 'ok', node, version }),
    }),
    route({
      id: 'module-health',
      method: 'GET',
      path: '/api/v1/health/:vm',
      summary: '200 when this node serves the VM and is ready, else 503 with the reason.',
      params: vmParams,
      response: z.object({ serves: z.boolean(), because: z.string() }),
      handle: ({ params }) => {
        const health = servesModule(report().modules.find(({ module }) => module === params.vm));
        return new Answer(health.serves ? 200 : 503, health);
      },
    }),
    route({
      id: 'metrics',
      method: 'GET',
      path: '/api/v1/metrics',
      summary: 'Metrics of this node for Prometheus.',
      response: z.string(),
      handle: async () =>
        new Answer(200, await metrics.text(), { contentType: metrics.registry.contentType }),
    }),
    route({
      id: 'openapi',
      method: 'GET',
      path: '/api/v1/openapi.json',
      summary: 'This description.',
      response: z.looseObject({ openapi: z.string() }),
      handle: () => (description ??= openApiDocument(routes(), version)),
    }),
  ];
}
