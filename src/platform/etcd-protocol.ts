/**
 * What a node and etcd (3.4 or later) say to each other through etcd's JSON gateway, and the one value that is kept there per
 * module. https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/
 *
 * Keys and values travel as base64, 64-bit numbers as decimal text, and what is zero, false or empty is left out. Everything that is
 * parsed here is untrusted: it becomes a value, or a `WorldError` that says what is wrong.
 */
import { z } from 'zod';
import { parseRecord } from '../arbiter/witness-protocol.ts';
import { WorldError } from '../base/errors.ts';
import { hexIdPattern } from '../base/identity.ts';
import type { ArbiterRecord } from '../disk/state.ts';

export const etcdPaths = {
  authenticate: '/v3/auth/authenticate',
  range: '/v3/kv/range',
  txn: '/v3/kv/txn',
  status: '/v3/maintenance/status',
} as const;

const valueFormat = 1;

/** Content of the key of a module. Store and record are one value, so that no change can touch one without the other. */
export interface KeptValue {
  /** 32 hex digits, drawn by whoever looks first, and anew when the store was found to be restored. */
  readonly store: string;
  /** Of the log when this value was written, see `logSurplus`; `undefined`: etcd does not tell this user. */
  readonly surplus: number | undefined;
  readonly record: ArbiterRecord | undefined;
}

/** The key as it was read. */
export interface KeyState {
  /** Of the cluster that answered, decimal. */
  readonly clusterId: string;
  /** `undefined`: there is no such key. */
  readonly value: KeptValue | undefined;
  /** Of the last change of the key, unique in the life of a cluster, decimal; `0` when there is no key. */
  readonly modRevision: string;
}

const uint64 = z.string().regex(/^\d{1,20}$/);
const header = z.object({ cluster_id: uint64, revision: uint64.default('0') });
const rangeShape = z.object({
  kvs: z.array(z.object({ mod_revision: uint64, value: z.base64().default('') })).default([]),
});
const rangeAnswer = z.object({ header, ...rangeShape.shape });
const txnAnswer = z.object({
  header,
  succeeded: z.boolean().default(false),
  responses: z.array(z.object({ response_range: rangeShape.optional() })).default([]),
});
const statusAnswer = z.object({ header, raftAppliedIndex: uint64 });
const authenticateAnswer = z.object({ token: z.string().min(1) });
const failureAnswer = z.object({ message: z.string().optional(), error: z.string().optional() });
const valueShape = z.strictObject({
  format: z.literal(valueFormat),
  store: z.string().regex(hexIdPattern),
  surplus: z.int().nullable(),
  record: z.unknown(),
});

const base64 = (text: string): string => Buffer.from(text, 'utf8').toString('base64');

export function authenticateRequest(name: string, password: string): object {
  return { name, password };
}

/** Linearizable, because nothing else is asked for: a member that was cut off from the others does not answer it. */
export function rangeRequest(key: string): object {
  return { key: base64(key), limit: '1' };
}

/** Puts `value` if the key is still as it was read; if not, answers how it is now. */
export function putRequest(key: string, asRead: KeyState, value: KeptValue): object {
  const named = { key: base64(key), result: 'EQUAL' };
  const guard =
    asRead.value === undefined
      ? { ...named, target: 'CREATE', create_revision: '0' }
      : { ...named, target: 'MOD', mod_revision: asRead.modRevision };
  const { store, surplus = null, record = null } = value;
  const text = JSON.stringify({ format: valueFormat, store, surplus, record });
  return {
    compare: [guard],
    success: [{ request_put: { key: base64(key), value: base64(text) } }],
    failure: [{ request_range: rangeRequest(key) }],
  };
}

export function violation(found: string): WorldError {
  return new WorldError('protocol-violation', {
    wanted: 'an answer of etcd 3.4 or later',
    found,
    next: 'check that `arbiter.endpoints` names the client addresses of etcd itself',
  });
}

function parse<Value>(shape: z.ZodType<Value>, json: unknown): Value {
  const result = shape.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw violation(`${issue?.path.join('.') || 'a body'}: ${issue?.message ?? 'not understood'}`);
}

function damaged(key: string, found: string): WorldError {
  return new WorldError('record-damaged', {
    wanted: `the record of this module in the etcd key ${key}`,
    found,
    next:
      'find out who else writes there, and give each module a prefix of its own; then delete the key ' +
      'and run `vmpair arbiter recreate VM`',
  });
}

