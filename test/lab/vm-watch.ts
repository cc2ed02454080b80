/**
 * An observer outside the product: when the VM of each node executed, by its monitor, which tells it also while module and
 * supervisor are dead or hang. A VM whose process is stopped by a signal says nothing and counts as executing.
 */
import { connectQmp, type QmpClient } from '../../hypervisors/qemu/qmp-client.ts';
import { runsGuestCode, statusOf } from '../../hypervisors/qemu/run-status.ts';
import type { Timer } from '../../src/base/clock.ts';
import { type LabNode, labNodes } from '../../src/lab/lab-layout.ts';
import type { LabCluster } from '../../src/lab/pair.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { monotonicMs } from './write-journal.ts';

/** From one attempt to reach a monitor to the next, ms; a VM may have executed that long before it is seen. */
const lookIntervalMs = 20;
const answerDeadlineMs = 60_000;

export interface Run {
  readonly node: LabNode;
  readonly fromMs: number;
  /** `undefined`: it still executes. */
  toMs: number | undefined;
}

export class VmWatch {
  /** Oldest first, on the monotonic clock. */
  readonly runs: Run[] = [];
  readonly #lab: LabCluster;
  readonly #clients = new Map<LabNode, QmpClient>();
  readonly #timers = new Map<LabNode, Timer>();
  #stopped = false;

  constructor(lab: LabCluster) {
    this.#lab = lab;
    for (const node of labNodes) this.#connect(node);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers.values()) timer.cancel();
    for (const client of this.#clients.values()) client.destroy();
  }

  executes(node: LabNode): boolean {
    return this.#open(node) !== undefined;
  }

  /** Longest time that the VM executed on both nodes at once since `sinceMs`, ms. */
  longestOverlapMs(sinceMs: number): number {
    const nowMs = monotonicMs();
    let longest = 0;
    for (const one of this.runs) {
      for (const other of this.runs) {
        if (one.node !== 'A' || other.node !== 'B') continue;
        const fromMs = Math.max(one.fromMs, other.fromMs, sinceMs);
        longest = Math.max(longest, Math.min(one.toMs ?? nowMs, other.toMs ?? nowMs) - fromMs);
      }
    }
    return longest;
  }

  #connect(node: LabNode): void {
    if (this.#stopped) return;
    const gone = (): void => {
      this.#clients.delete(node);
      this.#executes(node, false);
      if (!this.#stopped)
        this.#timers.set(
          node,
          systemClock.after(lookIntervalMs, () => this.#connect(node)),
        );
    };
    const wait = { timeoutMs: answerDeadlineMs };
    connectQmp(this.#lab.nodes[node].paths.supervisorMonitor, systemClock, wait, {
      event: ({ name }) => {
        if (name === 'RESUME') this.#executes(node, true);
        if (name === 'STOP' || name === 'SHUTDOWN') this.#executes(node, false);
      },
      closed: gone,
    }).then(async (client) => {
      this.#clients.set(node, client);
      const status = await client.execute('query-status', undefined, wait).then(statusOf, () => undefined);
      if (this.#clients.get(node) === client && status !== undefined && runsGuestCode(status))
        this.#executes(node, true);
    }, gone);
  }

  #open(node: LabNode): Run | undefined {
    return this.runs.findLast((run) => run.node === node && run.toMs === undefined);
  }

  #executes(node: LabNode, executes: boolean): void {
    const open = this.#open(node);
    if (executes && open === undefined) this.runs.push({ node, fromMs: monotonicMs(), toMs: undefined });
    if (!executes && open !== undefined) open.toMs = monotonicMs();
  }
}
