/**
 * The superblock: encoding, decoding, and the choice between its two copies (format.ts says why there are two).
 * Decoding is strict: a block that does not encode to the same bytes again is not valid, so reserved bytes are zero.
 */
import { assertInvariant } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import type { Decision } from '../base/decision.ts';
import * as format from './format.ts';
import type { Decoded, VolumeAreas } from './format.ts';
import {
  allZero,
  getId,
  getText,
  getU64,
  putId,
  putText,
  putU64,
  sameBytes,
  viewOf,
} from './record-layout.ts';
import type { Field } from './record-layout.ts';
import { blockSizeBytes, extentSizeBytes, pathEntriesMax } from './state.ts';
import type { ArbiterRecord, PendingOperation, PersistentState, VolumeIdentity } from './state.ts';

export interface Superblock {
  /** Grows by one with each write; its parity is the copy. */
  readonly sequence: number;
  readonly state: PersistentState;
  readonly areas: readonly VolumeAreas[];
  readonly fileSizeBytes: number;
}

const at = format.superblockFields;

/** One block of 4 KiB. The state must be one that the format can hold (texts, ids and counts within their fields). */
export function encodeSuperblock(superblock: Superblock): Uint8Array {
  const { state } = superblock;
  const bytes = new Uint8Array(format.metadataBlockBytes);
  const view = viewOf(bytes);
  bytes.set(format.superblockMagic, at.magic[0]);
  view.setUint32(at.formatVersion[0], format.formatVersionOf(state), true);
  putU64(view, at.sequence[0], superblock.sequence);
  putU64(view, at.fileSizeBytes[0], superblock.fileSizeBytes);
  view.setUint32(at.blockSizeBytes[0], blockSizeBytes, true);
  view.setUint32(at.extentSizeBytes[0], extentSizeBytes, true);
  bytes[at.data[0]] = format.dataFlags.indexOf(state.data);
  bytes[at.role[0]] = format.roles.indexOf(state.role);
  bytes[at.peerData[0]] = format.peerDataFlags.indexOf(state.peerData);
  bytes[at.presence[0]] = presenceOf(state);
  bytes[at.wish[0]] = format.operatorWishes.indexOf(state.wish ?? 'none');
  putText(bytes, at.inSyncAt, state.inSyncAt ?? '');
  putText(bytes, at.aloneSince, state.aloneSince ?? '');
  putText(bytes, at.splitSince, state.splitSince ?? '');
  bytes[at.diskDoubt[0]] = format.diskDoubts.indexOf(state.diskDoubt);
  putU64(view, at.generation[0], state.generation);
  putId(bytes, at.bootId[0], state.bootId);
  if (state.base !== undefined) putId(bytes, at.base[0], state.base);
  putText(bytes, at.clusterId, state.clusterId);
  putText(bytes, at.moduleId, state.moduleId);
  putText(bytes, at.self, state.self);
  putText(bytes, at.peer, state.peer);
  if (state.holder !== undefined) putText(bytes, at.holder, state.holder);
  if (state.pending?.expected !== undefined) putRecord(bytes, at.pendingExpected, state.pending.expected);
  if (state.pending !== undefined) putRecord(bytes, at.pendingNext, state.pending.next);
  if (state.pending?.store !== undefined) putId(bytes, at.pendingStore[0], state.pending.store);
  if (state.arbiterStore !== undefined) putId(bytes, at.arbiterStore[0], state.arbiterStore);
  assertInvariant(state.path.length <= pathEntriesMax, 'the path fits its field');
  bytes[at.pathCount[0]] = state.path.length;
  state.path.forEach((id, index) => putId(bytes, at.path[0] + index * 16, id));
  assertInvariant(state.volumes.length === superblock.areas.length, 'every volume has its areas');
  bytes[at.volumeCount[0]] = state.volumes.length;
  state.volumes.forEach((volume, index) =>
    putVolume(bytes, index, volume, superblock.areas[index] as VolumeAreas),
  );
  view.setUint32(at.checksum[0], checksumOf(bytes), true);
  return bytes;
}

/** Judges one copy; `copy` is the place where it was read. */
export function decodeSuperblock(bytes: Uint8Array, copy: 0 | 1): Decoded<Superblock> {
  assertInvariant(bytes.length === format.metadataBlockBytes, 'a superblock is one block');
  if (allZero(bytes)) return format.invalid('never-written');
  const view = viewOf(bytes);
  if (format.superblockMagic.some((byte, index) => bytes[at.magic[0] + index] !== byte)) {
    return format.invalid('bad-magic');
  }
  if (view.getUint32(at.checksum[0], true) !== checksumOf(bytes)) return format.invalid('bad-checksum');
  const version = view.getUint32(at.formatVersion[0], true);
  if (!format.formatVersions.some((known) => known === version)) return format.invalid('unknown-version');
  const superblock = readFields(bytes, view);
  if (superblock === undefined) return format.invalid('bad-field');
  if (superblock.sequence % 2 !== copy) return format.invalid('misplaced');
  if (!sameBytes(encodeSuperblock(superblock), bytes)) return format.invalid('reserved-not-zero');
  return { kind: 'valid', content: superblock };
}

