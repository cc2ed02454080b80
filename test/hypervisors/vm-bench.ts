/**
 * The surroundings of a real VM process in a test: a directory of its own, a disk served by nbdkit, the serial file. The
 * disk server can be killed, hung and started again. Needs nbdkit.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import type { VolumeAttachment } from '../../hypervisors/port.ts';
import { type GuestReport, lastAcknowledged, parseGuestReports } from '../../hypervisors/guest-report.ts';
import { vmFiles } from '../../hypervisors/qemu/qemu-hypervisor.ts';
import { findVmProcess } from '../../hypervisors/vm-process.ts';
import { killVerified, readProcessIdentity, waitUntilGone } from '../../src/platform/process-identity.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';

/** How long a killed process may take to be gone, ms. */
const goneDeadlineMs = 5000;

export const benchModule = 'vm1';
export const benchVolume = 'disk0';

export class VmBench {
  readonly directory: TempDirectory = makeTempDirectory();
  readonly diskFile = this.directory.file('disk');
  readonly nbdSocket = this.directory.file('disk0.nbd.sock');
  /** Log of nbdkit: every request with its end. */
  readonly nbdLog = this.directory.file('nbd.log');
  readonly serialFile = this.directory.file('serial.log');
  readonly place = { module: benchModule, runtimeDirectory: this.directory.path };
  readonly files = vmFiles(this.place);
  readonly attachments: readonly VolumeAttachment[] = [
    { volume: benchVolume, socketPath: this.nbdSocket, exportName: benchVolume },
  ];
  #server: ChildProcess | undefined;

  async serveDisk(): Promise<void> {
    rmSync(this.nbdSocket, { force: true });
    const disk = [
      'file',
      `file=${this.diskFile}`,
      '--filter=log',
      `logfile=${this.nbdLog}`,
      'logappend=true',
    ];
    this.#server = spawn('nbdkit', ['-f', '-U', this.nbdSocket, ...disk], { stdio: 'ignore' });
    await until('nbdkit serves the disk', () => existsSync(this.nbdSocket));
  }

  async killDiskServer(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const ended = once(server, 'exit');
    server.kill('SIGKILL');
    await ended;
  }

  signalDiskServer(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#server?.kill(signal);
  }

  reports(): GuestReport[] {
    return existsSync(this.serialFile) ? parseGuestReports(readFileSync(this.serialFile, 'utf8')) : [];
  }

  acknowledged(): number {
    return lastAcknowledged(this.reports());
  }

  ioErrorCount(): number {
    return this.reports().filter(({ type }) => type === 'io-error').length;
  }

  /** Reports of the newest boot. */
  lastBoot(): GuestReport[] {
    const reports = this.reports();
    return reports.slice(reports.findLastIndex(({ type }) => type === 'boot'));
  }

  /** Waits for the report of one type in boot number `boot`, from 1. */
  report<Type extends GuestReport['type']>(
    type: Type,
    boot: number,
    deadlineMs: number,
  ): Promise<GuestReport & { type: Type }> {
    return until(
      `the report ${type} of boot ${boot}`,
      () => {
        if (this.reports().filter((report) => report.type === 'boot').length < boot) return undefined;
        return this.lastBoot().find((report) => report.type === type) as
          | (GuestReport & { type: Type })
          | undefined;
      },
      deadlineMs,
    );
  }

  signalVm(signal: NodeJS.Signals): void {
    const process = findVmProcess(this.files);
    if (process !== undefined) killVerified(process, signal);
  }

  async killVm(): Promise<void> {
    const process = findVmProcess(this.files);
    if (process === undefined) return;
    const identity = readProcessIdentity(process.pid) ?? process;
    killVerified(identity, 'SIGKILL');
    if (!(await waitUntilGone(identity, goneDeadlineMs, systemClock)))
      throw new Error('the VM cannot be killed');
  }

  async dispose(): Promise<void> {
    await this.killVm();
    await this.killDiskServer();
    this.directory.remove();
  }
}
