/**
 * The demo's story: mirror, power-off of the primary under write load, failover, return, incremental resync, swap back,
 * comparison byte for byte. It asks the running programs and the guest; every figure is measured from outside.
 */
import { closeSync, copyFileSync, constants, openSync, readSync } from 'node:fs';
import { vmFiles } from '../../../hypervisors/qemu/qemu-hypervisor.ts';
import { findVmProcess } from '../../../hypervisors/vm-process.ts';
import { WorldError } from '../../base/errors.ts';
import { sizeText } from '../../base/size-text.ts';
import type { ModuleStatus } from '../../base/status.ts';
import { readProcessIdentity } from '../../platform/process-identity.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { waitUntil } from '../../platform/wait-until.ts';
import { labModule, type LabNode } from '../lab-layout.ts';
import type { LabCluster } from '../pair.ts';
import { type SeenReport, SerialWatch } from './serial-watch.ts';

export interface DemoFigures {
  readonly guest: 'qemu' | 'simulated';
  /** Records that the guest reported as acknowledged, over all its boots. */
  readonly acknowledged: number;
  /** Of these, records that a later boot of the guest did not find. */
  readonly lost: number;
  readonly acknowledgedBeforeKill: number;
  /** From the power-off of the primary to the VM process on the other node, ms. */
  readonly vmStartMs: number;
  /** To the guest's first acknowledged record there, its boot included, ms. */
  readonly firstRecordMs: number;
  /** Longest time between two acknowledged records around the power-off, ms. */
  readonly writeStallMs: number;
  readonly resyncExaminedBytes: number;
  readonly resyncSentBytes: number;
  readonly diskBytes: number;
  readonly swapMs: number;
  /** Both image files hold the same bytes at the end. */
  readonly identical: boolean;
}

export interface DemoOptions {
  readonly lab: LabCluster;
  readonly guest: 'qemu' | 'simulated';
  /** Serial file of the guest on each node. */
  readonly serial: Readonly<Record<LabNode, string>>;
  /** Image that node A begins with; none: the guest formats the empty volume itself. */
  readonly template: string | undefined;
  readonly diskBytes: number;
  tell(line: string): void;
  progress(line: string): void;
}

/** Records that the guest writes before and after each event. */
const recordsPerChapter = 200;
const chapterDeadlineMs = 90_000;
const pollMs = 10;

export class DemoStory {
  readonly #options: DemoOptions;
  readonly #lab: LabCluster;
  readonly #watch: Record<LabNode, SerialWatch>;

