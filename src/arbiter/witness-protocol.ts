/**
 * What a node and the witness say to each other: one JSON object a line, UTF-8, over an authenticated
 * connection.
 *
 * Order: the witness speaks first (`WitnessHello`, only after it has accepted the certificate of the node);
 * then the node sends requests, one at a time or several, and each is answered once under its `id`, in order.
 * A line that cannot be understood is answered with a `failure` and ends the connection. A `failure` never
 * means that a swap was refused.
 *
 * Protocol versions, newest first:
 *   1  `swap` and `read` of one record per (cluster, module); the certificate names the cluster.
 *
 * Everything here parses untrusted bytes: the functions answer a value or a sentence that names the wrong
 * path, and never throw.
 */
import { z } from 'zod';
import { hexIdPattern, nodeNamePattern } from '../base/identity.ts';

export const witnessProtocolVersion = 1;
/** Longest line in either direction, without its line feed. */
export const lineBytesMax = 4096;
/** Names a module in requests, logs and records. */
export const moduleIdPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

const recordShape = z.strictObject({
  generation: z.int().min(1),
  holder: z.union([z.literal('both'), z.string().regex(nodeNamePattern)]),
  operationId: z.string().regex(hexIdPattern),
});
const requestIdShape = z.int().min(1);
const moduleIdShape = z.string().regex(moduleIdPattern);

const helloShape = z.object({
  hello: z.object({
    protocol: z.int().min(1),
    witness: z.string().regex(nodeNamePattern),
    /** Identity of the store of its records. */
    store: z.string().regex(hexIdPattern),
  }),
});

const requestShape = z.discriminatedUnion('op', [
  z.strictObject({
    id: requestIdShape,
    op: z.literal('swap'),
    moduleId: moduleIdShape,
    /** The only store that may carry it out; `null`: any. */
    store: z.string().regex(hexIdPattern).nullable(),
    /** `null`: the module has no record yet. */
    expected: recordShape.nullable(),
    next: recordShape,
  }),
  z.strictObject({ id: requestIdShape, op: z.literal('read'), moduleId: moduleIdShape }),
]);

/**
 * Why a request has no answer. `storage-failed`: it may have been carried out; the others: nothing changed.
 */
const failureCodes = ['protocol-violation', 'request-rejected', 'record-damaged', 'storage-failed'] as const;

const responseShape = z.discriminatedUnion('kind', [
  z.strictObject({ id: requestIdShape, kind: z.literal('granted'), record: recordShape }),
  z.strictObject({ id: requestIdShape, kind: z.literal('refused'), record: recordShape.nullable() }),
  /** The store that was asked for is not this one; nothing changed. */
  z.strictObject({ id: requestIdShape, kind: z.literal('other-store') }),
  z.strictObject({ id: requestIdShape, kind: z.literal('record'), record: recordShape.nullable() }),
  /** `id` is `null` when the line was not understood at all. */
  z.strictObject({
    id: requestIdShape.nullable(),
    kind: z.literal('failure'),
    code: z.enum(failureCodes),
    message: z.string().max(2000),
  }),
]);

export type WitnessHello = z.infer<typeof helloShape>;
export type WitnessRequest = z.infer<typeof requestShape>;
export type WitnessResponse = z.infer<typeof responseShape>;
export type WitnessFailureCode = (typeof failureCodes)[number];
export type Parsed<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly problem: string };

/** One sentence per problem, each with the path of the value that is wrong. */
function problemOf(error: z.ZodError): string {
  return error.issues.map((issue) => `${issue.path.join('.') || 'the line'}: ${issue.message}`).join('; ');
}

function parseLine<Value>(line: Uint8Array, shape: z.ZodType<Value>): Parsed<Value> {
  if (line.length > lineBytesMax)
    return { ok: false, problem: `the line is longer than ${lineBytesMax} bytes` };
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line));
  } catch {
    return { ok: false, problem: 'the line is not a JSON text in UTF-8' };
  }
  const result = shape.safeParse(json);
  return result.success
    ? { ok: true, value: result.data }
    : { ok: false, problem: problemOf(result.error).slice(0, 1000) };
}

export function parseHello(line: Uint8Array): Parsed<WitnessHello> {
  return parseLine(line, helloShape);
}

export function parseRequest(line: Uint8Array): Parsed<WitnessRequest> {
  return parseLine(line, requestShape);
}

export function parseResponse(line: Uint8Array): Parsed<WitnessResponse> {
  return parseLine(line, responseShape);
}

/** Parses what a record file holds; the same shape as on the wire. */
export function parseRecord(value: unknown): Parsed<z.infer<typeof recordShape>> {
  const result = recordShape.safeParse(value);
  return result.success ? { ok: true, value: result.data } : { ok: false, problem: problemOf(result.error) };
}

/** One message as the bytes of its line, with the line feed. */
export function encodeLine(message: WitnessHello | WitnessRequest | WitnessResponse): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(message)}\n`);
}

/**
 * Cuts a byte stream into lines and bounds what it buffers. `push` hands out complete lines, without their
 * line feed; it answers false, and nothing more may be pushed, once a line is longer than `lineBytesMax`.
 */
export class LineCutter {
  #partial = new Uint8Array(0);

  push(bytes: Uint8Array, line: (line: Uint8Array) => void): boolean {
    let rest = bytes;
    for (;;) {
      const end = rest.indexOf(0x0a);
      const piece = end === -1 ? rest : rest.subarray(0, end);
      if (this.#partial.length + piece.length > lineBytesMax) return false;
      const joined = new Uint8Array(this.#partial.length + piece.length);
      joined.set(this.#partial);
      joined.set(piece, this.#partial.length);
      if (end === -1) {
        this.#partial = joined;
        return true;
      }
      this.#partial = new Uint8Array(0);
      line(joined);
      rest = rest.subarray(end + 1);
    }
  }
}
