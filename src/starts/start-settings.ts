/** How one VM takes part in the order in which the VMs of a node start; part of `module.yaml`. */

/** Of a VM that names none; higher goes first. */
export const priorityDefault = 50;
export const priorityMax = 100;

/** How long a VM gives way to others at most, ms, unless it says otherwise. */
export const startDeadlineDefaultMs = 120_000;

export interface StartAfter {
  readonly module: string;
  /** Its VM must run, however long that takes; otherwise the deadline ends the wait. */
  readonly required: boolean;
}

export interface StartSettings {
  /** 0 to `priorityMax`; higher starts first. */
  readonly priority: number;
  /** Modules whose VMs run first. */
  readonly after: readonly StartAfter[];
  /** Is restarted when one of `after` was. */
  readonly restartWith: boolean;
  /** From when all of `after` run to the start, ms. */
  readonly delayMs: number;
  /** How long higher priorities and `after` may hold the start up, ms. */
  readonly deadlineMs: number;
}

export const startDefaults: StartSettings = {
  priority: priorityDefault,
  after: [],
  restartWith: false,
  delayMs: 0,
  deadlineMs: startDeadlineDefaultMs,
};
