/** Errors of the catalogue as HTTP: which status each code has, and the body `{error: {code, wanted, found, next}}`. */
import { z } from 'zod';
import { type ErrorCode, errorCatalogue } from '../../base/error-catalogue.ts';
import { WorldError } from '../../base/errors.ts';

/** Codes that are not here: 409, the state of the world does not allow it. */
const statuses: Partial<Record<ErrorCode, number>> = {
  'request-invalid': 400,
  'config-invalid': 400,
  'usage-wrong': 400,
  'not-authenticated': 401,
  'certificate-rejected': 401,
  'not-allowed': 403,
  'not-found': 404,
  'module-unknown': 404,
  'limit-reached': 429,
  'agent-failed': 500,
  'agent-unreachable': 502,
  'control-unreachable': 503,
  'module-not-running': 503,
};
const conflict = 409;

export function statusOf(code: ErrorCode): number {
  return statuses[code] ?? conflict;
}

export const errorBodySchema = z
  .object({
    error: z.object({
      code: z.string().describe('stable; the error catalogue lists all'),
      wanted: z.string(),
      found: z.string(),
      next: z.string().describe('the next step for the administrator'),
    }),
  })
  .describe('Why the call was refused, or what failed');
export type ErrorBody = z.infer<typeof errorBodySchema>;

export function errorBody({ code, wanted, found, next }: WorldError): ErrorBody {
  return { error: { code, wanted, found, next } };
}

/** The error of an answer; `undefined`: the body is none. A code of another version keeps its name in the text. */
export function errorOfBody(body: unknown): WorldError | undefined {
  const parsed = errorBodySchema.safeParse(body);
  if (!parsed.success) return undefined;
  const { code, ...problem } = parsed.data.error;
  if (Object.hasOwn(errorCatalogue, code)) return new WorldError(code as ErrorCode, problem);
  return new WorldError('control-refused', { ...problem, found: `${code}: ${problem.found}` });
}

/** What a schema found wrong with a part of a request. */
export function invalidRequest(what: string, error: z.ZodError): WorldError {
  const [issue] = error.issues;
  const place = issue?.path.join('.') ?? '';
  return new WorldError('request-invalid', {
    wanted: `${what} as /api/v1/openapi.json describes it`,
    found: `${place === '' ? what : `at ${place}`}: ${issue?.message ?? 'something else'}`,
    next: 'Correct the request; nothing was changed.',
  });
}