function parseValue(key: string, text: string): KeptValue {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw damaged(key, `${text.length} characters that are no JSON`);
  }
  const value = valueShape.safeParse(json);
  if (!value.success) throw damaged(key, 'a value that vmpair did not write');
  const { store, record } = value.data;
  const surplus = value.data.surplus ?? undefined;
  if (record === null) return { store, surplus, record: undefined };
  const parsed = parseRecord(record);
  if (!parsed.ok) throw damaged(key, parsed.problem);
  return { store, surplus, record: parsed.value };
}

function keyState(key: string, clusterId: string, { kvs }: z.infer<typeof rangeShape>): KeyState {
  const [found] = kvs;
  if (found === undefined) return { clusterId, value: undefined, modRevision: '0' };
  const value = parseValue(key, Buffer.from(found.value, 'base64').toString('utf8'));
  return { clusterId, value, modRevision: found.mod_revision };
}

/** Throws `WorldError` protocol-violation or record-damaged. */
export function parseRange(key: string, json: unknown): KeyState {
  const answer = parse(rangeAnswer, json);
  return keyState(key, answer.header.cluster_id, answer);
}

export type PutOutcome =
  /** `asPut`: the key as this very change left it. */
  | { readonly succeeded: true; readonly asPut: KeyState }
  | { readonly succeeded: false; readonly now: KeyState };

/** Throws `WorldError` protocol-violation or record-damaged. */
export function parsePut(key: string, value: KeptValue, json: unknown): PutOutcome {
  const { header: answered, succeeded, responses } = parse(txnAnswer, json);
  const { cluster_id: clusterId, revision } = answered;
  if (succeeded) return { succeeded, asPut: { clusterId, value, modRevision: revision } };
  const range = responses[0]?.response_range;
  if (range === undefined) throw violation('a refused transaction without the key as it is');
  return { succeeded, now: keyState(key, clusterId, range) };
}

/**
 * By how many entries the log of the cluster is longer than its data has revisions. An entry makes at most one revision, so
 * in the life of a cluster this never falls. A restored snapshot has all the revisions, and a log that begins anew.
 * Throws `WorldError` protocol-violation.
 */
export function logSurplus(json: unknown): number {
  const { header: answered, raftAppliedIndex } = parse(statusAnswer, json);
  return Number(BigInt(raftAppliedIndex) - BigInt(answered.revision));
}

/** Throws `WorldError` protocol-violation. */
export function parseToken(json: unknown): string {
  return parse(authenticateAnswer, json).token;
}

/** Not in JSON: https://etcd.io/docs/v3.4/op-guide/authentication/#using-tls-common-name */
const commonName = /CommonName of client[\w ,]*/;
const refusals: readonly (readonly [RegExp, string])[] = [
  [
    /authentication is not enabled/,
    'run `etcdctl auth enable`, or leave `arbiter.user` out of the module configuration',
  ],
  [/authentication failed/, 'correct `arbiter.user`, or the password in `arbiter.passwordFile`'],
  [/invalid auth token|auth store is old/, 'nothing: the next attempt logs in anew'],
  [/user name is empty/, 'set `arbiter.user` and `arbiter.passwordFile` in the module configuration'],
  [
    /permission denied/,
    'set `arbiter.user`, and give its role the right to read and write the prefix of the module (`etcdctl role grant-permission`)',
  ],
  [/space exceeded/, 'make room in etcd: compact it, defragment every member, then `etcdctl alarm disarm`'],
  [
    commonName,
    'let `arbiter.tls.cert` name a certificate without a common name (CN): etcd takes none together with a user and a password',
  ],
  [/corrupt/, 'repair etcd: one of its members is damaged (`etcdctl alarm list`)'],
];
/** The cluster has no quorum, or is changing its leader. */
const unsettled = /no leader|leader changed|timed out|too many requests|unhealthy|server stopped/;

/** An answer that is no success, as an error for people. `text`: of the body. */
export function describeRefusal(status: number, json: unknown, text: string): WorldError {
  const answer = failureAnswer.safeParse(json);
  const said = answer.success ? (answer.data.message ?? answer.data.error) : commonName.exec(text)?.[0];
  if (said === undefined) return violation(`HTTP status ${status}`);
  const found = said.replace(/^etcdserver: /, '').slice(0, 300);
  if (unsettled.test(found)) return noQuorum(found);
  const next =
    refusals.find(([pattern]) => pattern.test(found))?.[1] ??
    'read the log of etcd; check its version (3.4 or later)';
  return new WorldError('arbiter-rejected', {
    wanted: 'etcd to keep the record of this module',
    found,
    next,
  });
}

export function noQuorum(found: string): WorldError {
  return new WorldError('arbiter-unreachable', {
    wanted: 'an answer of etcd',
    found,
    next: 'check that most of its members run and reach each other (`etcdctl endpoint status --cluster`)',
  });
}
