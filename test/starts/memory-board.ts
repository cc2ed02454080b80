/** A board of starts in memory: the modules of one node in one process, on a virtual clock. */
import type { StartNotice } from '../../src/starts/start-notice.ts';
import type { SlotState, StartBoard, VmStartRecord } from '../../src/starts/start-ports.ts';
import type { VirtualClock } from '../base/virtual-clock.ts';

export class MemoryNode {
  readonly #clock: VirtualClock;
  readonly #notices = new Map<string, StartNotice>();
  readonly #slots: ({ readonly module: string; readonly sinceMs: number } | undefined)[] = [];
  readonly #working = new Map<string, object>();
  /** Outlives the processes, like the VMs. */
  readonly #vmStarts = new Map<string, VmStartRecord>();
  /** The most slots that were taken at the same time. */
  slotsTakenMax = 0;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  notice(module: string): StartNotice | undefined {
    return this.#notices.get(module);
  }

  get holders(): readonly string[] {
    return this.#slots.flatMap((holder) => (holder === undefined ? [] : [holder.module]));
  }

  /** Nothing of its process happens any more; what it said and holds stays. */
  hang(module: string): void {
    this.#working.delete(module);
  }

  /** Its process ends, and with it what it said and held. */
  die(module: string): void {
    this.hang(module);
    this.#notices.delete(module);
    this.#slots.forEach((holder, index) => {
      if (holder?.module === module) this.#slots[index] = undefined;
    });
  }

  board(module: string): StartBoard {
    const process = {};
    this.#working.set(module, process);
    const works = (): boolean => this.#working.get(module) === process;
    return {
      nowMs: () => this.#clock.nowMs(),
      publish: (notice) => {
        if (works()) this.#notices.set(module, notice);
      },
      others: () => [...this.#notices.values()].filter((notice) => notice.module !== module),
      slots: (count) => Array.from({ length: count }, (_none, index) => this.#slot(index)),
      takeSlot: (count) => {
        for (let index = 0; index < count; index += 1) {
          if (this.#slots[index] !== undefined || !works()) continue;
          this.#slots[index] = { module, sinceMs: this.#clock.nowMs() };
          this.slotsTakenMax = Math.max(this.slotsTakenMax, this.holders.length);
          return {
            release: () => {
              if (works()) this.#slots[index] = undefined;
            },
          };
        }
        return undefined;
      },
      vmStart: () => this.#vmStarts.get(module),
      recordVmStart: (next) => {
        if (works()) this.#vmStarts.set(module, next);
      },
    };
  }

  #slot(index: number): SlotState {
    const holder = this.#slots[index];
    return { taken: holder !== undefined, holder };
  }
}
