/**
 * Decodes all that can be decoded of a metadata file, damaged ones too, for people (`vmpair inspect FILE`). Reads only.
 * It shows what recovery would find, and judges each block by itself, so that it also helps where recovery refuses.
 */
import { findNewestLogBlock } from './activity-log.ts';
import { choosePageSlot } from './bitmap-page.ts';
import { DirtyBitmap } from './dirty-bitmap.ts';
import * as format from './format.ts';
import { formatVersionOf } from './format.ts';
import type { BlockProblem, Decoded, VolumeAreas } from './format.ts';
import { blockSizeBytes, extentSizeBytes } from './state.ts';
import type { ArbiterRecord, PersistentState, VolumeIdentity } from './state.ts';
import { chooseSuperblock, decodeSuperblock } from './superblock.ts';
import type { Superblock } from './superblock.ts';

export interface MetadataReader {
  readonly sizeBytes: number;
  /** The bytes of a range that is inside the file. */
  read(offsetBytes: number, lengthBytes: number): Uint8Array;
}

export interface CopyReport {
  readonly copy: 0 | 1;
  readonly verdict: 'valid' | 'cut-off' | BlockProblem;
  readonly sequence: number | undefined;
  readonly state: PersistentState | undefined;
}

export interface VolumeReport {
  readonly name: string;
  readonly sizeBytes: number;
  readonly areas: VolumeAreas;
  readonly log: {
    readonly validBlocks: number;
    readonly problems: Readonly<Record<string, number>>;
    /** Sequence number of the newest block; `undefined`: none is valid, so recovery takes the volume as all dirty. */
    readonly newestSequence: number | undefined;
    readonly hotExtents: readonly number[];
  };
  readonly bitmap: {
    readonly pages: number;
    readonly pagesWithOneSlot: number;
    /** Recovery takes their blocks as dirty. */
    readonly pagesLost: number;
    /** As recovery counts them, without the hot extents. */
    readonly dirtyBlocks: number;
    readonly dirtyBytes: number;
  };
}

export interface MetadataReport {
  readonly sizeBytes: number;
  readonly copies: readonly [CopyReport, CopyReport];
  /** What recovery would decide about the superblock, and why. */
  readonly verdict: { readonly action: string; readonly rule: string; readonly because: string };
  /** Areas by the chosen superblock; empty when there is none. `undefined`: the area lies beyond the end of the file. */
  readonly volumes: readonly (VolumeReport | undefined)[];
}

/** What the superblock that recovery would use says; `undefined`: it would refuse the file. */
export function chosenState({ copies, verdict }: MetadataReport): PersistentState | undefined {
  if (verdict.action !== 'use') return undefined;
  const [zero, one] = copies;
  return (zero.sequence ?? -1) > (one.sequence ?? -1) ? zero.state : one.state;
}

export function inspectMetadata(reader: MetadataReader): MetadataReport {
  const decoded = [readCopy(reader, 0), readCopy(reader, 1)] as const;
  const choice = chooseSuperblock([
    decoded[0] ?? format.invalid('never-written'),
    decoded[1] ?? format.invalid('never-written'),
  ]);
  const { action, rule, because } = choice;
  const volumes = choice.action === 'use' ? inspectVolumes(reader, choice.superblock) : [];
  return {
    sizeBytes: reader.sizeBytes,
    copies: [reportCopy(decoded[0], 0), reportCopy(decoded[1], 1)],
    verdict: { action, rule, because },
    volumes,
  };
}

/** `undefined`: the file ends before the copy does. */
function readCopy(reader: MetadataReader, copy: 0 | 1): Decoded<Superblock> | undefined {
  const offsetBytes = format.superblockOffsetsBytes[copy];
  if (offsetBytes + format.metadataBlockBytes > reader.sizeBytes) return undefined;
  return decodeSuperblock(reader.read(offsetBytes, format.metadataBlockBytes), copy);
}

function reportCopy(decoded: Decoded<Superblock> | undefined, copy: 0 | 1): CopyReport {
  if (decoded === undefined) return { copy, verdict: 'cut-off', sequence: undefined, state: undefined };
  if (decoded.kind === 'invalid') {
    return { copy, verdict: decoded.problem, sequence: undefined, state: undefined };
  }
  return { copy, verdict: 'valid', sequence: decoded.content.sequence, state: decoded.content.state };
}

function inspectVolumes(reader: MetadataReader, superblock: Superblock): (VolumeReport | undefined)[] {
  return superblock.state.volumes.map((volume, index) => {
    const areas = superblock.areas[index] as VolumeAreas;
    const endBytes = areas.bitmapOffsetBytes + 2 * areas.bitmapPages * format.metadataBlockBytes;
    return endBytes > reader.sizeBytes ? undefined : inspectVolume(reader, volume, index, areas);
  });
}

