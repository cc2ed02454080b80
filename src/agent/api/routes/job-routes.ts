/** Jobs: what was asked for and is under way, or has ended. */
import { z } from 'zod';
import { WorldError } from '../../../base/errors.ts';
import { seesVm } from '../../access/permissions.ts';
import { type Job, jobSchema } from '../../jobs/job.ts';
import type { ApiContext } from '../context.ts';
import { route, type Route } from '../route.ts';
import { waitQuery } from './module-routes.ts';

type Context = Pick<ApiContext, 'jobs' | 'calls' | 'peerReport'>;

export function jobRoutes({ jobs, calls, peerReport }: Context): Route[] {
  return [
    route({
      id: 'jobs',
      method: 'GET',
      path: '/api/v1/jobs',
      summary: 'Jobs of both nodes, newest first; of the other node those that its agent told last.',
      query: z.strictObject({ vm: z.string().max(31).optional() }),
      response: z.object({ jobs: z.array(jobSchema) }),
      handle: ({ query, principal }) => {
        const all = [...jobs.list(), ...(peerReport()?.jobs ?? [])];
        const seen = all.filter(
          ({ module }) => seesVm(principal, module) && (query.vm === undefined || query.vm === module),
        );
        return { jobs: seen.sort((left, right) => right.startedAt.localeCompare(left.startedAt)) };
      },
    }),
    route({
      id: 'job',
      method: 'GET',
      path: '/api/v1/jobs/:id',
      summary: 'One job; waits for its end when asked to.',
      params: z.strictObject({ id: z.string().max(60) }),
      query: waitQuery.extend({ waitMs: waitQuery.shape.waitMs.unwrap().default(0) }),
      response: jobSchema,
      handle: async ({ params, query, principal }) => {
        const answer = await calls.job(params.id, query.waitMs, principal);
        const { module } = (answer instanceof Object && 'body' in answer ? answer.body : answer) as Job;
        if (module === undefined || seesVm(principal, module)) return answer;
        throw new WorldError('not-allowed', {
          wanted: `to see job ${params.id}`,
          found: 'a role for other VMs',
          next: 'Ask an administrator.',
        });
      },
    }),
  ];
}