export type SuperblockChoice =
  | (Decision<'use'> & { readonly superblock: Superblock })
  | Decision<'refuse-damaged' | 'refuse-version'>;

/** Which copy speaks for the file. The rules are tried in this order. */
export function chooseSuperblock(
  copies: readonly [Decoded<Superblock>, Decoded<Superblock>],
): SuperblockChoice {
  const [zero, one] = copies;
  const problems = copies.map((copy) => (copy.kind === 'valid' ? 'valid' : copy.problem));
  const found = `copy 0 is ${problems[0]}, copy 1 is ${problems[1]}`;
  // A newer program may have written only one copy so far, and that one is the newest: never go on with the other.
  if (problems.includes('unknown-version')) {
    return { action: 'refuse-version', rule: 'written-by-another-version', because: found };
  }
  if (zero.kind === 'valid' && one.kind === 'valid') {
    const newer = zero.content.sequence > one.content.sequence ? zero.content : one.content;
    const because = `both copies are valid and ${newer.sequence} is the higher sequence number`;
    return { action: 'use', rule: 'newer-of-two', because, superblock: newer };
  }
  if (zero.kind === 'valid')
    return { action: 'use', rule: 'only-valid-copy', because: found, superblock: zero.content };
  if (one.kind === 'valid')
    return { action: 'use', rule: 'only-valid-copy', because: found, superblock: one.content };
  const neverUsed = problems.every((problem) => problem === 'never-written');
  const rule = neverUsed ? 'creation-never-finished' : 'no-valid-copy';
  return { action: 'refuse-damaged', rule, because: found };
}

function checksumOf(bytes: Uint8Array): number {
  const version = bytes.subarray(at.formatVersion[0], at.checksum[0]);
  return crc32c(bytes.subarray(at.sequence[0]), crc32c(version));
}

function presenceOf(state: PersistentState): number {
  return (
    (state.base === undefined ? 0 : format.presence.base) |
    (state.holder === undefined ? 0 : format.presence.holder) |
    (state.pending === undefined ? 0 : format.presence.pending) |
    (state.pending?.expected === undefined ? 0 : format.presence.pendingExpected) |
    (state.arbiterStore === undefined ? 0 : format.presence.arbiterStore) |
    (state.pending?.store === undefined ? 0 : format.presence.pendingStore)
  );
}

function fieldOf(field: Field, offset: number): Field {
  return [field[0] + offset, field[1]];
}

function putRecord(bytes: Uint8Array, [offset]: Field, record: ArbiterRecord): void {
  const fields = format.arbiterRecordFields;
  putU64(viewOf(bytes), offset + fields.generation[0], record.generation);
  putId(bytes, offset + fields.operationId[0], record.operationId);
  putText(bytes, fieldOf(fields.holder, offset), record.holder);
}

function getRecord(bytes: Uint8Array, [offset]: Field): ArbiterRecord | undefined {
  const fields = format.arbiterRecordFields;
  const generation = getU64(viewOf(bytes), offset + fields.generation[0]);
  const holder = getText(bytes, fieldOf(fields.holder, offset));
  if (generation === undefined || holder === undefined) return undefined;
  return { generation, holder, operationId: getId(bytes, offset + fields.operationId[0]) };
}

function putVolume(bytes: Uint8Array, index: number, volume: VolumeIdentity, areas: VolumeAreas): void {
  const fields = format.volumeEntryFields;
  const offset = at.volumes[0] + index * format.volumeEntryBytes;
  const view = viewOf(bytes);
  putText(bytes, fieldOf(fields.name, offset), volume.name);
  putU64(view, offset + fields.sizeBytes[0], volume.sizeBytes);
  putU64(view, offset + fields.ringOffsetBytes[0], areas.ringOffsetBytes);
  putU64(view, offset + fields.bitmapOffsetBytes[0], areas.bitmapOffsetBytes);
  view.setUint32(offset + fields.ringBlocks[0], areas.ringBlocks, true);
  view.setUint32(offset + fields.bitmapPages[0], areas.bitmapPages, true);
}

