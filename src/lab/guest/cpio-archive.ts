/**
 * Writer of cpio archives in the "newc" format, which the Linux kernel unpacks as its initial file system
 * (Documentation/driver-api/early-userspace/buffer-format.rst). Owner is root and times are 0, so equal content gives
 * equal bytes. Regular files, directories, symbolic links and character devices.
 */

const magic = '070701';
const alignmentBytes = 4;
const trailer = 'TRAILER!!!';

export interface ArchiveEntry {
  /** Without a leading slash. Parents come before children. */
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'link' | 'character-device';
  /** Permission bits. */
  readonly mode: number;
  /** Content of a file, target of a link. */
  readonly content?: Uint8Array;
  /** Major and minor number of a device. */
  readonly device?: readonly [number, number];
}

/** File type bits of `st_mode`, inode(7). */
const typeBits = { file: 0o100000, directory: 0o040000, link: 0o120000, 'character-device': 0o020000 };

function padded(bytes: Uint8Array): Uint8Array[] {
  const excess = bytes.length % alignmentBytes;
  return excess === 0 ? [bytes] : [bytes, new Uint8Array(alignmentBytes - excess)];
}

function encodeEntry(entry: ArchiveEntry, inode: number): Uint8Array[] {
  const content = entry.content ?? new Uint8Array(0);
  const name = Buffer.from(`${entry.path}\0`);
  const mode = entry.path === trailer ? 0 : typeBits[entry.kind] | entry.mode;
  const [major, minor] = entry.device ?? [0, 0];
  // inode, mode, uid, gid, links, mtime, size, device (2), device of the entry itself (2), name size, checksum
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, name.length, 0];
  const header = magic + fields.map((field) => field.toString(16).padStart(8, '0')).join('');
  return [...padded(Buffer.concat([Buffer.from(header, 'ascii'), name])), ...padded(content)];
}

export function encodeCpioArchive(entries: readonly ArchiveEntry[]): Buffer {
  const all: ArchiveEntry[] = [...entries, { path: trailer, kind: 'file', mode: 0 }];
  return Buffer.concat(all.flatMap((entry, index) => encodeEntry(entry, index + 1)));
}
