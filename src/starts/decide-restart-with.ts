/**
 * `restartWith`: a VM is restarted when one that it starts after was started anew, here or by a failover. A VM that was moved live is
 * the same start and has the same id.
 */
import { allBefore } from './dependencies.ts';
import type { StartNotice } from './start-notice.ts';

type Starts = Readonly<Record<string, string>>;

/**
 * The starts of the VMs that run now and that this one is after, as far as they are known. Without those that are after this one in
 * turn: they would restart each other for ever.
 */
export function startsOf(self: StartNotice, others: readonly StartNotice[]): Starts {
  const all = [self, ...others];
  const starts: Record<string, string> = {};
  for (const { module, vm, vmStart } of others) {
    if (!self.after.includes(module) || vm === 'off' || vmStart === undefined) continue;
    if (!allBefore(module, all).has(self.module)) starts[module] = vmStart;
  }
  return starts;
}

/** The modules whose VM was started anew since this VM was started with them. */
export function restartedSince(startedWith: Starts, now: Starts): readonly string[] {
  return Object.keys(now).filter((name) => name in startedWith && startedWith[name] !== now[name]);
}
