/** What the order of starts stands on: the notices and slots that the modules of a node share. */
import type { StartNotice } from './start-notice.ts';

/** One of the places for VMs that start at the same time. */
export interface SlotState {
  /** The lock of the slot is held by a process. */
  readonly taken: boolean;
  /** Who said that it holds it, while that process lives. Absent in the instant after the lock was taken. */
  readonly holder: { readonly module: string; readonly sinceMs: number } | undefined;
}

/** A slot that this module holds; it ends with the process, however that ends. */
export interface Slot {
  release(): void;
}

/** What this node remembers of the last cold start of its VM, as long as a VM can live: until the host boots. */
export interface VmStartRecord {
  readonly id: string;
  /** The starts of the VMs in `after` that this one was started with. */
  readonly startedWith: Readonly<Record<string, string>>;
}

export interface StartBoard {
  /** The host's monotonic clock, the same for all processes of the host, ms. */
  nowMs(): number;
  publish(notice: StartNotice): void;
  /** Notices of the other modules whose processes live. */
  others(): readonly StartNotice[];
  /** The first `count` slots. */
  slots(count: number): readonly SlotState[];
  /** Takes one of the first `count` slots; `undefined`: all are taken. */
  takeSlot(count: number): Slot | undefined;
  vmStart(): VmStartRecord | undefined;
  recordVmStart(record: VmStartRecord): void;
}
