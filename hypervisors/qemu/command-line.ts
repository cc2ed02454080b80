/**
 * The arguments of a QEMU process, from configuration: pure text work. QEMU 7.2 or newer, x86.
 *
 * - Starts halted (`-S`), with two monitors, because a monitor serves one client: module and supervisor each have one.
 * - A disk is an NBD node that waits for its server to come back, and the image format on top of it. `werror=stop` and
 *   `rerror=stop`: the guest never sees an I/O error; the VM pauses, and `cont` issues the failed requests again.
 * - `cache.direct`: nothing lies in a cache of this host; the guest's flushes reach the volume.
 */
import { isAbsolute, join } from 'node:path';
import { WorldError } from '../../src/base/errors.ts';
import type { VolumeAttachment } from '../port.ts';
import type { Accelerator, QemuDisk, QemuVmConfig } from './config.ts';

/** How long requests wait for a disk server that went away before the VM is paused instead, seconds. */
export const reconnectDelaySeconds = 30;
/** Cache of translated code under TCG, MiB; QEMU's own default takes up to 1 GiB of each VM. */
const translationCacheMiB = 64;

export interface QemuCommandLine {
  readonly config: QemuVmConfig;
  readonly accelerator: Accelerator;
  readonly mark: string;
  readonly moduleMonitor: string;
  readonly supervisorMonitor: string;
  readonly agentSocket: string;
  readonly runtimeDirectory: string;
  readonly attachments: readonly VolumeAttachment[];
}

/** Commas separate options; a doubled one is a comma. */
function escaped(text: string): string {
  return text.replaceAll(',', ',,');
}

export function cpuModelOf(config: QemuVmConfig, accelerator: Accelerator): string {
  return config.cpuModel ?? (accelerator === 'kvm' ? 'host' : 'qemu64');
}

export function acceleratorArguments(accelerator: Accelerator): string {
  return accelerator === 'kvm' ? 'kvm' : `tcg,tb-size=${translationCacheMiB}`;
}

function monitorArguments(name: string, path: string): string[] {
  const socket = `socket,id=${name},path=${escaped(path)},server=on,wait=off`;
  return ['-chardev', socket, '-mon', `chardev=${name},mode=control`];
}

function attachmentOf(volume: string, attachments: readonly VolumeAttachment[]): VolumeAttachment {
  const found = attachments.find((attachment) => attachment.volume === volume);
  if (found !== undefined) return found;
  throw new WorldError('config-invalid', {
    wanted: `each disk of the VM to name a volume of the module`,
    found: `the disk "${volume}"; volumes are ${attachments.map((one) => one.volume).join(', ')}`,
    next: 'Correct the list of disks; nothing was changed.',
  });
}

function diskArguments(disk: QemuDisk, index: number, attachments: readonly VolumeAttachment[]): string[] {
  const { socketPath, exportName } = attachmentOf(disk.volume, attachments);
  const common = { cache: { direct: true }, discard: 'unmap' };
  const transport = {
    driver: 'nbd',
    'node-name': `nbd${index}`,
    server: { type: 'unix', path: socketPath },
    export: exportName,
    'reconnect-delay': reconnectDelaySeconds,
    ...common,
  };
  const image = { driver: disk.format, 'node-name': `disk${index}`, file: `nbd${index}`, ...common };
  const policy = `drive=disk${index},werror=stop,rerror=stop`;
  const device = {
    virtio: `virtio-blk-pci,${policy}`,
    scsi: `scsi-hd,bus=scsi0.0,scsi-id=${index},${policy}`,
    sata: `ide-hd,bus=ide.${index},${policy}`,
  }[disk.bus];
  return ['-blockdev', JSON.stringify(transport), '-blockdev', JSON.stringify(image), '-device', device];
}

function serialArguments(config: QemuVmConfig, runtimeDirectory: string): string[] {
  if (config.serial === undefined) return [];
  const given = 'file' in config.serial ? config.serial.file : config.serial.socket;
  const path = escaped(isAbsolute(given) ? given : join(runtimeDirectory, given));
  const backend =
    'file' in config.serial
      ? `file,id=serial0,path=${path},append=on`
      : `socket,id=serial0,path=${path},server=on,wait=off`;
  return ['-chardev', backend, '-device', 'isa-serial,chardev=serial0'];
}

/** The name is the one that the agent in the guest looks for. */
function agentArguments(path: string): string[] {
  return [
    '-chardev',
    `socket,id=agent,path=${escaped(path)},server=on,wait=off`,
    '-device',
    'virtio-serial-pci,id=agent-bus',
    '-device',
    'virtserialport,bus=agent-bus.0,chardev=agent,name=org.qemu.guest_agent.0',
  ];
}

function bootArguments({ kernel, initrd, append }: QemuVmConfig): string[] {
  const option = (name: string, value: string | undefined) => (value === undefined ? [] : [name, value]);
  return [...option('-kernel', kernel), ...option('-initrd', initrd), ...option('-append', append)];
}

/** Errors: `config-invalid` when a disk names no volume of the module. */
export function qemuArguments(line: QemuCommandLine): string[] {
  const { config, accelerator, attachments } = line;
  const cpu = cpuModelOf(config, accelerator);
  return [
    ['-name', `guest=${line.mark}`, '-nodefaults', '-no-user-config', '-display', 'none', '-S'],
    ['-machine', 'q35', '-accel', acceleratorArguments(accelerator), '-cpu', cpu],
    ['-smp', String(config.cpus), '-m', String(config.memory / 1024 ** 2), '-rtc', 'base=utc'],
    // A crash of the guest is reported; what follows is the guest's own policy (reboot, halt).
    ['-device', 'pvpanic', '-action', 'panic=none'],
    monitorArguments('monitor-module', line.moduleMonitor),
    monitorArguments('monitor-supervisor', line.supervisorMonitor),
    config.disks.some(({ bus }) => bus === 'scsi') ? ['-device', 'virtio-scsi-pci,id=scsi0'] : [],
    config.disks.flatMap((disk, index) => diskArguments(disk, index, attachments)),
    config.guestAgent ? agentArguments(line.agentSocket) : [],
    serialArguments(config, line.runtimeDirectory),
    bootArguments(config),
    config.extraArgs,
  ].flat();
}
