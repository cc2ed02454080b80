/**
 * A real pair whose machines are in network namespaces of their own, with a VM (the simulated guest, which keeps a journal and
 * flushes every record), a load beside it, and observers outside the product: the journals of both, and when the VM executed where.
 */
import { join } from 'node:path';
import { expect } from 'chai';
import { vmFiles } from '../../hypervisors/qemu/qemu-hypervisor.ts';
import { findVmProcess } from '../../hypervisors/vm-process.ts';
import { SerialWatch } from '../../src/lab/demo/serial-watch.ts';
import { labModule, type LabMachine, type LabNode, labNodes } from '../../src/lab/lab-layout.ts';
import type { ProcessIdentity } from '../../src/platform/process-identity.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { until } from '../until.ts';
import { RealPair } from './real-pair.ts';
import { SeparateNetwork } from './separate-network.ts';
import { VmWatch } from './vm-watch.ts';

const sizeBytes = 1024 ** 3;
/** Sixteen writers: at most some 1,600 writes a second, which leaves processor time for everybody else. */
const thinkMs = 10;
/** How long the VM may take to run, or to be gone, ms. */
const vmDeadlineMs = 20_000;
const serialFile = 'serial.log';

export class SeparatePair {
  readonly network: SeparateNetwork;
  readonly pair: RealPair;
  readonly vms: VmWatch;
  readonly serial: Readonly<Record<LabNode, SerialWatch>>;
  readonly #off = new Set<LabMachine>();

  static async start(
    timerProfile: 'default' | 'fast',
    place: 'on-disk' | 'in-memory',
  ): Promise<SeparatePair> {
    const network = SeparateNetwork.make();
    try {
      const pair = await RealPair.start({
        sizeBytes,
        timerProfile,
        place,
        thinkMs,
        separation: network.separation,
        vm: { kind: 'simulated', recordsPerSecond: 20, serial: { file: serialFile } },
      });
      return new SeparatePair(network, pair);
    } catch (error) {
      network.remove();
      throw error;
    }
  }

  private constructor(network: SeparateNetwork, pair: RealPair) {
    this.network = network;
    this.pair = pair;
    this.vms = new VmWatch(pair.lab);
    const watch = (node: LabNode): SerialWatch =>
      new SerialWatch(join(pair.lab.nodes[node].runtimeDir, serialFile), systemClock);
    this.serial = { A: watch('A'), B: watch('B') };
  }

  async end(): Promise<void> {
    this.vms.stop();
    for (const node of labNodes) this.serial[node].stop();
    try {
      await this.pair.end();
    } finally {
      this.network.remove();
    }
  }

  /** Whatever the test before left: everything runs, nothing is cut or frozen, the pair is in sync and its VM runs. */
  async recover(): Promise<void> {
    for (const machine of this.#off) this.#plugIn(machine);
    this.network.heal();
    await this.pair.recover();
    await this.vmRuns(await this.pair.primary());
  }

  /** Network first, then every process at once. */
  async powerOff(machine: LabMachine): Promise<void> {
    this.network.losePower(machine);
    this.#off.add(machine);
    await this.pair.lab.powerOff(machine);
    this.network.forget(machine);
  }

  async powerOn(machine: LabMachine): Promise<void> {
    this.#plugIn(machine);
    await this.pair.lab.startMachine(machine);
  }

  vmRuns(node: LabNode): Promise<true> {
    return until(`the VM runs on ${node}`, () => this.vms.executes(node), vmDeadlineMs);
  }

  vmProcess(node: LabNode): ProcessIdentity | undefined {
    return findVmProcess(
      vmFiles({ module: labModule, runtimeDirectory: this.pair.lab.nodes[node].runtimeDir }),
    );
  }

  /**
   * Nothing that any guest was told is missing, from the time `sinceMs` the VM never executed twice for longer than `overlapMs`,
   * and both copies are equal. No load may be running.
   */
  async expectKept(sinceMs: number, overlapMs = 0): Promise<void> {
    await this.pair.inSync();
    const primary = await this.pair.primary();
    await this.vmRuns(primary);
    expect(this.vms.longestOverlapMs(sinceMs), 'the VM ran on both nodes, ms').to.be.at.most(overlapMs);
    this.#expectRecords();
    await this.#standingStill(primary, () => this.pair.expectBothHold());
  }

  /** Each start of the VM found every record that was acknowledged before, on whichever node. */
  #expectRecords(): void {
    const reports = labNodes
      .flatMap((node) => this.serial[node].reports.map((report) => ({ node, report })))
      .toSorted((one, other) => one.report.seenMs - other.report.seenMs);
    let acknowledged = 0;
    for (const { node, report } of reports) {
      if (report.type === 'acknowledged') acknowledged = Math.max(acknowledged, report.record);
      if (report.type === 'verified')
        expect(report.last, `newest record at the start on ${node}`).to.be.at.least(acknowledged);
      expect(report.type, `${node} ${JSON.stringify(report)}`).to.not.be.oneOf(['verify-failed', 'io-error']);
    }
    expect(acknowledged, 'records').to.be.above(0);
  }

  /** While the VM is frozen and nothing is in flight. */
  async #standingStill(node: LabNode, compare: () => Promise<void>): Promise<void> {
    const pid = this.vmProcess(node)?.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    try {
      await until(
        'nothing in flight',
        async () => (await this.pair.status(node)).counters['inFlight'] === 0,
        vmDeadlineMs,
      );
      await compare();
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  }

  #plugIn(machine: LabMachine): void {
    this.network.powerOn(machine);
    this.#off.delete(machine);
  }
}

/** Sends a signal to every process of a machine, its VM included. */
export function signalMachine(
  { pair }: SeparatePair,
  machine: LabMachine,
  signal: 'SIGSTOP' | 'SIGCONT',
): void {
  for (const pid of pair.lab.pids(machine)) process.kill(pid, signal);
}
