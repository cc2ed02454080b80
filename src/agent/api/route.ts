/**
 * One route of the API: its path, its schemas and what it does. The server checks who may call it (permissions.ts) and what
 * is sent before `handle` runs; the OpenAPI document is made from the same values.
 */
import type { ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Principal, Role, RouteId } from '../access/permissions.ts';

export interface Call<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  /** Who calls; on a public route perhaps nobody. */
  readonly principal: Principal;
  /** Address of the caller. */
  readonly from: string;
  /** The bearer token of the call, if there is one. */
  readonly bearer: string | undefined;
}

/** An answer that is not JSON with the status 200. */
export class Answer {
  readonly status: number;
  readonly body: unknown;
  readonly contentType: string | undefined;
  /** Id of the job that this call began, for the audit log. */
  readonly job: string | undefined;

  constructor(
    status: number,
    body: unknown,
    more: { readonly contentType?: string; readonly job?: string } = {},
  ) {
    this.status = status;
    this.body = body;
    this.contentType = more.contentType;
    this.job = more.job;
  }
}

/** An answer that goes on: the route writes to the response until one of the two ends. */
export class Stream {
  readonly run: (response: ServerResponse) => void;

  constructor(run: (response: ServerResponse) => void) {
    this.run = run;
  }
}

export interface Route {
  readonly id: RouteId;
  /** Name in the OpenAPI document, where several routes share an id; default: the id. */
  readonly operation: string;
  /** A higher role than the row of the id asks for. */
  readonly role: Role | undefined;
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** `/api/v1/modules/:vm` */
  readonly path: string;
  readonly summary: string;
  readonly params: z.ZodObject;
  readonly query: z.ZodObject;
  readonly body: z.ZodObject | undefined;
  /** Of the answer with the status 200. */
  readonly response: z.ZodType;
  /** Whether calls stand in the audit log; those that change something do. */
  readonly audited: boolean;
  readonly handle: (call: Call<unknown, unknown, unknown>) => unknown;
}

const nothing = z.strictObject({});

interface RouteSpec<Params extends z.ZodObject, Query extends z.ZodObject, Body extends z.ZodObject> {
  readonly id: RouteId;
  readonly operation?: string;
  readonly role?: Role;
  readonly method: Route['method'];
  readonly path: string;
  readonly summary: string;
  readonly params?: Params;
  readonly query?: Query;
  readonly body?: Body;
  readonly response: z.ZodType;
  /** Default: every method but GET. */
  readonly audited?: boolean;
  readonly handle: (call: Call<z.output<Params>, z.output<Query>, z.output<Body>>) => unknown;
}

export function route<
  Params extends z.ZodObject = typeof nothing,
  Query extends z.ZodObject = typeof nothing,
  Body extends z.ZodObject = typeof nothing,
>(spec: RouteSpec<Params, Query, Body>): Route {
  return {
    id: spec.id,
    operation: spec.operation ?? spec.id,
    role: spec.role,
    method: spec.method,
    path: spec.path,
    summary: spec.summary,
    params: spec.params ?? nothing,
    query: spec.query ?? nothing,
    body: spec.body,
    response: spec.response,
    audited: spec.audited ?? spec.method !== 'GET',
    // The server has parsed all three with the schemas of this route.
    handle: (call) => spec.handle(call as Call<z.output<Params>, z.output<Query>, z.output<Body>>),
  };
}

/** Name of a module in a path. */
export const vmParams = z.strictObject({ vm: z.string().max(31).describe('name of the module') });
export const doneSchema = z.object({ done: z.literal(true) });
