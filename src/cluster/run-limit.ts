/**
 * How long the VM of this node may run on without a further word of its module. The module tells it with every sign of life, so that
 * the supervisor, which does not know how long the link has been silent, pauses the VM of a module that hangs before the
 * peer may start its own. Pure.
 */
import { assertNever } from '../base/assert.ts';
import type { Timers } from './decide-alone.ts';
import type { VmState, VmWish } from './mirror-ports.ts';

export interface RunSituation {
  readonly vm: VmState;
  readonly wish: VmWish;
  /** May write without the peer: the arbiter does not grant the peer anything. */
  readonly alone: boolean;
  /** Requests of the guest run; they are held otherwise. */
  readonly mayWrite: boolean;
  /** Since when the peer may count this node as silent, `PeerWatch.doubtMs`. */
  readonly doubtMs: number;
  /** Age of the newest connection. */
  readonly connectedMs: number;
}

/** Milliseconds from now; 0: it should not run now. `undefined`: no limit, or there is nothing to pause. */
export function decideRunLimitMs(situation: RunSituation, timers: Timers): number | undefined {
  const { vm, wish } = situation;
  switch (wish) {
    case 'as-is':
    case 'paused':
    case 'destroyed':
      return vm === 'none' || vm === 'stopped' || vm === 'paused' ? undefined : 0;
    case 'running':
    case 'stopped-gracefully': {
      if (vm === 'none' || situation.alone) return undefined;
      const leftMs = timers.pauseAfterMs - situation.doubtMs;
      // That the guest may write on a new connection, the peer agreed to on it; its first heartbeats are still under way.
      const leftOfNewMs = situation.mayWrite ? timers.lostAfterMs - situation.connectedMs : 0;
      return Math.max(0, leftMs, leftOfNewMs);
    }
    default:
      return assertNever(wish, 'wish');
  }
}
