/**
 * The files of the witness's store. Each is two lines: a JSON object, and `sha256 HEX` of the first line. Each carries its own
 * origin, so that a file which was put back from a copy is noticed, and each record names the store that it belongs to.
 *
 *   STORE/store-id        {format, store, directory, file}: the identity of the store; origins of its directory and of this file
 *   STORE/NAME.record     {format, store, file, clusterId, moduleId, record, changed}
 *
 * Whoever made a change and when (`changed`) is for people and decides nothing.
 *
 * Formats of records, newest first:
 *   2  with store, origin and who changed it
 *   1  without them: it can not be told from a copy, and is not read
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { moduleIdPattern, parseRecord } from '../arbiter/witness-protocol.ts';
import { WorldError } from '../base/errors.ts';
import { hexIdPattern } from '../base/identity.ts';
import type { ArbiterRecord, StoreId } from '../disk/state.ts';
import { type FileOrigin, fileOriginPattern } from '../platform/file-origin.ts';

/** The record of a module of a cluster. */
export interface RecordKey {
  readonly clusterId: string;
  readonly moduleId: string;
}

/** Who asked for the last change, and when by the clock of the witness (ISO 8601). */
export interface RecordChange {
  readonly by: string;
  readonly at: string;
}

export interface RecordFile extends RecordKey {
  readonly store: StoreId;
  readonly file: FileOrigin;
  readonly record: ArbiterRecord;
  readonly changed: RecordChange;
}

export interface StoreIdentity {
  readonly store: StoreId;
  readonly directory: FileOrigin;
  readonly file: FileOrigin;
}

const recordFormat = 2;
const identityFormat = 1;

const originText = z.string().regex(fileOriginPattern);
const storeText = z.string().regex(hexIdPattern);

const recordShape = z.strictObject({
  format: z.literal(recordFormat),
  store: storeText,
  file: originText,
  clusterId: z.string().min(1),
  moduleId: z.string().regex(moduleIdPattern),
  record: z.unknown(),
  changed: z.strictObject({ by: z.string(), at: z.string() }),
});

const identityShape = z.strictObject({
  format: z.literal(identityFormat),
  store: storeText,
  directory: originText,
  file: originText,
});

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Readable, and unique also where file names ignore case. */
export function recordFileName({ clusterId, moduleId }: RecordKey): string {
  return `${moduleId.toLowerCase()}-${digest(`${clusterId}/${moduleId}`).slice(0, 24)}.record`;
}

function seal(content: object): string {
  const line = JSON.stringify(content);
  return `${line}\nsha256 ${digest(line)}\n`;
}

export function encodeRecordFile(content: RecordFile): string {
  return seal({ format: recordFormat, ...content });
}

export function encodeStoreIdentity(identity: StoreIdentity): string {
  return seal({ format: identityFormat, ...identity });
}

/** Throws `WorldError` record-damaged for anything but what `encodeRecordFile` makes. */
export function decodeRecordFile(file: string, text: string): RecordFile {
  const { format: _format, record, ...rest } = unseal(file, text, recordShape);
  const parsed = parseRecord(record);
  if (!parsed.ok) throw damaged(file, parsed.problem);
  return { ...rest, record: parsed.value };
}

/** Throws `WorldError` record-damaged for anything but what `encodeStoreIdentity` makes. */
export function decodeStoreIdentity(file: string, text: string): StoreIdentity {
  const { format: _format, ...identity } = unseal(file, text, identityShape);
  return identity;
}

/** What to do with one record file that can not be used. */
const deleteRecordNext =
  'delete this file, then run `vmpair arbiter recreate VM` on the node that holds the good copy';

export function damaged(file: string, found: string): WorldError {
  return new WorldError('record-damaged', {
    wanted: `the record in ${file}`,
    found,
    next: deleteRecordNext,
  });
}

export function restored(file: string, found: string): WorldError {
  return new WorldError('record-restored', {
    wanted: `the record that was last written to ${file}`,
    found,
    next: deleteRecordNext,
  });
}

function unseal<Shape extends z.ZodType>(file: string, text: string, shape: Shape): z.infer<Shape> {
  const match = /^([^\n]*)\nsha256 ([0-9a-f]{64})\n$/.exec(text);
  const [, line, checksum] = match ?? [];
  if (line === undefined || checksum === undefined)
    throw damaged(file, `${text.length} bytes that are no record`);
  if (digest(line) !== checksum) throw damaged(file, 'a checksum that does not fit its content');
  const result = shape.safeParse(parseJson(line));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw damaged(file, `${issue?.path.join('.') || 'its content'}: ${issue?.message ?? 'not a record'}`);
}

/** `undefined` for text that is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
