/**
 * Disk images for the lab guest, made without root and without mounting: ext4 on a sparse file, converted to qcow2. The
 * image file is as large as the image can ever grow, so that it can be exported as a volume of fixed size.
 */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WorldError } from '../../base/errors.ts';
import { runTool } from '../../../hypervisors/run-tool.ts';

const toolTimeoutMs = 30_000;
/** Room for what a qcow2 image may hold beside data: bitmaps, snapshot tables. */
const marginBytes = 4 * 1024 ** 2;
/** Sizes of volumes are multiples of this, bytes. */
const volumeAlignmentBytes = 64 * 1024;

async function run(program: string, ...programArguments: string[]): Promise<string> {
  const { status, output, problem } = await runTool(program, programArguments, toolTimeoutMs);
  if (status === 0) return output.toString('utf8');
  throw new WorldError('hypervisor-unavailable', {
    wanted: `to make a disk for the guest with ${program}`,
    found: problem,
    next: `Check that ${program} is installed (Debian: qemu-utils, e2fsprogs) and that there is space.`,
  });
}

/** Bytes of a volume that can hold a qcow2 image of a disk of `diskBytes`, however full it gets. */
export async function qcow2VolumeBytes(diskBytes: number): Promise<number> {
  const text = await run('qemu-img', 'measure', '-O', 'qcow2', '--size', String(diskBytes), '--output=json');
  const full: unknown = Reflect.get(Object(JSON.parse(text)), 'fully-allocated');
  const bytes = (typeof full === 'number' ? full : diskBytes) + marginBytes;
  return Math.ceil(bytes / volumeAlignmentBytes) * volumeAlignmentBytes;
}

/**
 * Makes `path`: a qcow2 image with an empty ext4 of `diskBytes` in a sparse file. Returns the size of the file, bytes.
 * Errors: `hypervisor-unavailable` when a tool is missing or fails.
 */
export async function createGuestDisk(path: string, diskBytes: number): Promise<number> {
  const fileBytes = await qcow2VolumeBytes(diskBytes);
  const directory = mkdtempSync(join(dirname(path), '.guest-disk-'));
  try {
    const raw = join(directory, 'disk.raw');
    writeFileSync(raw, '');
    truncateSync(raw, diskBytes);
    await run('mkfs.ext4', '-q', '-F', raw);
    await run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, path);
    truncateSync(path, fileBytes);
    return fileBytes;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