function inspectVolume(
  reader: MetadataReader,
  volume: VolumeIdentity,
  index: number,
  areas: VolumeAreas,
): VolumeReport {
  const ring = reader.read(areas.ringOffsetBytes, areas.ringBlocks * format.metadataBlockBytes);
  const finding = findNewestLogBlock(ring, index, format.extentCountOf(volume.sizeBytes));
  const slotBytes = areas.bitmapPages * format.metadataBlockBytes;
  const slotZero = reader.read(areas.bitmapOffsetBytes, slotBytes);
  const slotOne = reader.read(areas.bitmapOffsetBytes + slotBytes, slotBytes);
  const bitmap = new DirtyBitmap(volume.sizeBytes);
  let pagesWithOneSlot = 0;
  let pagesLost = 0;
  for (let page = 0; page < areas.bitmapPages; page += 1) {
    const start = page * format.metadataBlockBytes;
    const end = start + format.metadataBlockBytes;
    const slots = [slotZero.subarray(start, end), slotOne.subarray(start, end)] as const;
    const { page: chosen, problems } = choosePageSlot(slots, index, page);
    if (chosen === undefined) {
      pagesLost += 1;
      bitmap.setPage(page);
      continue;
    }
    bitmap.loadPage(page, chosen.bits);
    if (problems.some((problem) => problem !== undefined)) pagesWithOneSlot += 1;
  }
  if (finding.newest === undefined) bitmap.setAll();
  return {
    name: volume.name,
    sizeBytes: volume.sizeBytes,
    areas,
    log: {
      validBlocks: finding.validBlocks,
      problems: Object.fromEntries(finding.problems),
      newestSequence: finding.newest?.sequence,
      hotExtents: finding.newest?.hot ?? [],
    },
    bitmap: {
      pages: areas.bitmapPages,
      pagesWithOneSlot,
      pagesLost,
      dirtyBlocks: bitmap.count,
      dirtyBytes: Math.min(bitmap.count * blockSizeBytes, volume.sizeBytes),
    },
  };
}

/** The report for a terminal, one fact a line. */
export function renderMetadataReport(report: MetadataReport): string {
  const versions = report.copies.flatMap(({ state }) => (state === undefined ? [] : formatVersionOf(state)));
  const version = versions.length === 0 ? 'unknown' : Math.max(...versions);
  const lines = [`metadata file of ${report.sizeBytes} bytes, format version ${version}`];
  lines.push(`verdict: ${report.verdict.action} (${report.verdict.rule}): ${report.verdict.because}`);
  for (const copy of report.copies) {
    const sequence = copy.sequence === undefined ? '' : `, sequence ${copy.sequence}`;
    lines.push(`superblock copy ${copy.copy}: ${copy.verdict}${sequence}`);
    if (copy.state !== undefined) lines.push(...renderState(copy.state));
  }
  report.volumes.forEach((volume, index) => {
    if (volume === undefined) lines.push(`volume ${index}: its areas lie beyond the end of the file`);
    else lines.push(...renderVolume(volume, index));
  });
  return `${lines.join('\n')}\n`;
}

function renderState(state: PersistentState): string[] {
  const { pending } = state;
  const newest = state.path.at(-1);
  return [
    `  cluster ${state.clusterId}, module ${state.moduleId}, node ${state.self}, peer ${state.peer}`,
    `  data ${state.data}, role ${state.role}, peer's data ${state.peerData}`,
    ...(state.diskDoubt === 'none' ? [] : [`  disk in doubt: ${state.diskDoubt}`]),
    `  generation ${state.generation}, holder ${state.holder ?? 'none'}, base ${state.base ?? 'none'}`,
    `  path of ${state.path.length} operations${newest === undefined ? '' : `, newest ${newest}`}`,
    pending === undefined
      ? '  no pending operation'
      : `  pending: ${renderRecord(pending.expected)} -> ${renderRecord(pending.next)}`,
    `  store of the arbiter's record: ${state.arbiterStore ?? 'not known'}`,
    ...(state.wish === undefined ? [] : [`  asked for by the operator: ${state.wish}`]),
    ...(state.inSyncAt === undefined ? [] : [`  held every write until ${state.inSyncAt}`]),
    ...(state.aloneSince === undefined ? [] : [`  allowed to write alone since ${state.aloneSince}`]),
    ...(state.splitSince === undefined ? [] : [`  split brain seen at ${state.splitSince}`]),
    `  boot ${state.bootId}`,
  ];
}

function renderRecord(record: ArbiterRecord | undefined): string {
  return record === undefined ? 'no record' : `${record.generation}/${record.holder} (${record.operationId})`;
}

function renderVolume(volume: VolumeReport, index: number): string[] {
  const { log, bitmap } = volume;
  const problems = Object.entries(log.problems).map(([problem, count]) => `, ${count} ${problem}`);
  const hotMiB = (log.hotExtents.length * extentSizeBytes) / 2 ** 20;
  const newest =
    log.newestSequence === undefined ? 'none is valid: all dirty' : `newest ${log.newestSequence}`;
  return [
    `volume ${index}: ${volume.name}, ${volume.sizeBytes} bytes`,
    `  activity log at ${volume.areas.ringOffsetBytes}: ${volume.areas.ringBlocks} blocks, ` +
      `${log.validBlocks} valid${problems.join('')}; ${newest}`,
    `  hot: ${log.hotExtents.length} extents (${hotMiB} MiB) ${log.hotExtents.join(' ')}`.trimEnd(),
    `  bitmap at ${volume.areas.bitmapOffsetBytes}: ${bitmap.pages} pages, ` +
      `${bitmap.pagesWithOneSlot} with one usable slot, ${bitmap.pagesLost} lost`,
    `  dirty: ${bitmap.dirtyBlocks} blocks (${bitmap.dirtyBytes} bytes)`,
  ];
}
