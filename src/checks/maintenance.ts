/**
 * Maintenance mode: until its end no rule acts on the VM. The nodes tell each other how long it still lasts, never a time of day; the
 * newest command wins. Pure.
 */

/** Longest maintenance, ms: it is to end by itself. */
export const maintenanceMaxMs = 7 * 24 * 3_600_000;

/** As it crosses the link. */
export interface MaintenanceWord {
  /** Grows with every command. */
  readonly sequence: number;
  /** 0: over, or ended by a command. */
  readonly leftMs: number;
}

export class Maintenance {
  #sequence = 0;
  #endMs = Number.NEGATIVE_INFINITY;

  get sequence(): number {
    return this.#sequence;
  }

  leftMs(nowMs: number): number {
    return Math.max(0, this.#endMs - nowMs);
  }

  /** A command: from now on for so long; 0 ends it. */
  set(forMs: number, nowMs: number): void {
    this.#sequence += 1;
    this.#endMs = nowMs + forMs;
  }

  describe(nowMs: number): MaintenanceWord {
    return { sequence: this.#sequence, leftMs: Math.round(this.leftMs(nowMs)) };
  }

  /** Takes over a newer word, of the peer or of an earlier process. */
  observe({ sequence, leftMs }: MaintenanceWord, nowMs: number): void {
    if (sequence <= this.#sequence) return;
    this.#sequence = sequence;
    this.#endMs = nowMs + Math.min(leftMs, maintenanceMaxMs);
  }
}
