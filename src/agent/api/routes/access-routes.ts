/** Login, users and tokens. */
import { z } from 'zod';
import { passwordCharactersMax, passwordCharactersMin } from '../../access/password.ts';
import { roles } from '../../access/permissions.ts';
import type { ApiContext } from '../context.ts';
import { doneSchema, route, type Route } from '../route.ts';

const userName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/, 'a name of 1 to 64 letters, digits, ".", "_", "@" or "-"');
const newPassword = z
  .string()
  .min(passwordCharactersMin, `a password of at least ${passwordCharactersMin} characters`)
  .max(passwordCharactersMax, `a password of at most ${passwordCharactersMax} characters`);
const rights = {
  role: z.enum(roles),
  vms: z.array(z.string().max(31)).min(1).max(200).optional().describe('absent: all VMs'),
};
const rightsShown = { role: z.enum(roles), vms: z.array(z.string()).optional(), createdAt: z.string() };

const done = { done: true } as const;

export function accessRoutes({ access }: Pick<ApiContext, 'access'>): Route[] {
  return [
    route({
      id: 'login',
      method: 'POST',
      path: '/api/v1/login',
      summary: 'A session for a user and a password; its token is used like any other.',
      body: z.strictObject({ user: z.string().max(64), password: z.string().max(passwordCharactersMax) }),
      response: z.object({ token: z.string(), endsInMs: z.int() }),
      handle: ({ body, from }) => access.login(body.user, body.password, from),
    }),
    route({
      id: 'logout',
      method: 'POST',
      path: '/api/v1/logout',
      summary: 'End the session of this token.',
      response: z.object({ ended: z.boolean() }),
      handle: ({ bearer }) => ({ ended: bearer !== undefined && access.logout(bearer) }),
    }),
    route({
      id: 'whoami',
      method: 'GET',
      path: '/api/v1/whoami',
      summary: 'Whom the agent takes the caller for.',
      response: z.object({
        kind: z.string(),
        name: z.string(),
        role: z.enum(roles),
        vms: z.array(z.string()).optional(),
      }),
      handle: ({ principal: { kind, name, role, vms } }) => ({ kind, name, role, vms }),
    }),
    route({
      id: 'users',
      method: 'GET',
      path: '/api/v1/users',
      summary: 'Users and their roles.',
      response: z.object({ users: z.array(z.object({ name: z.string(), ...rightsShown })) }),
      handle: () => ({ users: access.users }),
    }),
    route({
      id: 'user-add',
      method: 'POST',
      path: '/api/v1/users',
      summary: 'Add a user.',
      body: z.strictObject({ name: userName, password: newPassword, ...rights }),
      response: doneSchema,
      handle: async ({ body: { name, password, role, vms } }) => {
        await access.addUser(name, password, { role, vms });
        return done;
      },
    }),
    route({
      id: 'user-remove',
      method: 'DELETE',
      path: '/api/v1/users/:user',
      summary: 'Remove a user; the sessions of the user end.',
      params: z.strictObject({ user: z.string().max(64) }),
      response: doneSchema,
      handle: async ({ params }) => {
        await access.removeUser(params.user);
        return done;
      },
    }),
    route({
      id: 'user-password',
      method: 'PUT',
      path: '/api/v1/users/:user/password',
      summary: 'Set the password of a user; the sessions of the user end.',
      params: z.strictObject({ user: z.string().max(64) }),
      body: z.strictObject({ password: newPassword }),
      response: doneSchema,
      handle: async ({ params, body }) => {
        await access.setPassword(params.user, body.password);
        return done;
      },
    }),
    route({
      id: 'tokens',
      method: 'GET',
      path: '/api/v1/tokens',
      summary: 'Tokens and their roles, without their secrets.',
      response: z.object({
        tokens: z.array(
          z.object({ id: z.string(), note: z.string(), expiresAt: z.string().optional(), ...rightsShown }),
        ),
      }),
      handle: () => ({ tokens: access.tokens }),
    }),
    route({
      id: 'token-add',
      method: 'POST',
      path: '/api/v1/tokens',
      summary: 'Add a token; its text is in this answer and nowhere else.',
      body: z.strictObject({
        ...rights,
        note: z.string().max(200).default(''),
        expiresAt: z.iso.datetime().optional().describe('absent: it does not end'),
      }),
      response: z.object({ id: z.string(), token: z.string() }),
      handle: ({ body: { role, vms, note, expiresAt } }) => access.addToken({ role, vms }, note, expiresAt),
    }),
    route({
      id: 'token-remove',
      method: 'DELETE',
      path: '/api/v1/tokens/:id',
      summary: 'Remove a token; it counts no longer at once.',
      params: z.strictObject({ id: z.string().max(64) }),
      response: doneSchema,
      handle: async ({ params }) => {
        await access.removeToken(params.id);
        return done;
      },
    }),
  ];
}
