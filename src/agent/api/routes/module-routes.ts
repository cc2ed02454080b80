/** Modules: what is known of them, and what can be asked of them. */
import { z } from 'zod';
import { WorldError } from '../../../base/errors.ts';
import { seesVm } from '../../access/permissions.ts';
import { jobSchema } from '../../jobs/job.ts';
import { actionNames, type ModuleAction, moduleActions } from '../../module-actions.ts';
import { processActionNames, processActions } from '../../module-calls.ts';
import { type ModuleView, moduleViewSchema } from '../../view/cluster-view.ts';
import { processSchema } from '../../view/reports.ts';
import type { ApiContext } from '../context.ts';
import { invalidRequest } from '../http-errors.ts';
import { route, type Route, vmParams } from '../route.ts';

/** Of a call that waits for its job, ms. */
export const waitMaxMs = 25_000;
const waitDefaultMs = 1000;

export const waitQuery = z.strictObject({
  waitMs: z.coerce
    .number()
    .int()
    .min(0)
    .max(waitMaxMs)
    .default(waitDefaultMs)
    .describe('how long the answer may wait for the end of the job'),
});

const node = z.string().max(31).optional().describe('the node that is asked; default: as the action says');

type Context = Pick<ApiContext, 'view' | 'calls'>;

export function moduleRoutes({ view, calls }: Context): Route[] {
  return [
    route({
      id: 'modules',
      method: 'GET',
      path: '/api/v1/modules',
      summary: 'All modules, each with both nodes.',
      response: z.object({ modules: z.array(moduleViewSchema) }),
      handle: ({ principal }) => ({
        modules: view().modules.filter(({ module }) => seesVm(principal, module)),
      }),
    }),
    route({
      id: 'module',
      method: 'GET',
      path: '/api/v1/modules/:vm',
      summary: 'One module with both nodes.',
      params: vmParams,
      response: moduleViewSchema,
      handle: ({ params }) => findModule(view().modules, params.vm),
    }),
    ...actionNames.map((name) => {
      const action: ModuleAction = moduleActions[name];
      return route({
        id: 'module-action',
        operation: `module-${name}`,
        role: action.role,
        method: 'POST',
        path: `/api/v1/modules/:vm/actions/${name}`,
        summary: action.summary,
        params: vmParams,
        query: waitQuery,
        body: action.args.extend({ node }),
        response: action.quick ? z.unknown() : jobSchema,
        // Questions change nothing.
        audited: action.role !== 'viewer',
        handle: ({ params, query, body, principal }) => {
          const { node: asked, ...rest } = body as { readonly node?: string };
          const args = action.args.safeParse(rest);
          if (!args.success) throw invalidRequest('the body', args.error);
          return calls.act(name, args.data, query.waitMs, { module: params.vm, node: asked, principal });
        },
      });
    }),
    ...processActionNames.map((action) =>
      route({
        id: 'module-process',
        operation: `process-${action}`,
        method: 'POST',
        path: `/api/v1/modules/:vm/process/${action}`,
        role: processActions[action].role,
        summary: processActions[action].summary,
        params: vmParams,
        body: z.strictObject({ node }),
        response: processSchema,
        handle: ({ params, body, principal }) =>
          calls.actOnProcess(action, { module: params.vm, node: body.node, principal }),
      }),
    ),
  ];
}

function findModule(modules: readonly ModuleView[], name: string): ModuleView {
  const found = modules.find(({ module }) => module === name);
  if (found !== undefined) return found;
  throw new WorldError('module-unknown', {
    wanted: `one of the modules ${modules.map(({ module }) => module).join(', ') || '(none)'}`,
    found: JSON.stringify(name),
    next: 'Correct the name.',
  });
}
