/**
 * Which accelerator works here. `/dev/kvm` and even a QEMU that opens it prove little (nested hosts offer a KVM that then
 * fails or hangs), so the probe lets a virtual CPU of the wanted model run four instructions that end QEMU with a certain
 * exit status. It takes about 0.1 s. What it does not prove: that every later mode of the CPU works as well.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorldError } from '../../src/base/errors.ts';
import type { Wait } from '../port.ts';
import { runTool } from '../run-tool.ts';
import { acceleratorArguments, cpuModelOf } from './command-line.ts';
import type { Accelerator, QemuVmConfig } from './config.ts';

const probeTimeoutMs = 3000;
const firmwareBytes = 64 * 1024;
/** A CPU starts 16 bytes below 4 GiB, which is the end of the firmware. */
const resetVectorOffset = firmwareBytes - 16;
/** `mov dx, 0xf4; mov al, 0x10; out dx, al; hlt`. */
const probeCode = [0xba, 0xf4, 0x00, 0xb0, 0x10, 0xee, 0xf4];
/** The device `isa-debug-exit` ends QEMU with `(value << 1) | 1`. */
const probeExitStatus = 0x21;

export interface ProbeResult {
  readonly works: boolean;
  /** Why not. */
  readonly because: string;
}

/** Errors: none; a QEMU that is not there does not work. */
export async function probeAccelerator(
  config: QemuVmConfig,
  accelerator: Accelerator,
  wait: Wait,
): Promise<ProbeResult> {
  const directory = mkdtempSync(join(tmpdir(), 'vmpair-probe-'));
  try {
    const firmware = new Uint8Array(firmwareBytes);
    firmware.set(probeCode, resetVectorOffset);
    const file = join(directory, 'probe.rom');
    writeFileSync(file, firmware);
    const { status, problem } = await runTool(
      config.binary,
      [
        ['-nodefaults', '-no-user-config', '-display', 'none', '-m', '16', '-machine', 'q35'],
        ['-accel', acceleratorArguments(accelerator), '-cpu', cpuModelOf(config, accelerator)],
        ['-bios', file, '-device', 'isa-debug-exit,iobase=0xf4,iosize=4'],
      ].flat(),
      Math.min(probeTimeoutMs, wait.timeoutMs),
    );
    if (status === probeExitStatus) return { works: true, because: `${accelerator} runs code` };
    return { works: false, because: problem === '' ? 'the probe ended early' : problem };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The accelerator to start with. Errors: `hypervisor-unavailable` when the configured one does not work. */
export async function chooseAccelerator(config: QemuVmConfig, wait: Wait): Promise<Accelerator> {
  if (config.accelerator === 'tcg') return 'tcg';
  const { works, because } = await probeAccelerator(config, 'kvm', wait);
  if (works) return 'kvm';
  if (config.accelerator === 'auto') return 'tcg';
  throw new WorldError('hypervisor-unavailable', {
    wanted: 'KVM, as configured',
    found: because,
    next: 'Enable virtualisation on this host, or set "accelerator: auto".',
  });
}
