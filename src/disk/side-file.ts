/**
 * The format of a side file: the blocks of a copy that was given up in a split brain, one file per volume.
 *
 *   offset 0             head, one block of 4 KiB: magic, version, where the description is, and its checksum
 *   offset 4096          the volume: byte N of the volume at 4096 + N, holes where nothing is kept
 *   offset 4096 + size   the description, JSON in UTF-8: of which volume, when, and each range with its SHA-256
 *
 * The head is written last, and the file gets its name after that: what has the name is complete. Data first, because the description
 * has their checksums; the volume at a fixed offset, because then `losetup -o 4096` or `dd` make it a disk again.
 */
import { z } from 'zod';
import { crc32c } from '../base/crc32c.ts';
import { hexIdPattern } from '../base/identity.ts';
import { layout, getU64, putU64, viewOf } from './record-layout.ts';

/** Byte 0 of the volume is here; the head is everything before. */
export const sideFileDataOffsetBytes = 4096;
const sideFileVersion = 1;
/** `VPSIDEFL` as bytes. */
const sideFileMagic = [0x56, 0x50, 0x53, 0x49, 0x44, 0x45, 0x46, 0x4c] as const;
/** Longest description that is read, bytes. */
const sideFileDescriptionBytesMax = 512 * 1024 * 1024;

const at = layout('side-file head', sideFileDataOffsetBytes, {
  magic: [0, 8],
  version: [8, 4],
  /** CRC-32C of the description. */
  descriptionChecksum: [12, 4],
  descriptionOffsetBytes: [16, 8],
  descriptionBytes: [24, 8],
  reserved: [32, 4064],
});

const description = z.strictObject({
  clusterId: z.string().regex(hexIdPattern),
  moduleId: z.string().regex(hexIdPattern),
  /** Node whose copy was given up, and the one whose copy was kept. */
  node: z.string(),
  kept: z.string(),
  volume: z.string(),
  sizeBytes: z.number().int().min(1),
  /** Times of day: when this copy went on alone, when the split was seen, when this file was made. */
  since: z.string().optional(),
  seenAt: z.string().optional(),
  madeAt: z.string(),
  ranges: z.array(
    z.strictObject({
      offsetBytes: z.number().int().min(0),
      lengthBytes: z.number().int().min(1),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
    }),
  ),
});
export type SideFileDescription = z.infer<typeof description>;

export function encodeDescription(value: SideFileDescription): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** The head of a file with this description behind a volume of its size. */
export function encodeHead(sizeBytes: number, described: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(sideFileDataOffsetBytes);
  const view = viewOf(bytes);
  bytes.set(sideFileMagic, at.magic[0]);
  view.setUint32(at.version[0], sideFileVersion, true);
  view.setUint32(at.descriptionChecksum[0], crc32c(described), true);
  putU64(view, at.descriptionOffsetBytes[0], sideFileDataOffsetBytes + sizeBytes);
  putU64(view, at.descriptionBytes[0], described.length);
  return bytes;
}

interface SideFileHead {
  readonly descriptionOffsetBytes: number;
  readonly descriptionBytes: number;
  readonly descriptionChecksum: number;
}

export function isSideFile(head: Uint8Array): boolean {
  return head.length >= sideFileMagic.length && sideFileMagic.every((byte, index) => head[index] === byte);
}

/** A string says what is wrong with it. */
export function decodeHead(bytes: Uint8Array): SideFileHead | string {
  if (bytes.length < sideFileDataOffsetBytes || !isSideFile(bytes)) return 'no side file';
  const view = viewOf(bytes);
  const version = view.getUint32(at.version[0], true);
  if (version !== sideFileVersion)
    return `side-file version ${version}; this program knows ${sideFileVersion}`;
  const descriptionOffsetBytes = getU64(view, at.descriptionOffsetBytes[0]);
  const descriptionBytes = getU64(view, at.descriptionBytes[0]);
  if (descriptionOffsetBytes === undefined || descriptionBytes === undefined) return 'a damaged head';
  if (descriptionBytes > sideFileDescriptionBytesMax) return 'a damaged head: its description is too long';
  const descriptionChecksum = view.getUint32(at.descriptionChecksum[0], true);
  return { descriptionOffsetBytes, descriptionBytes, descriptionChecksum };
}

/** A string says what is wrong with it. */
export function decodeDescription(head: SideFileHead, bytes: Uint8Array): SideFileDescription | string {
  if (bytes.length !== head.descriptionBytes || crc32c(bytes) !== head.descriptionChecksum)
    return 'a description that is damaged or cut short';
  try {
    const parsed = description.safeParse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
    return parsed.success
      ? parsed.data
      : `a description with a wrong shape: ${parsed.error.issues[0]?.message ?? ''}`;
  } catch {
    return 'a description that is not JSON';
  }
}