/** All volumes with their areas, when they are laid out as `planFile` does it. */
function getVolumes(bytes: Uint8Array, fileSizeBytes: number) {
  const fields = format.volumeEntryFields;
  const view = viewOf(bytes);
  const volumes: VolumeIdentity[] = [];
  const count = bytes[at.volumeCount[0]] as number;
  if (count === 0 || count * format.volumeEntryBytes > at.volumes[1]) return undefined;
  for (let index = 0; index < count; index += 1) {
    const offset = at.volumes[0] + index * format.volumeEntryBytes;
    const name = getText(bytes, fieldOf(fields.name, offset));
    const sizeBytes = getU64(view, offset + fields.sizeBytes[0]);
    if (name === undefined || sizeBytes === undefined) return undefined;
    if (sizeBytes === 0 || sizeBytes > format.volumeSizeBytesMax) return undefined;
    volumes.push({ name, sizeBytes });
  }
  const ringBlocks = view.getUint32(at.volumes[0] + fields.ringBlocks[0], true);
  if (ringBlocks < format.ringBlocksMin || ringBlocks > format.ringBlocksMax) return undefined;
  const plan = format.planFile(volumes, ringBlocks);
  return plan.fileSizeBytes === fileSizeBytes ? { volumes, areas: plan.areas } : undefined;
}

/** The pending operation; `undefined` when its fields are wrong, `none` when there is none. */
function getPending(bytes: Uint8Array, present: number): PendingOperation | 'none' | undefined {
  if ((present & format.presence.pending) === 0) return 'none';
  const next = getRecord(bytes, at.pendingNext);
  if (next === undefined) return undefined;
  const store =
    (present & format.presence.pendingStore) === 0 ? {} : { store: getId(bytes, at.pendingStore[0]) };
  if ((present & format.presence.pendingExpected) === 0) return { ...store, expected: undefined, next };
  const expected = getRecord(bytes, at.pendingExpected);
  return expected === undefined ? undefined : { ...store, expected, next };
}

/** Reads all fields; what it overlooks (wrong areas, unused bytes) shows when the result is encoded again. */
function readFields(bytes: Uint8Array, view: DataView): Superblock | undefined {
  const present = bytes[at.presence[0]] as number;
  const sequence = getU64(view, at.sequence[0]);
  const fileSizeBytes = getU64(view, at.fileSizeBytes[0]);
  const generation = getU64(view, at.generation[0]);
  const data = format.dataFlags[bytes[at.data[0]] as number];
  const role = format.roles[bytes[at.role[0]] as number];
  const peerData = format.peerDataFlags[bytes[at.peerData[0]] as number];
  const diskDoubt = format.diskDoubts[bytes[at.diskDoubt[0]] as number];
  const [clusterId, moduleId] = [getText(bytes, at.clusterId), getText(bytes, at.moduleId)];
  const [self, peer] = [getText(bytes, at.self), getText(bytes, at.peer)];
  const holder = getText(bytes, at.holder);
  const pending = getPending(bytes, present);
  const wish = format.operatorWishes[bytes[at.wish[0]] as number];
  const [inSyncAt, aloneSince] = [getText(bytes, at.inSyncAt), getText(bytes, at.aloneSince)];
  const splitSince = getText(bytes, at.splitSince);
  const pathCount = bytes[at.pathCount[0]] as number;
  if (sequence === undefined || fileSizeBytes === undefined || generation === undefined) return undefined;
  if (data === undefined || role === undefined || peerData === undefined) return undefined;
  if (diskDoubt === undefined) return undefined;
  if (clusterId === undefined || moduleId === undefined || self === undefined || peer === undefined)
    return undefined;
  if (holder === undefined || pending === undefined || pathCount > pathEntriesMax) return undefined;
  if (wish === undefined || inSyncAt === undefined || aloneSince === undefined || splitSince === undefined)
    return undefined;
  const volumes = getVolumes(bytes, fileSizeBytes);
  if (volumes === undefined) return undefined;
  const state: PersistentState = {
    clusterId,
    moduleId,
    self,
    peer,
    volumes: volumes.volumes,
    path: Array.from({ length: pathCount }, (_, index) => getId(bytes, at.path[0] + index * 16)),
    generation,
    holder: (present & format.presence.holder) === 0 ? undefined : holder,
    base: (present & format.presence.base) === 0 ? undefined : getId(bytes, at.base[0]),
    role,
    data,
    diskDoubt,
    peerData,
    pending: pending === 'none' ? undefined : pending,
    ...((present & format.presence.arbiterStore) === 0
      ? {}
      : { arbiterStore: getId(bytes, at.arbiterStore[0]) }),
    ...(wish === 'none' ? {} : { wish }),
    ...(inSyncAt === '' ? {} : { inSyncAt }),
    ...(aloneSince === '' ? {} : { aloneSince }),
    ...(splitSince === '' ? {} : { splitSince }),
    bootId: getId(bytes, at.bootId[0]),
  };
  return { sequence, state, areas: volumes.areas, fileSizeBytes };
}
