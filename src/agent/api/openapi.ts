/** The OpenAPI 3.1 document of the API, made from the schemas of its routes. Pure. */
import { z } from 'zod';
import { type Permission, permissions } from '../access/permissions.ts';
import { errorBodySchema } from './http-errors.ts';
import type { Route } from './route.ts';

/** `/modules/:vm` -> `/modules/{vm}` */
export function openApiPath(path: string): string {
  return path.replaceAll(/:([A-Za-z]+)/g, '{$1}');
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): unknown {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest;
}

interface ObjectSchema {
  readonly properties?: Readonly<Record<string, { readonly description?: string }>>;
  readonly required?: readonly string[];
}

/** Members of an object schema as parameters of a path or a query. */
function parametersOf(schema: z.ZodObject, place: 'path' | 'query'): object[] {
  const { properties = {}, required = [] } = schemaOf(schema, 'input') as ObjectSchema;
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: rest,
  }));
}

function contentOf(route: Route): object {
  const media =
    route.id === 'metrics' ? 'text/plain' : route.id === 'event-stream' ? 'text/event-stream' : undefined;
  return media === undefined
    ? { 'application/json': { schema: schemaOf(route.response, 'output') } }
    : { [media]: { schema: { type: 'string' } } };
}

function operationOf(route: Route): object {
  const permission: Permission = permissions[route.id];
  const { scope } = permission;
  const role = route.role ?? permission.role;
  const who =
    role === 'public'
      ? 'Everybody may.'
      : role === 'peer'
        ? 'Only the agent of the other node may.'
        : `Takes the role ${role}.`;
  const bound =
    role !== 'public' && role !== 'peer' && scope === 'cluster'
      ? ' Not for roles that are bound to some VMs.'
      : '';
  const failure = {
    description: 'Refused or failed',
    content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
  };
  return {
    operationId: route.operation,
    summary: route.summary,
    description: `${who}${bound}`,
    parameters: [...parametersOf(route.params, 'path'), ...parametersOf(route.query, 'query')],
    ...(route.body === undefined
      ? {}
      : { requestBody: { content: { 'application/json': { schema: schemaOf(route.body, 'input') } } } }),
    responses: { 200: { description: 'Done', content: contentOf(route) }, default: failure },
    security: role === 'public' ? [] : role === 'peer' ? [{ node: [] }] : [{ bearer: [] }],
  };
}

export function openApiDocument(routes: readonly Route[], version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    const path = openApiPath(route.path);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'vmpair agent',
      version,
      description: 'One agent runs on each node; both answer the same questions. docs/api.md has the rules.',
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      schemas: { Error: schemaOf(errorBodySchema, 'output') },
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'A token, or the token of a session' },
        node: { type: 'mutualTLS', description: 'The certificate of a node of this cluster' },
      },
    },
  };
}
