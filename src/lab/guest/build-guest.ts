/**
 * The lab guest: a Linux that boots from kernel and initial file system alone, keeps a journal of checksummed records on
 * its disk and says on its serial console what it has acknowledged. Made of what the distribution ships (kernel, static
 * busybox, e2fsprogs); needs neither root nor a compiler.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { WorldError } from '../../base/errors.ts';
import { type ArchiveEntry, encodeCpioArchive } from './cpio-archive.ts';
import { createGuestDisk } from './guest-disk-image.ts';
import { initScript } from './init-script.ts';
import { findGuestKernel, type KernelModule, readGuestModules } from './kernel-modules.ts';

/** Size of the disk in `diskTemplate`, bytes. */
export const templateDiskBytes = 64 * 1024 ** 2;
/** Memory that the guest needs, as configurations write it. */
export const guestMemory = '128MiB';
/** Kernel arguments of the guest. `JOURNAL_PAUSE=SECONDS` may be added: the time between two records. */
export const guestAppend = 'console=ttyS0 quiet mitigations=off tsc=reliable panic=1';

const busyboxPaths = ['/bin/busybox', '/usr/bin/busybox'];
const hashDigits = 16;
const compressionLevel = 6;

export interface Guest {
  readonly kernel: string;
  readonly initrd: string;
  /** qcow2 image with an empty ext4; copy it (sparse) to get the disk of a guest. */
  readonly diskTemplate: string;
}

/** `PT_INTERP` program headers name a loader, which the guest does not have (elf(5)). */
function isStatic(program: Buffer): boolean {
  const headerOffset = Number(program.readBigUInt64LE(32));
  const headerBytes = program.readUInt16LE(54);
  const headerCount = program.readUInt16LE(56);
  for (let index = 0; index < headerCount; index += 1) {
    if (program.readUInt32LE(headerOffset + index * headerBytes) === 3) return false;
  }
  return true;
}

function readBusybox(): Buffer {
  const path = busyboxPaths.find((candidate) => existsSync(candidate));
  const program = path === undefined ? undefined : readFileSync(path);
  if (program !== undefined && isStatic(program)) return program;
  throw new WorldError('file-missing', {
    wanted: 'a statically linked busybox, for the guest',
    found: path === undefined ? 'none' : `${path}, which needs shared libraries`,
    next: 'Install it (Debian: busybox-static).',
  });
}

function guestFiles(busybox: Buffer, modules: readonly KernelModule[]): ArchiveEntry[] {
  const directories = ['bin', 'modules', 'proc', 'sys', 'dev', 'data', 'etc'];
  const script = initScript(modules.map(({ name }) => name));
  return [
    ...directories.map((path): ArchiveEntry => ({ path, kind: 'directory', mode: 0o755 })),
    { path: 'dev/console', kind: 'character-device', mode: 0o600, device: [5, 1] },
    { path: 'bin/busybox', kind: 'file', mode: 0o755, content: busybox },
    { path: 'bin/sh', kind: 'link', mode: 0o777, content: Buffer.from('busybox') },
    ...modules.map(({ name, content }): ArchiveEntry => {
      return { path: `modules/${name}`, kind: 'file', mode: 0o644, content };
    }),
    { path: 'init', kind: 'file', mode: 0o755, content: Buffer.from(script) },
  ];
}

/**
 * Makes the guest below `directory`, or finds it there: what was made before from the same parts is used again. Several
 * processes may do so at once. Errors: `file-missing`, `hypervisor-unavailable`.
 */
export async function buildGuest({ directory }: { readonly directory: string }): Promise<Guest> {
  const kernel = findGuestKernel();
  const archive = encodeCpioArchive(guestFiles(readBusybox(), await readGuestModules(kernel)));
  const digest = createHash('sha256')
    .update(archive)
    .update(kernel.version)
    .digest('hex')
    .slice(0, hashDigits);
  const home = join(directory, `guest-${digest}`);
  const guest: Guest = {
    kernel: kernel.image,
    initrd: join(home, 'initrd.gz'),
    diskTemplate: join(home, 'disk.qcow2'),
  };
  if (existsSync(home)) return guest;
  mkdirSync(directory, { recursive: true });
  const making = mkdtempSync(join(directory, '.guest-'));
  try {
    writeFileSync(join(making, 'initrd.gz'), gzipSync(archive, { level: compressionLevel }));
    await createGuestDisk(join(making, 'disk.qcow2'), templateDiskBytes);
    renameSync(making, home);
  } catch (error) {
    rmSync(making, { recursive: true, force: true });
    if (!existsSync(home)) throw error;
  }
  return guest;
}
