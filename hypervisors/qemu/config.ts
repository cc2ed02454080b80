/** The `vm` part of a module's configuration for the kind `qemu`. Reads nothing and starts nothing. */
import { z } from 'zod';
import { parseSize } from '../../src/config/size.ts';

const memoryMaxBytes = 4 * 1024 ** 4;
const memoryMinBytes = 1024 ** 2;
const cpusMax = 256;
export const qemuDisksMax = 16;

const memoryWanted = 'a size of memory in whole MiB (for example 512MiB or 4GiB)';

export const memorySchema = z.string(memoryWanted).transform((text, context): number => {
  const bytes = parseSize(text);
  if (bytes !== undefined && bytes >= memoryMinBytes && bytes <= memoryMaxBytes && bytes % 1024 ** 2 === 0) {
    return bytes;
  }
  context.issues.push({ code: 'custom', message: memoryWanted, input: text });
  return z.NEVER;
});

export const cpusSchema = z.number().int().min(1).max(cpusMax).default(1);

const absolutePath = z.string().startsWith('/', 'an absolute path');

const disk = z.strictObject({
  volume: z.string().min(1, 'the name of a volume'),
  format: z.enum(['raw', 'qcow2']).default('raw'),
  bus: z.enum(['virtio', 'scsi', 'sata']).default('virtio'),
});

const serial = z.union(
  [z.strictObject({ file: z.string().min(1) }), z.strictObject({ socket: z.string().min(1) })],
  'a mapping with "file" or "socket"',
);

export const qemuVmSchema = z.strictObject({
  kind: z.literal('qemu'),
  /** Program, looked up in `PATH` unless it is a path. */
  binary: z.string().min(1).default('qemu-system-x86_64'),
  memory: memorySchema,
  cpus: cpusSchema,
  /** `auto`: KVM when a probe has shown that it runs code, else TCG, which is slow but works everywhere. */
  accelerator: z.enum(['auto', 'kvm', 'tcg']).default('auto'),
  /** `-cpu`; default `host` with KVM, `qemu64` with TCG. */
  cpuModel: z.string().min(1).optional(),
  kernel: absolutePath.optional(),
  initrd: absolutePath.optional(),
  append: z.string().optional(),
  disks: z
    .array(disk)
    .max(qemuDisksMax)
    .refine((disks) => new Set(disks.map(({ volume }) => volume)).size === disks.length, 'each volume once'),
  /** A relative path counts from the run-time directory. */
  serial: serial.optional(),
  /** A channel to the QEMU guest agent, which must be installed in the guest. */
  guestAgent: z
    .enum(['on', 'off'])
    .default('off')
    .transform((word) => word === 'on'),
  /** Appended as they are: network cards, firmware, displays. */
  extraArgs: z.array(z.string()).default([]),
});

export type QemuVmConfig = z.infer<typeof qemuVmSchema>;
export type QemuDisk = QemuVmConfig['disks'][number];
export type Accelerator = 'kvm' | 'tcg';
