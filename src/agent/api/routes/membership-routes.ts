/** Servers that join the cluster, and what the other node's operator does to the authority of the cluster. */
import { z } from 'zod';
import { joinAnswerSchema, joinPath, joinRequestSchema } from '../../membership/join-messages.ts';
import { rotationAnswerSchema, rotationPath } from '../../membership/rotate-authority.ts';
import type { ApiContext } from '../context.ts';
import { route, type Route } from '../route.ts';

export function membershipRoutes({ membership }: Pick<ApiContext, 'membership'>): Route[] {
  return [
    route({
      id: 'cluster-join',
      method: 'POST',
      path: joinPath,
      summary:
        'A bare server asks for its certificate with a join token; only `vmpair cluster join` should call it.',
      body: joinRequestSchema,
      response: joinAnswerSchema,
      handle: ({ body }) => membership.join(body),
    }),
    route({
      id: 'cluster-authority',
      method: 'POST',
      path: rotationPath,
      summary: 'A step of the replacement of the authority, for the agent of the other node.',
      body: z.looseObject({ step: z.string().describe('state, trust, issue or finish') }),
      response: rotationAnswerSchema,
      handle: ({ body, principal }) => membership.rotate(body, principal.name),
    }),
  ];
}
