/**
 * Pausing the VM of a module that hangs, past the module: the supervisor's only power over a VM. Each kind of VM says how;
 * a kind without a way of its own has nothing to pause from here, and the module's own timers are what is left.
 */
import type { VmConfig } from '../config/module-config.ts';
import type { ModulePaths } from '../config/runtime-paths.ts';

export interface GuestPauser {
  /** Resolves when the VM provably does not run on; rejects when that is not known within `deadlineMs`. */
  pause(vm: VmConfig, paths: ModulePaths, deadlineMs: number): Promise<void>;
}

/** Pauses one VM of one kind. */
export type PauseGuest = (paths: ModulePaths, deadlineMs: number) => Promise<void>;

/** Chooses by the kind of VM. */
export function guestPauserFor(kinds: Readonly<Record<string, PauseGuest>>): GuestPauser {
  return {
    async pause(vm, paths, deadlineMs) {
      await kinds[vm.kind]?.(paths, deadlineMs);
    },
  };
}