  constructor(options: DemoOptions) {
    this.#options = options;
    this.#lab = options.lab;
    this.#watch = {
      A: new SerialWatch(options.serial.A, systemClock),
      B: new SerialWatch(options.serial.B, systemClock),
    };
  }

  async run(): Promise<DemoFigures> {
    const { tell, template } = this.#options;
    const lab = this.#lab;
    try {
      if (template !== undefined) copyFileSync(template, lab.nodes.A.diskFile, constants.COPYFILE_FICLONE);
      tell('Starting a witness and two nodes, and mirroring the disk of node A to node B ...');
      await lab.start();
      await this.#records('A', recordsPerChapter, 0);
      tell(
        `The VM runs on A; every record it acknowledges is on both nodes (${this.#watch.A.lastAcknowledged} so far).`,
      );
      const failover = await this.#failover();
      const resync = await this.#comeBack();
      const swapMs = await this.#swapBack();
      const identical = await this.#compare();
      return {
        ...failover,
        ...this.#journal(),
        ...resync,
        swapMs,
        identical,
        guest: this.#options.guest,
        diskBytes: this.#options.diskBytes,
      };
    } finally {
      this.#watch.A.stop();
      this.#watch.B.stop();
    }
  }

  async #failover() {
    const { tell, progress } = this.#options;
    tell('Powering node A off in the middle of writing: every process of it is killed at once.');
    const offMs = systemClock.nowMs();
    await this.#lab.powerOff('A');
    const before = this.#watch.A.reports.findLast((report) => report.type === 'acknowledged') as SeenReport;
    const acknowledgedBeforeKill = this.#watch.A.lastAcknowledged;
    progress('B waits, asks the witness, and starts the VM ...');
    let vmStartMs = 0;
    await this.#until('the VM to run on B', () => {
      if (vmStartMs === 0 && this.#vmPid('B') !== undefined) vmStartMs = systemClock.nowMs() - offMs;
      return this.#watch.B.reports.some(
        (report) => report.type === 'verified' || report.type === 'verify-failed',
      );
    });
    const first = await this.#until('the first record on B', () =>
      this.#watch.B.reports.find((report) => report.type === 'acknowledged'),
    );
    tell(
      `The VM process started on B after ${seconds(vmStartMs)}; its first record came after ${seconds(first.seenMs - offMs)}.`,
    );
    await this.#records('B', recordsPerChapter, offMs);
    return {
      acknowledgedBeforeKill,
      vmStartMs: Math.round(vmStartMs),
      firstRecordMs: Math.round(first.seenMs - offMs),
      writeStallMs: Math.round(first.seenMs - before.seenMs),
    };
  }

  async #comeBack() {
    const { tell, progress } = this.#options;
    tell('Node A gets power again: its copy is outdated, so only what changed is resynchronised.');
    await this.#lab.startMachine('A');
    let shown = '';
    await this.#until('the pair in sync', async () => {
      const source = await this.#lab.moduleStatus('B');
      const resync = source?.resync;
      const text =
        resync === undefined
          ? ''
          : `${sizeText(resync.examinedBytes)} of ${sizeText(resync.totalBytes)} examined`;
      if (text !== shown && text !== '')
        progress(`Resync: ${text}, ${sizeText(resync?.sentBytes ?? 0)} sent`);
      shown = text;
      return inSync(source) && inSync(await this.#lab.moduleStatus('A'));
    });
    const last = (await this.#lab.moduleStatus('B'))?.lastResync;
    if (last === undefined) throw failed('figures of the resync', 'none in the status of node B');
    tell(
      `In sync again: ${sizeText(last.examinedBytes)} examined and ${sizeText(last.sentBytes)} sent, of ${sizeText(this.#options.diskBytes)}.`,
    );
    return { resyncExaminedBytes: last.examinedBytes, resyncSentBytes: last.sentBytes };
  }

  async #swapBack(): Promise<number> {
    const { tell } = this.#options;
    tell('Swapping the VM back to A: shut down on B, started on A.');
    const fromMs = systemClock.nowMs();
    await this.#lab.call('B', 'swap', {}, chapterDeadlineMs);
    await this.#records('A', recordsPerChapter, fromMs);
    const first = this.#watch.A.since(fromMs).find((report) => report.type === 'acknowledged') as SeenReport;
    const swapMs = Math.round(first.seenMs - fromMs);
    tell(`The VM writes on A again, ${seconds(swapMs)} after the swap was asked for.`);
    return swapMs;
  }

  /** Freezes the guest, so that nothing is in flight, and compares the image files. */
  async #compare(): Promise<boolean> {
    const { tell } = this.#options;
    const pid = this.#vmPid('A');
    if (pid === undefined || readProcessIdentity(pid) === undefined)
      throw failed('the VM process on A', 'none');
    process.kill(pid, 'SIGSTOP');
    try {
      await this.#until(
        'no write in flight',
        async () => (await this.#lab.moduleStatus('A'))?.counters['inFlight'] === 0,
      );
      tell('Comparing the two image files byte by byte, with the guest frozen for the moment ...');
      return sameContent(this.#lab.nodes.A.diskFile, this.#lab.nodes.B.diskFile);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  }

  /** What the guest acknowledged against what each later boot found in its journal. */
  #journal(): { acknowledged: number; lost: number } {
    const all = [...this.#watch.A.reports, ...this.#watch.B.reports].toSorted(
      (one, other) => one.seenMs - other.seenMs,
    );
    let acknowledged = 0;
    let lost = 0;
    for (const report of all) {
      if (report.type === 'acknowledged') acknowledged = Math.max(acknowledged, report.record);
      if (report.type === 'verified') lost = Math.max(lost, acknowledged - report.last);
      if (report.type === 'verify-failed' || report.type === 'io-error') lost = Math.max(lost, acknowledged);
    }
    return { acknowledged, lost };
  }

  /** Waits until the guest has acknowledged `count` records on a node since a time. */
  async #records(node: LabNode, count: number, sinceMs: number): Promise<void> {
    let shown = 0;
    await this.#until(`${count} records on ${node}`, () => {
      const seen = this.#watch[node].since(sinceMs).filter((report) => report.type === 'acknowledged').length;
      if (seen >= shown + 50) {
        shown = seen;
        this.#options.progress(`${seen} records acknowledged on ${node}`);
      }
      return seen >= count;
    });
  }

  /** The process that is the VM of a node, from the record that the adapter keeps. */
  #vmPid(node: LabNode): number | undefined {
    const { runtimeDir } = this.#lab.nodes[node];
    return findVmProcess(vmFiles({ module: labModule, runtimeDirectory: runtimeDir }))?.pid;
  }

  async #until<Value>(what: string, probe: () => Value | Promise<Value>): Promise<NonNullable<Value>> {
    const deadline = systemClock.nowMs() + chapterDeadlineMs;
    for (;;) {
      const value = await probe();
      if (value !== undefined && value !== null && value !== false) return value as NonNullable<Value>;
      if (systemClock.nowMs() > deadline) {
        const statuses = await Promise.all((['A', 'B'] as const).map((node) => this.#lab.moduleStatus(node)));
        const found = statuses.map((status) =>
          status === undefined
            ? 'no answer'
            : `${status.node}: ${status.state} ${status.readiness}, ${status.because}`,
        );
        throw failed(`${what} within ${chapterDeadlineMs / 1000} s`, found.join('; '));
      }
      await waitUntil(systemClock, pollMs, () => undefined);
    }
  }
}

function inSync(status: ModuleStatus | undefined): boolean {
  return status?.axes.link === 'in-sync' && status.readiness === 'ready';
}

function failed(wanted: string, found: string): WorldError {
  return new WorldError('lab-unusable', {
    wanted,
    found,
    next: 'Run the demo with --keep and read the logs in its directory.',
  });
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** Compares two files of equal size. */
function sameContent(one: string, other: string): boolean {
  const pieceBytes = 4 * 1024 * 1024;
  const files = [openSync(one, 'r'), openSync(other, 'r')] as const;
  const buffers = [Buffer.alloc(pieceBytes), Buffer.alloc(pieceBytes)] as const;
  try {
    for (;;) {
      const sizes = [
        readSync(files[0], buffers[0], 0, pieceBytes, null),
        readSync(files[1], buffers[1], 0, pieceBytes, null),
      ] as const;
      if (sizes[0] !== sizes[1]) return false;
      if (sizes[0] === 0) return true;
      if (!buffers[0].subarray(0, sizes[0]).equals(buffers[1].subarray(0, sizes[1]))) return false;
    }
  } finally {
    for (const file of files) closeSync(file);
  }
}
